// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"fmt"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// Refused is a version that the source has and that is not taken, for what was taken before or what the settings say.
// The source itself is not in trouble.
type Refused struct {
	Version bundle.Version
	Words   string
}

// Error is why, for people.
func (r *Refused) Error() string { return r.Words }

// Accept judges a pointer by what was taken before, and remembers that the source has it: see the type Accept.
func (s *Store) Accept(p bundle.Pointer, minSerial uint64, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offered = &p
	return s.judge(p, s.book.Allowed != nil && *s.book.Allowed == p.Version(), minSerial, now)
}

// maxAhead is how far the publisher's clock may be ahead of ours. A serial made by a clock that is years ahead would keep all
// that come after it from being taken; a clock of ours that is so far behind has no valid certificate either.
const maxAhead = 24 * time.Hour

// judge is nil for a version that may be taken, ErrNotNew, or a Refused.
func (s *Store) judge(p bundle.Pointer, allowed bool, minSerial uint64, now time.Time) error {
	refuse := func(format string, args ...any) error {
		return &Refused{p.Version(), fmt.Sprintf(format, args...)}
	}
	switch before := s.serial(); {
	case s.inPlace(p.Version()), s.book.isBad(p.Version()) && !allowed:
		return ErrNotNew
	case p.Serial < minSerial:
		return refuse("version %s is not taken: its serial is below config.min_serial, %d", p.Version(), minSerial)
	case p.Serial < before && !allowed:
		return refuse("genesis offers %d, older than %d applied here: restored from a backup? `confighub accept --serial %d` takes it", p.Serial, before, p.Serial)
	case p.Serial == before && !allowed:
		return refuse("genesis offers another %d than the %d applied here: restored from a backup? `confighub accept --serial %d` takes it", p.Serial, before, p.Serial)
	case !p.Expires.IsZero() && now.After(p.Expires):
		return refuse("version %s is not taken: it expired at %s: publish it again", p.Version(), p.Expires.UTC().Format(time.RFC3339))
	case p.Created.After(now.Add(maxAhead)):
		return refuse("version %s is not taken: it is of %s, and here it is %s: set the clock that is wrong, then publish it again",
			p.Version(), p.Created.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// Offered is what the source named last, taken or not; false before the first.
func (s *Store) Offered() (bundle.Pointer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offered == nil {
		return bundle.Pointer{}, false
	}
	return *s.offered, true
}

// Allow lets the version that the source offers now, if serial is its own, be taken although it is below what was in
// place, or bad. It holds until the version was put in place or refused again. minSerial and an expiry bind all the same.
func (s *Store) Allow(serial, minSerial uint64, now time.Time) (bundle.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.offered
	if p == nil {
		return bundle.Version{}, errors.New("the source has offered nothing since confighub was started: `confighub status` says why")
	}
	v := p.Version()
	switch {
	case p.Serial != serial:
		return v, fmt.Errorf("the source offers version %s, not %d", v, serial)
	case s.inPlace(v):
		return v, fmt.Errorf("version %s is in place", v)
	}
	if err := s.judge(*p, true, minSerial, now); err != nil {
		return v, err
	}
	if s.judge(*p, false, minSerial, now) == nil {
		return v, fmt.Errorf("version %s is above all that was in place and needs no leave: `confighub status` says what it waits for", v)
	}
	before := s.book.Allowed
	s.book.Allowed = &v
	if err := s.save(); err != nil {
		s.book.Allowed = before
		return v, err
	}
	return v, nil
}

// Allowed is the version that Allow was called for and that was not taken since; nil when there is none.
func (s *Store) Allowed() *bundle.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.book.Allowed == nil {
		return nil
	}
	v := *s.book.Allowed
	return &v
}

// took counts a version that is in place now. One that was allowed begins the serials anew: what is known of higher
// ones is of a genesis that is no more.
func (s *Store) took(p bundle.Pointer) {
	if s.book.Allowed == nil || *s.book.Allowed != p.Version() {
		s.book.Serial = max(s.book.Serial, p.Serial)
		return
	}
	s.book.Allowed, s.book.Serial = nil, p.Serial
	s.book.forgetBad(p)
}

// DirSerial is the serial of a directory's bundle: that of the version of this digest which is known, in place, bad or
// offered last, so that an unchanged directory is an unchanged version, else one above all before.
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
		// One that was left by hand was the highest in place.
		if b.Version.Digest == digest && b.Version.Serial >= s.serial() {
			return b.Version.Serial
		}
		newest = max(newest, b.Version.Serial)
	}
	if s.offered != nil && s.offered.Digest == digest && s.offered.Serial > s.serial() {
		return s.offered.Serial
	}
	return max(newest+1, uint64(now.UnixMilli()))
}
