// SPDX-License-Identifier: AGPL-3.0-or-later

package repository

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"
)

const (
	// pollWatched finds what inotify does not tell: network and overlay mounts, an exchanged repository, lost events.
	pollWatched = 10 * time.Second
	// pollAlone is the interval where inotify cannot be used at all.
	pollAlone = time.Second
	// tryAgain is the pause after a call that could not do its work.
	tryAgain = time.Second
)

// Watch calls changed once as soon as it watches, and then at once whenever the ref may have moved or look is sent
// something, until ctx ends; never twice at a time. When changed returns false, its work is not done and it is called again
// soon. It may be called without need: a look at the commit tells.
//
// A ref moves by one rename, after its objects are there, so there is no quiet to wait for.
func (r *Repository) Watch(ctx context.Context, look <-chan struct{}, log zerolog.Logger, changed func() bool) error {
	return r.watch(ctx, look, log, pollWatched, changed)
}

// watch is Watch with this interval of the poll that runs beside inotify.
func (r *Repository) watch(ctx context.Context, look <-chan struct{}, log zerolog.Logger, interval time.Duration, changed func() bool) error {
	w := &watch{repo: r, log: log, look: look, interval: interval}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		w.fallBack(err)
	} else {
		defer notify.Close()
		w.notify = notify
	}
	return w.run(ctx, changed)
}

// watch is one running Watch.
type watch struct {
	repo *Repository
	log  zerolog.Logger
	look <-chan struct{}
	// notify is nil when there is polling alone.
	notify   *fsnotify.Watcher
	interval time.Duration
	// files are those that say what the ref names.
	files []string
}

func (w *watch) run(ctx context.Context, changed func() bool) error {
	poll := time.NewTicker(w.interval)
	defer poll.Stop()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	var stamps map[string]stamp
	call := func() {
		again.Stop()
		w.find()
		if err := w.add(); err != nil { // perhaps there is more to watch, or another repository
			w.fallBack(err)
			poll.Reset(w.interval)
		}
		stamps = w.stamps()
		if !changed() {
			again.Reset(tryAgain)
		}
	}
	for call(); ; {
		events, errs := w.channels()
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			if matters := w.concerns(event.Name); w.drain() || matters {
				call()
			}
		case err := <-errs:
			w.log.Warn().Err(err).Msg("watching the repository: events were lost, looking at the ref")
			call()
		case <-w.look:
			call()
		case <-poll.C:
			if !maps.Equal(stamps, w.stamps()) {
				call()
			}
		case <-again.C:
			call()
		}
	}
}

// drain takes the events that are there already, as one push makes several, and reports whether one matters.
func (w *watch) drain() (matters bool) {
	for {
		select {
		case event := <-w.notify.Events:
			matters = w.concerns(event.Name) || matters
		default:
			return matters
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

// find notes the files that say what the ref names: symbolic refs may lead elsewhere by now.
func (w *watch) find() {
	w.files = []string{filepath.Join(w.repo.dir, "packed-refs"), filepath.Join(w.repo.dir, "shallow")}
	for _, name := range w.repo.ways() {
		w.files = append(w.files, filepath.Join(w.repo.dir, filepath.FromSlash(name)))
	}
}

// concerns reports whether file is one of those, or a directory on the way to one.
func (w *watch) concerns(file string) bool {
	for _, mine := range w.files {
		if mine == file || strings.HasPrefix(mine, file+"/") {
			return true
		}
	}
	return false
}

// add watches every directory that is on the way to the files.
func (w *watch) add() error {
	if w.notify == nil {
		return nil
	}
	dirs := map[string]bool{w.repo.dir: true}
	for _, file := range w.files {
		for dir := filepath.Dir(file); len(dir) > len(w.repo.dir); dir = filepath.Dir(dir) {
			dirs[dir] = true
		}
	}
	for dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || !info.IsDir() {
			continue // not there now: its coming is an event of the directory above
		}
		if err := w.notify.Add(dir); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) fallBack(err error) {
	if w.interval == pollAlone {
		return
	}
	w.interval = pollAlone
	w.log.Warn().Err(err).Dur("interval", pollAlone).Msg("new commits are found by looking at the ref's file")
}

// stamp tells a file from the same file written again.
type stamp struct {
	dev, ino   uint64
	size       int64
	mtim, ctim int64 // ns
	mode       fs.FileMode
}

func (w *watch) stamps() map[string]stamp {
	stamps := map[string]stamp{}
	for _, file := range w.files {
		info, err := os.Stat(file)
		if err != nil {
			continue // not being there is a state too
		}
		s := stamp{size: info.Size(), mtim: info.ModTime().UnixNano(), mode: info.Mode()}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			s.dev, s.ino, s.ctim = uint64(sys.Dev), uint64(sys.Ino), sys.Ctim.Nano()
		}
		stamps[file] = s
	}
	return stamps
}
