// SPDX-License-Identifier: AGPL-3.0-or-later

package docroot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/internal/atomicfile"
)

// container is the directory of one container.
type container struct {
	// name is the bundle name: web.shop.vm1.
	name string
	dir  string
	// pointer and envelope are what is published; zero when there is nothing, or nothing that can be read.
	pointer  bundle.Pointer
	envelope bundle.Envelope
	// modified is the time of the pointer's file.
	modified time.Time
}

// Names of what is ours, the leavings of a killed run included (package atomicfile).
var (
	blobName = regexp.MustCompile(`^[0-9a-f]{64}$`)
	leaving  = regexp.MustCompile(`^\.(current|\.publish\.json|[0-9a-f]{64})\.[0-9]+\.tmp$`)
)

func (c *container) current() string { return filepath.Join(c.dir, "current") }

func (c *container) blobs() string { return filepath.Join(c.dir, "blobs", "sha256") }

func (c *container) blob(digest string) string {
	return filepath.Join(c.blobs(), strings.TrimPrefix(digest, bundle.DigestPrefix))
}

// readContainers reads what is published, by name.
func readContainers(dir string) (map[string]*container, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	containers := map[string]*container{}
	for _, item := range list {
		if !item.IsDir() {
			continue
		}
		c := &container{name: item.Name(), dir: filepath.Join(dir, item.Name())}
		if err := c.read(); err != nil {
			return nil, err
		}
		containers[c.name] = c
	}
	return containers, nil
}

// read reads the pointer. What is no pointer of this container counts as none: it is replaced.
func (c *container) read() error {
	info, err := os.Stat(c.current())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c.modified = info.ModTime()
	if info.Size() > bundle.MaxEnvelope {
		return nil
	}
	raw, err := os.ReadFile(c.current())
	if err != nil {
		return err
	}
	envelope, err := bundle.ParseEnvelope(raw)
	if err != nil {
		return nil
	}
	if pointer, err := envelope.Pointer(); err == nil && pointer.Identity == c.name {
		c.pointer, c.envelope = pointer, *envelope
	}
	return nil
}

// putBlob makes sure that the bundle is there whole.
func (c *container) putBlob(blob *tree.Blob) error {
	file := c.blob(blob.Digest)
	if there, err := os.ReadFile(file); err == nil && bundle.Digest(there) == blob.Digest {
		return nil
	}
	if err := makeDir(c.blobs(), dirMode); err != nil {
		return err
	}
	return atomicfile.Write(file, blob.Packed, fileMode)
}

// putPointer replaces the pointer, and makes its time another second's than that of the one before.
func (c *container) putPointer(envelope []byte) error {
	if err := atomicfile.Write(c.current(), envelope, fileMode); err != nil {
		return err
	}
	if c.modified.IsZero() {
		return nil
	}
	next := c.modified.Truncate(time.Second).Add(time.Second)
	if now := time.Now(); now.After(next) {
		next = now
	}
	if err := os.Chtimes(c.current(), time.Time{}, next); err != nil {
		return fmt.Errorf("setting the time of the pointer: %w", err)
	}
	return nil
}

// sweep removes what killed runs left and, once there is a new version, all bundles but the one of digest and the one that
// the pointer named before.
func (c *container) sweep(digest string) error {
	if err := removeFrom(c.dir, leaving.MatchString); err != nil {
		return err
	}
	same, now, before := digest == c.pointer.Digest, filepath.Base(c.blob(digest)), filepath.Base(c.blob(c.pointer.Digest))
	return removeFrom(c.blobs(), func(name string) bool {
		return leaving.MatchString(name) || blobName.MatchString(name) && !same && name != now && name != before
	})
}

// remove takes everything of ours away, the pointer first, and reports whether there was one. What is not ours stays.
func (c *container) remove() (published bool, err error) {
	err = os.Remove(c.current())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	published = err == nil
	ours := func(name string) bool { return leaving.MatchString(name) || blobName.MatchString(name) }
	if err := errors.Join(removeFrom(c.blobs(), ours), removeFrom(c.dir, leaving.MatchString)); err != nil {
		return published, err
	}
	for _, dir := range []string{c.blobs(), filepath.Dir(c.blobs()), c.dir} {
		_ = os.Remove(dir) // a directory that is not empty holds what is not ours
	}
	return published, syncDir(filepath.Dir(c.dir))
}

// removeFrom removes the regular files of a directory whose names match. A missing directory has none.
func removeFrom(dir string, match func(name string) bool) error {
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, item := range list {
		if !item.Type().IsRegular() || !match(item.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, item.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
