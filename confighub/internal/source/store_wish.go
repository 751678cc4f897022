// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// Hold is somebody's wish that no new version is taken.
type Hold struct {
	Since time.Time `json:"since"`
	// Until is when it ends by itself; zero: never.
	Until time.Time `json:"until,omitzero"`
	// By is the user who wished it.
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Over reports whether the hold has ended by itself.
func (h *Hold) Over(now time.Time) bool { return !h.Until.IsZero() && !now.Before(h.Until) }

// Held is the hold in force, nil without one. It outlives restarts.
func (s *Store) Held() *Hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book.Hold == nil {
		return nil
	}
	h := *s.book.Hold
	return &h
}

// SetHold puts a hold in force in place of any other, or with nil ends it. After an error it is so until the store is
// opened again: who holds at night on a full disk must not find that nothing is held.
func (s *Store) SetHold(h *Hold) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.Hold = h
	return s.save()
}

// ErrNoPrevious means that no version is kept which differs from the one in place.
var ErrNoPrevious = errors.New("there is nothing to go back to: no other version was ever good here")

// Retreat proposes to go back to the last good version before the one in place, and returns it. When that is adopted,
// left, which is in place now, is bad. ErrNoPrevious without one.
func (s *Store) Retreat(left Bad) (bundle.Pointer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	back := s.previous(left.Version.Digest)
	if back == nil {
		return bundle.Pointer{}, ErrNoPrevious
	}
	s.book.Next, s.book.Left = back, &left
	return *back, s.save()
}

// previous is the newest kept version of another digest; nil when there is none.
func (s *Store) previous(digest string) *bundle.Pointer {
	kept := []*bundle.Pointer{s.book.Good, s.book.Previous}
	if s.unkept != nil && s.book.Trial != nil {
		kept = append([]*bundle.Pointer{&s.book.Trial.Pointer}, kept...)
	}
	for _, p := range kept {
		if p != nil && p.Digest != digest {
			again := *p
			return &again
		}
	}
	return nil
}

// Withdraw takes back a Retreat that came to nothing.
func (s *Store) Withdraw() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.Next, s.book.Left = nil, nil
	return s.save()
}

// retreated records that back is in place again, where left was. It was good before and needs no trial.
func (s *Store) retreated(back bundle.Pointer, left Bad) {
	if s.book.Good == nil || s.book.Good.Version() != back.Version() {
		s.book.Previous = nil
	}
	s.book.Good, s.book.Trial, s.unkept = &back, nil, nil
	if s.book.Allowed != nil && *s.book.Allowed == left.Version {
		s.book.Allowed = nil
	}
	s.book.Serial = max(s.book.Serial, left.Version.Serial)
	s.book.addBad(left)
}
