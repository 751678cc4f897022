// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/spiffe"
)

// Publication is what is published now: one entry for every placed container. It lives in a directory, so that a restart
// neither loses it nor takes a serial back:
//
//	publication.json          the pointers and the last serial
//	blobs/<hex>.tar.gz        the bundles they name
type Publication struct {
	dir string
	// keys sign every envelope; with none they are unsigned.
	keys []ed25519.PrivateKey

	mu sync.RWMutex
	// tree is the last good one; nil until one was read in this run.
	tree *tree.Tree
	// entries: bundle name → what it has; nil until anything was ever published.
	entries map[string]*entry
	// serial is the highest ever given.
	serial   uint64
	readAt   time.Time
	problems []string
	// changes counts the trees that changed something.
	changes uint64
	// replaced is told of entries that are marked as such.
	replaced func([]*entry)
}

// entry is what one container is to have. It is replaced whole, and then marked; nothing else of it changes.
type entry struct {
	pointer  bundle.Pointer
	envelope []byte
	etag     string
	blob     *tree.Blob
	// before is the bundle it replaced, for a client that has read the pointer to it and not yet the bundle. May be nil.
	before *tree.Blob
	// replaced is true when this is no longer the container's entry.
	replaced atomic.Bool
}

func (e *entry) packed(digest string) []byte {
	for _, blob := range []*tree.Blob{e.blob, e.before} {
		if blob != nil && blob.Digest == digest {
			return blob.Packed
		}
	}
	return nil
}

func (p *Publication) newEntry(pointer bundle.Pointer, blob, before *tree.Blob) (*entry, error) {
	envelope, err := bundle.Seal(pointer, p.keys...)
	if err != nil {
		return nil, err
	}
	raw, err := envelope.Marshal()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	return &entry{
		pointer: pointer, envelope: raw, etag: `"` + hex.EncodeToString(sum[:16]) + `"`,
		blob: blob, before: before,
	}, nil
}

// saved is publication.json.
type saved struct {
	Schema   int                       `json:"schema"`
	Serial   uint64                    `json:"serial"`
	Pointers map[string]bundle.Pointer `json:"pointers"`
}

const savedSchema = 1

// OpenPublication takes up what was published last from dir, which it makes if it is missing. A bundle that is damaged
// there is not published until the tree is read; a damaged publication.json is an error, as serials depend on it.
// Every envelope is signed with each of the keys.
func OpenPublication(dir string, keys ...ed25519.PrivateKey) (*Publication, error) {
	p := &Publication{dir: dir, keys: keys}
	if err := os.MkdirAll(filepath.Join(dir, "blobs"), 0o700); err != nil {
		return nil, fmt.Errorf("opening the state of the server: %w", err)
	}
	raw, err := os.ReadFile(p.file())
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	var s saved
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err == nil && s.Schema != savedSchema {
		err = fmt.Errorf("schema is %d, this program knows %d", s.Schema, savedSchema)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w; without it serials could go backwards: restore it, or remove it if the clock is right", p.file(), err)
	}
	return p, p.restore(s)
}

func (p *Publication) restore(s saved) error {
	p.serial, p.entries = s.Serial, map[string]*entry{}
	blobs := map[string]*tree.Blob{}
	for name, pointer := range s.Pointers {
		blob, ok := blobs[pointer.Digest]
		if !ok {
			packed, err := os.ReadFile(p.blobFile(pointer.Digest))
			if err != nil || bundle.Digest(packed) != pointer.Digest {
				continue
			}
			blob = &tree.Blob{Digest: pointer.Digest, Packed: packed}
			blobs[pointer.Digest] = blob
		}
		e, err := p.newEntry(pointer, blob, nil)
		if err != nil {
			return fmt.Errorf("reading %s: %s: %w", p.file(), name, err)
		}
		p.entries[name] = e
	}
	return nil
}

func (p *Publication) file() string { return filepath.Join(p.dir, "publication.json") }

func (p *Publication) blobFile(digest string) string {
	return filepath.Join(p.dir, "blobs", strings.TrimPrefix(digest, bundle.DigestPrefix)+".tar.gz")
}

// Publish makes the bundles of a tree the ones that are served. A container whose bundle is the same keeps its version;
// the others get the next serial. It returns how many changed, those no longer placed included.
func (p *Publication) Publish(t *tree.Tree, blobs map[string]*tree.Blob, now time.Time) (changed int, err error) {
	p.mu.RLock()
	old, serial := p.entries, t.Serial(p.serial, now)
	p.mu.RUnlock()

	entries := make(map[string]*entry, len(blobs))
	var replaced []*entry
	for name, blob := range blobs {
		before, there := old[name]
		if there && before.pointer.Digest == blob.Digest {
			entries[name] = before
			continue
		}
		pointer := bundle.Pointer{
			Schema: bundle.PointerSchema, Identity: name, Serial: serial, Revision: t.Revision,
			Created: now.UTC().Truncate(time.Millisecond), Digest: blob.Digest, Size: int64(len(blob.Packed)),
		}
		changed++
		var previous *tree.Blob
		if there {
			previous, replaced = before.blob, append(replaced, before)
		}
		if entries[name], err = p.newEntry(pointer, blob, previous); err != nil {
			return 0, fmt.Errorf("publishing %s: %w", name, err)
		}
	}
	for name, e := range old {
		if entries[name] == nil {
			changed++
			replaced = append(replaced, e)
		}
	}
	if changed > 0 || old == nil {
		if err := p.save(serial, entries); err != nil {
			return 0, err
		}
	} else {
		serial = p.serial
	}
	p.mu.Lock()
	p.tree, p.entries, p.serial, p.readAt, p.problems = t, entries, serial, now, nil
	if changed > 0 {
		p.changes++
	}
	tell := p.replaced
	p.mu.Unlock()
	for _, e := range replaced {
		e.replaced.Store(true)
	}
	if tell != nil && len(replaced) > 0 {
		tell(replaced)
	}
	return changed, nil
}

// whenReplaced sets who is told of replaced entries, when they are no longer the containers'. It must not block.
func (p *Publication) whenReplaced(tell func([]*entry)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replaced = tell
}

// save makes the publication durable before anybody sees it. A bundle is written without waiting for the disk: its digest
// tells whether it arrived there.
func (p *Publication) save(serial uint64, entries map[string]*entry) error {
	s := saved{Schema: savedSchema, Serial: serial, Pointers: make(map[string]bundle.Pointer, len(entries))}
	keep := map[string]bool{}
	for name, e := range entries {
		s.Pointers[name] = e.pointer
		file := p.blobFile(e.pointer.Digest)
		if keep[filepath.Base(file)] {
			continue
		}
		keep[filepath.Base(file)] = true
		if info, err := os.Stat(file); err == nil && info.Size() == e.pointer.Size {
			continue
		}
		if err := atomicfile.WriteVolatile(file, e.blob.Packed, 0o600); err != nil {
			return fmt.Errorf("keeping the bundle of %s: %w", name, err)
		}
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("keeping the publication: %w", err)
	}
	if err := atomicfile.Write(p.file(), raw, 0o600); err != nil {
		return fmt.Errorf("keeping the publication: %w", err)
	}
	return p.sweep(keep)
}

// sweep removes bundles that nothing names any more.
func (p *Publication) sweep(keep map[string]bool) error {
	list, err := os.ReadDir(filepath.Join(p.dir, "blobs"))
	if err != nil {
		return fmt.Errorf("removing old bundles: %w", err)
	}
	for _, item := range list {
		if keep[item.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(p.dir, "blobs", item.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing old bundles: %w", err)
		}
	}
	return nil
}

// count is how many containers have a version.
func (p *Publication) count() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.entries)
}

// Reject notes that the tree on disk is broken; what is published stays.
func (p *Publication) Reject(problems []string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems, p.readAt = problems, now
}

// entry returns what a container has. It is nil when the container is not placed, with the line that would place it. ok is
// false while nothing was ever published.
func (p *Publication) entry(peer spiffe.ID) (e *entry, missing string, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	e = p.entries[peer.BundleName()]
	if e != nil || p.entries == nil {
		return e, "", p.entries != nil
	}
	if p.tree == nil {
		return nil, "the tree could not be read since this server started, so a new placement has no effect yet: see its log", true
	}
	return nil, p.tree.Missing(peer.Host, peer.Stack, peer.Service), true
}
