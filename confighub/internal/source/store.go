// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/atomicfile"
)

// Trial is a version in place whose service has not yet been seen to live with it.
type Trial struct {
	Pointer bundle.Pointer `json:"pointer"`
	// Starts of the container with it.
	Starts int `json:"starts"`
}

// book is store.json.
type book struct {
	Good *bundle.Pointer `json:"good,omitempty"`
	// Previous was the good one before Good, and has another content.
	Previous *bundle.Pointer `json:"previous,omitempty"`
	Trial    *Trial          `json:"trial,omitempty"`
	Bad      []Bad           `json:"bad,omitempty"`
	// Next is being put in place right now.
	Next *bundle.Pointer `json:"next,omitempty"`
	// Left is what Next, an earlier version, takes the place of by somebody's wish: bad once that is done.
	Left *Bad `json:"left,omitempty"`
	// Serial is the highest that was ever in place, or the last that somebody allowed.
	Serial uint64 `json:"serial,omitempty"`
	// Allowed may be taken whatever was in place or bad before.
	Allowed *bundle.Version `json:"allowed,omitempty"`
	Hold    *Hold           `json:"hold,omitempty"`
}

// setGood makes p the good version.
func (b *book) setGood(p *bundle.Pointer) {
	if b.Good != nil && b.Good.Digest != p.Digest {
		b.Previous = b.Good
	}
	b.Good, b.Trial = p, nil
}

// Store keeps the last good bundle and the one before, the one on trial, the versions that are bad, and what somebody
// wished of it: Hold, Allow, Retreat. It lies in a directory of its own: store.json, which names by digest what is
// in blobs/.
type Store struct {
	dir string

	mu   sync.Mutex // guards what follows
	book book
	// unkept is in place although there was no room to keep it; nil when what is in place is in the book.
	unkept *Offer
	// offered is what the source named last; nil before the first.
	offered *bundle.Pointer
}

// OpenStore opens the store in dir, which is made if need be. A broken store.json is an error of its own, with
// an empty Store: a container that cannot remember can still fetch.
func OpenStore(dir string) (*Store, error) {
	s := &Store{dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, "blobs"), 0o700); err != nil {
		return s, fmt.Errorf("making the store of bundles: %w", err)
	}
	return s, s.load()
}

// ReadStore opens a store that is another container's, without making or changing anything.
func ReadStore(dir string) (*Store, error) {
	s := &Store{dir: dir}
	return s, s.load()
}

func (s *Store) load() error {
	raw, err := os.ReadFile(s.file("store.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s.book)
	}
	if err != nil {
		s.book = book{}
		return fmt.Errorf("reading the store of bundles: %w", err)
	}
	return nil
}

func (s *Store) file(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *Store) blob(digest string) string {
	return s.file("blobs", strings.TrimPrefix(digest, bundle.DigestPrefix)+".tar.gz")
}

func (s *Store) save() error {
	raw, err := json.MarshalIndent(s.book, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the store of bundles: %w", err)
	}
	if err := atomicfile.Write(s.file("store.json"), append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the store of bundles: %w", err)
	}
	s.sweep()
	return nil
}

// sweep removes blobs that nothing names.
func (s *Store) sweep() {
	named := map[string]bool{}
	for _, p := range []*bundle.Pointer{s.book.Good, s.book.Previous, s.book.Next} {
		if p != nil {
			named[filepath.Base(s.blob(p.Digest))] = true
		}
	}
	if s.book.Trial != nil {
		named[filepath.Base(s.blob(s.book.Trial.Pointer.Digest))] = true
	}
	entries, err := os.ReadDir(s.file("blobs"))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !named[e.Name()] {
			os.Remove(s.file("blobs", e.Name()))
		}
	}
}

// Current is what is to be in place: the version on trial, else the good one; false when there is none.
func (s *Store) Current() (bundle.Pointer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current()
}

func (s *Store) current() (bundle.Pointer, bool) {
	switch {
	case s.book.Trial != nil:
		return s.book.Trial.Pointer, true
	case s.book.Good != nil:
		return *s.book.Good, true
	}
	return bundle.Pointer{}, false
}

// OnTrial reports whether the current version is unconfirmed.
func (s *Store) OnTrial() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.Trial != nil
}

// Bundle reads a kept bundle.
func (s *Store) Bundle(p bundle.Pointer) (*bundle.Bundle, error) {
	packed, err := os.ReadFile(s.blob(p.Digest))
	if err != nil {
		return nil, fmt.Errorf("reading the kept bundle: %w", err)
	}
	if bundle.Digest(packed) != p.Digest {
		return nil, fmt.Errorf("reading the kept bundle %s: it is damaged", s.blob(p.Digest))
	}
	return bundle.Unpack(packed)
}
