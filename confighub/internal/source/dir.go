// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"cloud4.internal/hub/confighub/internal/bundle"
)

const (
	// quiet is how long a directory must have been still before it is read again, once it is changing: an
	// editor or a checkout writes several files.
	quiet = 100 * time.Millisecond
	// lookEvery is for what inotify does not tell: network file systems, a full queue.
	lookEvery = 30 * time.Second
)

// Dir is a source that is a directory holding a bundle. Its serials are times: Unix milliseconds.
type Dir struct {
	path string
	// name stands as the identity in the pointers it makes.
	name string
	// serial gives the one to be used for a digest.
	serial func(digest string) uint64
	accept Accept
}

// NewDir watches the directory path on behalf of name.
func NewDir(path, name string, serial func(digest string) uint64, accept Accept) *Dir {
	return &Dir{path: path, name: name, serial: serial, accept: accept}
}

// Read reads the directory now.
func (d *Dir) Read() (Offer, error) {
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return Offer{}, fmt.Errorf("reading the bundle: %w", err)
	}
	defer root.Close()
	b, err := bundle.Read(root.FS())
	if err != nil {
		return Offer{}, fmt.Errorf("reading the bundle in %s: %w", d.path, err)
	}
	packed, err := bundle.Pack(b)
	if err != nil {
		return Offer{}, fmt.Errorf("reading the bundle in %s: %w", d.path, err)
	}
	digest := bundle.Digest(packed)
	p := bundle.Pointer{
		Schema: bundle.PointerSchema, Identity: d.name, Serial: d.serial(digest), Revision: d.path,
		Created: time.Now().UTC().Truncate(time.Second), Digest: digest, Size: int64(len(packed)),
	}
	return Offer{Pointer: p, Packed: packed, Bundle: b}, nil
}

// Run offers the directory's bundle whenever it changed. The first change after quiet is read at once; while
// changes go on, the next reading waits for quiet.
func (d *Dir) Run(ctx context.Context, events chan<- Event) error {
	v := voice{events: events}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching %s: %w", d.path, err)
	}
	defer watcher.Close()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	settle := time.NewTimer(0)
	defer settle.Stop()
	var lastRead time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-settle.C:
		case <-look.C:
		case _, open := <-watcher.Events:
			if !open {
				return errors.New("watching " + d.path + ": the watcher ended")
			}
			if time.Since(lastRead) < quiet {
				settle.Reset(quiet)
				continue
			}
			settle.Reset(quiet)
		case <-watcher.Errors:
			settle.Reset(quiet)
			continue
		}
		d.watch(watcher)
		d.look(ctx, &v)
		lastRead = time.Now()
	}
}

// watch adds the directory and those in it that hold parts of a bundle. One that is watched is no error.
func (d *Dir) watch(watcher *fsnotify.Watcher) {
	for _, dir := range []string{d.path, filepath.Join(d.path, "data")} {
		watcher.Add(dir)
	}
	filepath.WalkDir(filepath.Join(d.path, "templates"), func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			watcher.Add(name)
		}
		return nil
	})
}

func (d *Dir) look(ctx context.Context, v *voice) {
	offer, err := d.Read()
	if err == nil {
		err = d.accept(offer.Pointer)
	}
	switch {
	case errors.Is(err, ErrNotNew):
		v.say(ctx, nil, nil)
	case err != nil:
		v.say(ctx, nil, err)
	default:
		v.say(ctx, &offer, nil)
	}
}

// Applied does nothing: nobody listens.
func (d *Dir) Applied(context.Context, bundle.Applied) error { return nil }
