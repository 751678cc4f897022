// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
)

// Dir is a source that is a directory holding a bundle. Its serials are times: Unix milliseconds.
type Dir struct {
	path string
	// name stands as the identity in the pointers it makes.
	name string
	// serial gives the one to be used for a digest.
	serial func(digest string) uint64
	accept Accept
	log    zerolog.Logger
	bell   chan struct{}
}

// NewDir watches the directory path on behalf of name.
func NewDir(path, name string, serial func(digest string) uint64, accept Accept, log zerolog.Logger) *Dir {
	return &Dir{path: path, name: name, serial: serial, accept: accept, log: log, bell: make(chan struct{}, 1)}
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

// Run offers the directory's bundle once and then whenever it has changed and is quiet again: an editor or a
// checkout writes several files.
func (d *Dir) Run(ctx context.Context, events chan<- Event) error {
	ctx, stop := context.WithCancel(ctx)
	v := voice{events: events}
	var mu sync.Mutex // guards v
	look := func() bool {
		mu.Lock()
		defer mu.Unlock()
		d.look(ctx, &v)
		return true
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.bell:
				look()
			}
		}
	})
	// With a slash at its end a link to a directory is followed.
	return tree.Watch(ctx, d.path+"/", d.log, look)
}

// Refresh makes Run look again at once.
func (d *Dir) Refresh() { ring(d.bell) }

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
