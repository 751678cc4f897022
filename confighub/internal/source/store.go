// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/atomicfile"
)

// maxBad bounds the remembered bad versions; the oldest are forgotten.
const maxBad = 32

// Bad is a version that is not tried again.
type Bad struct {
	Version bundle.Version `json:"version"`
	// State is bundle.StateRejected or bundle.StateRolledBack.
	State  string    `json:"state"`
	Errors []string  `json:"errors"`
	At     time.Time `json:"at"`
	// Told is true once genesis knows.
	Told bool `json:"told,omitempty"`
}

// Trial is a version in place whose service has not yet been seen to live with it.
type Trial struct {
	Pointer bundle.Pointer `json:"pointer"`
	// Starts of the container with it.
	Starts int `json:"starts"`
}

// book is store.json.
type book struct {
	Good  *bundle.Pointer `json:"good,omitempty"`
	Trial *Trial          `json:"trial,omitempty"`
	Bad   []Bad           `json:"bad,omitempty"`
	// Next is being put in place right now.
	Next *bundle.Pointer `json:"next,omitempty"`
	// Serial is the highest that was ever in place.
	Serial uint64 `json:"serial,omitempty"`
}

// Store keeps the last good bundle, the one on trial, and the versions that are bad. It lies in a directory of
// its own: store.json, which names by digest what is in blobs/.
type Store struct {
	dir string

	mu   sync.Mutex // guards what follows
	book book
	// unkept is in place although there was no room to keep it; nil when what is in place is in the book.
	unkept *Offer
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
	for _, p := range []*bundle.Pointer{s.book.Good, s.book.Next} {
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

// Propose keeps an offer that is about to be put in place, so that a crash on the way can be told from it.
func (s *Store) Propose(o Offer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := atomicfile.Write(s.blob(o.Pointer.Digest), o.Packed, 0o600); err != nil {
		return fmt.Errorf("keeping the bundle: %w", err)
	}
	s.book.Next = &o.Pointer
	if err := s.save(); err != nil {
		return err
	}
	s.unkept = nil
	return nil
}

// Carry remembers in memory alone that an offer is in place which Propose could not keep: the next start knows
// nothing of it.
func (s *Store) Carry(o Offer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.Next, s.unkept = nil, &o
}

// Keep tries to keep what is carried, as a version on trial.
func (s *Store) Keep() error {
	s.mu.Lock()
	carried := s.unkept
	s.mu.Unlock()
	if carried == nil {
		return nil
	}
	if err := s.Propose(*carried); err != nil {
		return err
	}
	return s.Adopt(carried.Version(), false)
}

// serial is the highest that was ever in place.
func (s *Store) serial() uint64 {
	if s.unkept != nil {
		return max(s.book.Serial, s.unkept.Pointer.Serial)
	}
	return s.book.Serial
}

func (s *Store) inPlace(v bundle.Version) bool {
	if s.unkept != nil {
		return s.unkept.Version() == v
	}
	current, have := s.current()
	return have && current.Version() == v
}

// Adopt records that the proposed version is in place: unconfirmed, or with confirmed as the good one. It does
// nothing when another version was proposed.
func (s *Store) Adopt(v bundle.Version, confirmed bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.book.Next
	if next == nil || next.Version() != v {
		return nil
	}
	s.book.Next = nil
	s.book.Serial = max(s.book.Serial, next.Serial)
	s.book.Trial = &Trial{Pointer: *next, Starts: 1}
	if confirmed {
		s.book.Good, s.book.Trial = next, nil
	}
	return s.save()
}

// Confirm makes the version on trial the good one.
func (s *Store) Confirm() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book.Trial == nil {
		return nil
	}
	p := s.book.Trial.Pointer
	s.book.Good, s.book.Trial = &p, nil
	return s.save()
}

// maxStarts is at how many starts running a version may stay unconfirmed before it is undone.
const maxStarts = 2

// Begin counts a start of the container. A version unconfirmed at two starts running is bad, when there is a good
// one to go back to; it is returned. Versions that were rejected get another chance, since the image, its settings
// or its secrets may be others now; versions that a service did not live with do not.
func (s *Store) Begin(now time.Time) (*Bad, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := len(s.book.Bad)
	s.book.Bad = slices.DeleteFunc(s.book.Bad, func(b Bad) bool { return b.State == bundle.StateRejected })
	if s.book.Trial == nil {
		if known == len(s.book.Bad) {
			return nil, nil
		}
		return nil, s.save()
	}
	if s.book.Trial.Starts < maxStarts || s.book.Good == nil {
		s.book.Trial.Starts++
		return nil, s.save()
	}
	bad := Bad{
		Version: s.book.Trial.Pointer.Version(), State: bundle.StateRolledBack, At: now,
		Errors: []string{fmt.Sprintf("the service did not live with it at %d starts running", maxStarts)},
	}
	s.book.Trial = nil
	return &bad, s.markBad(bad)
}

// Unbegin takes back the start that was counted last: it ended by somebody's wish and says nothing of the version.
func (s *Store) Unbegin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book.Trial == nil || s.book.Trial.Starts == 0 {
		return nil
	}
	s.book.Trial.Starts--
	return s.save()
}

// MarkBad remembers a version that is not to be tried again.
func (s *Store) MarkBad(b Bad) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.markBad(b)
}

func (s *Store) markBad(b Bad) error {
	if s.book.Next != nil && s.book.Next.Version() == b.Version {
		s.book.Next = nil
	}
	s.book.Bad = slices.DeleteFunc(s.book.Bad, func(o Bad) bool { return o.Version == b.Version })
	s.book.Bad = append(s.book.Bad, b)
	if over := len(s.book.Bad) - maxBad; over > 0 {
		s.book.Bad = slices.Delete(s.book.Bad, 0, over)
	}
	return s.save()
}

// Untold lists the bad versions that genesis does not know of yet.
func (s *Store) Untold() []Bad {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.book.Bad), func(b Bad) bool { return b.Told })
}

// Told remembers that genesis knows of a version.
func (s *Store) Told(v bundle.Version) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := false
	for i := range s.book.Bad {
		if b := &s.book.Bad[i]; b.Version == v && !b.Told {
			b.Told, changed = true, true
		}
	}
	if !changed {
		return nil
	}
	return s.save()
}

// LastBad is the newest bad version, while none above it is in place; nil when there is none.
func (s *Store) LastBad() *Bad {
	s.mu.Lock()
	defer s.mu.Unlock()
	current, _ := s.current()
	if s.unkept != nil {
		current = s.unkept.Pointer
	}
	if len(s.book.Bad) == 0 {
		return nil
	}
	b := s.book.Bad[len(s.book.Bad)-1]
	if b.Version.Serial < current.Serial {
		return nil
	}
	return &b
}

// Accept judges a pointer by what was taken before: see Accept.
func (s *Store) Accept(p bundle.Pointer, minSerial uint64, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.inPlace(p.Version()):
		return ErrNotNew
	case slices.ContainsFunc(s.book.Bad, func(b Bad) bool { return b.Version == p.Version() }):
		return ErrNotNew
	case p.Serial <= s.serial():
		return fmt.Errorf("version %s is not taken: its serial is not above %d, which was in place before (a rollback needs a new serial)", p.Version(), s.serial())
	case p.Serial < minSerial:
		return fmt.Errorf("version %s is not taken: its serial is below config.min_serial, %d", p.Version(), minSerial)
	case !p.Expires.IsZero() && now.After(p.Expires):
		return fmt.Errorf("version %s is not taken: it expired at %s", p.Version(), p.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// DirSerial is the serial of a directory's bundle: that of the version of this digest which is known, so that an
// unchanged directory is an unchanged version, else one above all before.
func (s *Store) DirSerial(digest string, now time.Time) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unkept != nil && s.unkept.Pointer.Digest == digest {
		return s.unkept.Pointer.Serial
	}
	if p, ok := s.current(); ok && p.Digest == digest && s.unkept == nil {
		return p.Serial
	}
	newest := s.serial()
	for _, b := range s.book.Bad {
		if b.Version.Digest == digest && b.Version.Serial > s.serial() {
			return b.Version.Serial
		}
		newest = max(newest, b.Version.Serial)
	}
	return max(newest+1, uint64(now.UnixMilli()))
}
