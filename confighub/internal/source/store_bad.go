// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"slices"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
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
	// Told is true once genesis knows, or does not want to.
	Told bool `json:"told,omitempty"`
}

// MarkBad remembers a version that is not to be tried again.
func (s *Store) MarkBad(b Bad) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.markBad(b)
}

func (s *Store) markBad(b Bad) error {
	if s.book.Next != nil && s.book.Next.Version() == b.Version {
		s.book.Next, s.book.Left = nil, nil
	}
	if s.book.Allowed != nil && *s.book.Allowed == b.Version {
		s.book.Allowed = nil
	}
	s.book.addBad(b)
	return s.save()
}

func (b *book) addBad(bad Bad) {
	b.Bad = slices.DeleteFunc(b.Bad, func(o Bad) bool { return o.Version == bad.Version })
	b.Bad = append(b.Bad, bad)
	if over := len(b.Bad) - maxBad; over > 0 {
		b.Bad = slices.Delete(b.Bad, 0, over)
	}
}

func (b *book) isBad(v bundle.Version) bool {
	return slices.ContainsFunc(b.Bad, func(o Bad) bool { return o.Version == v })
}

// Untold lists the bad versions that genesis does not know of yet.
func (s *Store) Untold() []Bad {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.book.Bad), func(b Bad) bool { return b.Told })
}

// Told remembers that genesis needs not be told of a version again.
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

// forgetBad forgets that p is bad, and all versions above it.
func (b *book) forgetBad(p bundle.Pointer) {
	b.Bad = slices.DeleteFunc(b.Bad, func(o Bad) bool { return o.Version == p.Version() || o.Version.Serial > p.Serial })
}
