// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"
)

const (
	// Quiet is how long nothing must have changed before a tree is read: git checkout and rsync write many files.
	Quiet = 100 * time.Millisecond
	// maxUnquiet reads a tree that never becomes quiet all the same.
	maxUnquiet = 5 * time.Second
	// pollWatched finds what inotify does not tell: network and overlay mounts, an exchanged root, lost events.
	pollWatched = 10 * time.Second
	// tryAgain is the pause after a call that could not do its work.
	tryAgain = time.Second
	// pollAlone is the interval where inotify cannot be used at all.
	pollAlone = time.Second
)

// Watch calls changed once as soon as it watches, and then whenever the tree at root has changed and is quiet again,
// until ctx ends; never twice at a time. When changed returns false, its work is not done and it is called again soon. When the kernel's notifications are not to be had (fs.inotify.max_user_watches)
// it looks at the files' times instead and says so.
func Watch(ctx context.Context, root string, log zerolog.Logger, changed func() bool) error {
	w := &watch{root: root, log: log, interval: pollWatched}
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		defer notify.Close()
		w.notify = notify
		err = w.addAll(root)
	}
	if err != nil {
		w.fallBack(err)
	}
	w.last = w.look()
	return w.run(ctx, changed)
}

// watch is one running Watch.
type watch struct {
	root string
	log  zerolog.Logger
	// notify is nil when there is polling alone.
	notify   *fsnotify.Watcher
	interval time.Duration
	// last is the state of all files when they were last looked at.
	last map[string]stamp
}

func (w *watch) run(ctx context.Context, changed func() bool) error {
	poll := time.NewTicker(w.interval)
	defer poll.Stop()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	var since time.Time // of the first change not yet reported
	if !changed() {
		quiet.Reset(tryAgain)
	}
	for {
		events, errs := w.channels()
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			if ignored(filepath.Base(event.Name)) {
				continue
			}
			if event.Has(fsnotify.Create) {
				w.add(event.Name, poll)
			}
			if since.IsZero() {
				since = time.Now()
			}
			quiet.Reset(min(Quiet, max(0, maxUnquiet-time.Since(since))))
		case err := <-errs:
			w.log.Warn().Err(err).Msg("watching the tree: events were lost, looking at all files")
			since = time.Now()
			quiet.Reset(Quiet)
		case <-poll.C:
			if now := w.look(); since.IsZero() && !maps.Equal(now, w.last) {
				w.add(w.root, poll) // perhaps another one by now
				since = time.Now()
				quiet.Reset(Quiet)
			}
		case <-quiet.C:
			since = time.Time{}
			w.last = w.look()
			if !changed() {
				quiet.Reset(tryAgain)
			}
		}
	}
}

// channels are nil, and block for ever, when there is polling alone.
func (w *watch) channels() (<-chan fsnotify.Event, <-chan error) {
	if w.notify == nil {
		return nil, nil
	}
	return w.notify.Events, w.notify.Errors
}

// add watches dir, or falls back to polling.
func (w *watch) add(dir string, poll *time.Ticker) {
	if err := w.addAll(dir); err != nil {
		w.fallBack(err)
		poll.Reset(w.interval)
	}
}

// addAll watches dir and every directory below it. A file, or something gone again, is nothing to watch.
func (w *watch) addAll(dir string) error {
	if w.notify == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // gone, or unreadable: reading the tree says so
		case !d.IsDir():
			return nil
		case name != w.root && ignored(d.Name()):
			return fs.SkipDir
		}
		if err := w.notify.Add(name); err != nil && exists(name) {
			return fmt.Errorf("watching %q: %w", name, err)
		}
		return nil
	})
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

func (w *watch) fallBack(err error) {
	w.interval = pollAlone
	w.log.Warn().Err(err).Dur("interval", pollAlone).Msg("changes of the tree are found by looking at all files")
}

// look is the state of all files; nil when the tree cannot be walked, which is a state too.
func (w *watch) look() map[string]stamp {
	dir, err := os.OpenRoot(w.root)
	if err != nil {
		return nil
	}
	defer dir.Close()
	stamps, _, err := stampAll(dir)
	if err != nil {
		return nil
	}
	return stamps
}
