// SPDX-License-Identifier: AGPL-3.0-or-later

// Package docroot owns a directory of files from which any static HTTPS server hands out configuration: what lies where
// in it, and how it is replaced while it is being served.
//
//	v1/bundles/<id>/current               the DSSE envelope (package bundle) of the pointer; <id> = web.shop.vm1
//	v1/bundles/<id>/blobs/sha256/<hex>    the bundle it names, and the one it named before
//	.publish.json                         the highest serial ever given; not for the server's clients
//
// Publish replaces what is there by what a tree (package tree) gives. At each moment, that of a kill or of a power failure
// included, every pointer names a bundle that is there whole: bundles are forced to the disk before the first pointer
// changes, a pointer changes by one rename, and the bundle that it named stays until the next one takes its place, for a
// client that has read the old pointer and not yet the bundle. A pointer whose container has nothing new stays as it is, to
// the byte; it is sealed anew, as the same version, when the keys are others or when half of its time until it expires is over.
//
// A static server makes entity tags of a file's size and of its time in whole seconds, and rsync compares those two.
// Therefore each pointer is at least a second younger than the one before, by its time if not by the clock.
//
// The directory belongs to who has the key: copy it to the server, and do not publish into a copy that others can write,
// since the next serial is read from it. Two at a time are refused. Files and directories of others are left alone.
//
// Left out: serving, reading the tree, and copying to another machine.
package docroot

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/dirlock"
	"cloud4.internal/hub/confighub/internal/tree"
)

// Options of Publish.
type Options struct {
	// Keys sign every pointer; with none they are unsigned.
	Keys []ed25519.PrivateKey
	// Revision is for people: what the pointers of new versions say they were made of.
	Revision string
	// Expires is how long a pointer is good for taking its version as a new one; 0: for ever.
	Expires time.Duration
	// Above is a serial that all versions are above: the highest that the containers have from elsewhere. A version in the
	// docroot that is not gets a new serial.
	Above uint64
	// Now is the time to go by.
	Now time.Time
}

// Result is what Publish did.
type Result struct {
	// Containers is how many are published. Changed have a new version, Resealed an old one in a new envelope.
	Containers, Changed, Resealed int
	// Removed are no longer placed.
	Removed int
	// Serial is that of the new versions; 0 when there are none.
	Serial uint64
}

// Modes of what is published: the server is another user.
const (
	dirMode  = 0o755
	fileMode = 0o644
	// rootMode is that of a root which Publish makes: bundles are not for everybody on the machine.
	rootMode = 0o750
)

// Publish makes dir hold the bundles of a tree by container name, and nothing of containers that are not among them. It makes
// dir with mode 0750 if it is missing. After an error each container has what it had before or what it is to have.
func Publish(dir string, t *tree.Tree, blobs map[string]*tree.Blob, o Options) (Result, error) {
	result, err := publish(dir, t, blobs, o)
	if err != nil {
		return result, fmt.Errorf("publishing in %s: %w", dir, err)
	}
	return result, nil
}

func publish(dir string, t *tree.Tree, blobs map[string]*tree.Blob, o Options) (Result, error) {
	if err := makeDir(dir, rootMode); err != nil {
		return Result{}, err
	}
	unlock, err := dirlock.Take(dir)
	if errors.Is(err, dirlock.ErrTaken) {
		err = ErrBusy
	}
	if err != nil {
		return Result{}, err
	}
	defer unlock()
	state, err := readState(dir)
	if err != nil {
		return Result{}, err
	}
	all := filepath.Join(dir, "v1", "bundles")
	if err := makeDir(all, dirMode); err != nil {
		return Result{}, err
	}
	containers, err := readContainers(all)
	if err != nil {
		return Result{}, err
	}
	state.Serial = max(state.Serial, o.Above)
	for _, c := range containers {
		state.Serial = max(state.Serial, c.pointer.Serial)
	}
	p := plan{options: o, serial: t.Serial(state.Serial, o.Now)}
	for _, name := range slices.Sorted(maps.Keys(blobs)) {
		c := containers[name]
		if c == nil {
			c = &container{name: name, dir: filepath.Join(all, name)}
		}
		delete(containers, name)
		if err := p.add(c, blobs[name]); err != nil {
			return Result{}, err
		}
	}
	if err := removeFrom(dir, leaving.MatchString); err != nil {
		return Result{}, err
	}
	if p.result.Changed > 0 {
		p.result.Serial, state.Serial = p.serial, p.serial
		if err := state.write(dir); err != nil {
			return Result{}, err
		}
	}
	if err := p.carryOut(); err != nil {
		return Result{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(containers)) {
		gone, err := containers[name].remove()
		if err != nil {
			return Result{}, err
		}
		if gone {
			p.result.Removed++
		}
	}
	return p.result, nil
}

// plan is what one Publish is to do.
type plan struct {
	options Options
	serial  uint64
	steps   []step
	result  Result
}

// step is what one container is to have. A nil envelope leaves its pointer as it is.
type step struct {
	container *container
	blob      *tree.Blob
	envelope  []byte
}

// add judges what a container has by what it is to have.
func (p *plan) add(c *container, blob *tree.Blob) error {
	p.result.Containers++
	pointer := c.pointer
	switch {
	case pointer.Digest != blob.Digest || pointer.Serial <= p.options.Above:
		p.result.Changed++
		pointer = bundle.Pointer{
			Schema: bundle.PointerSchema, Identity: c.name, Serial: p.serial, Revision: p.options.Revision,
			Created: p.options.Now.UTC().Truncate(time.Millisecond), Digest: blob.Digest, Size: int64(len(blob.Packed)),
		}
	case p.stands(c):
		p.steps = append(p.steps, step{container: c, blob: blob})
		return nil
	default:
		p.result.Resealed++
	}
	pointer.Expires = time.Time{}
	if p.options.Expires > 0 {
		pointer.Expires = p.options.Now.Add(p.options.Expires).UTC().Truncate(time.Second)
	}
	envelope, err := bundle.Seal(pointer, p.options.Keys...)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	raw, err := envelope.Marshal()
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	p.steps = append(p.steps, step{container: c, blob: blob, envelope: raw})
	return nil
}

// stands reports whether a container's pointer is signed by exactly the keys and far enough from expiring.
func (p *plan) stands(c *container) bool {
	if len(c.envelope.Signatures) != len(p.options.Keys) {
		return false
	}
	for _, key := range p.options.Keys {
		if c.envelope.Verify([]ed25519.PublicKey{key.Public().(ed25519.PublicKey)}) != nil {
			return false
		}
	}
	expires := c.pointer.Expires
	if p.options.Expires == 0 || expires.IsZero() {
		return p.options.Expires == 0 && expires.IsZero()
	}
	left := expires.Sub(p.options.Now)
	return left >= p.options.Expires/2 && left <= p.options.Expires
}

// carryOut puts all bundles in place, then all pointers, then takes old bundles away.
func (p *plan) carryOut() error {
	err := each(p.steps, func(s step) error { return s.container.putBlob(s.blob) })
	if err != nil {
		return err
	}
	err = each(p.steps, func(s step) error {
		if s.envelope == nil {
			return nil
		}
		return s.container.putPointer(s.envelope)
	})
	if err != nil {
		return err
	}
	return each(p.steps, func(s step) error { return s.container.sweep(s.blob.Digest) })
}

// atOnce is how many containers are written at a time: waiting for the disk is most of the work.
const atOnce = 16

// each does the same with every step, several at a time, and returns when all are done. Of several errors it returns the
// first container's.
func each(steps []step, do func(step) error) error {
	errs := make([]error, len(steps))
	room := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i, s := range steps {
		room <- struct{}{}
		group.Go(func() {
			errs[i] = do(s)
			<-room
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// ErrBusy means that somebody else publishes in the same directory just now.
var ErrBusy = errors.New("another confighub publish is at work there: wait for it to end")

// makeDir makes a directory and the ones above it, on the disk when it returns. Those above have the usual mode.
func makeDir(dir string, mode fs.FileMode) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent, dirMode); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err != nil {
		return err
	}
	if err := os.Chmod(dir, mode); err != nil { // whatever the umask: the server is another user
		return err
	}
	return syncDir(parent)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("forcing %s to the disk: %w", dir, err)
	}
	return nil
}
