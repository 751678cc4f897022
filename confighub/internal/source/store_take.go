// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"slices"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/atomicfile"
)

// Propose keeps an offer that is about to be put in place, so that a crash on the way can be told from it.
func (s *Store) Propose(o Offer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := atomicfile.Write(s.blob(o.Pointer.Digest), o.Packed, 0o600); err != nil {
		return fmt.Errorf("keeping the bundle: %w", err)
	}
	s.book.Next, s.book.Left = &o.Pointer, nil
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
	s.book.Next, s.book.Left, s.unkept = nil, nil, &o
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
	if left := s.book.Left; left != nil {
		s.retreated(*next, *left)
		return s.save()
	}
	s.took(*next)
	s.book.Trial = &Trial{Pointer: *next, Starts: 1}
	if confirmed {
		s.book.setGood(next)
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
	s.book.setGood(&p)
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
