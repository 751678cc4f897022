// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// reopened is the store as the next start finds it.
func reopened(t *testing.T, s *Store) *Store {
	t.Helper()
	again, err := OpenStore(s.dir)
	must(t, err)
	return again
}

// put proposes a version and adopts it.
func put(t *testing.T, s *Store, o Offer, confirmed bool) {
	t.Helper()
	must(t, s.Propose(o))
	must(t, s.Adopt(o.Version(), confirmed))
}

func leaves(o Offer) Bad {
	return Bad{Version: o.Version(), State: bundle.StateRolledBack, Errors: []string{"by hand"}, At: time.Now().UTC()}
}

// One goes back to the last good version of another content, and what was left is bad; once.
func TestRetreat(t *testing.T) {
	s := newStore(t)
	one, two, again := offer(t, 1, "one"), offer(t, 2, "two"), offer(t, 3, "two")
	put(t, s, one, true)
	if _, err := s.Retreat(leaves(one)); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("from the only one: %v", err)
	}
	put(t, s, two, true)
	put(t, s, again, true)
	s = reopened(t, s)
	back, err := s.Retreat(leaves(again))
	must(t, err)
	if back.Version() != one.Version() {
		t.Fatalf("back to %s", back.Version())
	}
	if b, err := s.Bundle(back); err != nil || b.Data["v"] != "one" {
		t.Errorf("its bundle: %v", err)
	}
	if p, _ := s.Current(); p.Serial != 3 {
		t.Errorf("before it is adopted, %d is current", p.Serial)
	}
	s = reopened(t, s) // cut off after the swap
	must(t, s.Adopt(back.Version(), false))
	s = reopened(t, s)
	if p, _ := s.Current(); p.Version() != one.Version() || s.OnTrial() {
		t.Errorf("current %+v", p)
	}
	if bad := s.LastBad(); bad == nil || bad.Version != again.Version() || len(s.Untold()) != 1 {
		t.Errorf("last bad %+v", bad)
	}
	for _, tt := range []struct {
		offer Offer
		want  string
	}{{again, ErrNotNew.Error()}, {two, "genesis offers 2, older than 3"}, {offer(t, 4, "two"), "<nil>"}} {
		if err := s.Accept(tt.offer.Pointer, 0, time.Now()); !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.offer.Version(), err, tt.want)
		}
	}
	if got := s.DirSerial(again.Pointer.Digest, time.UnixMilli(9)); got != 3 {
		t.Errorf("its directory would be version %d", got)
	}
	if _, err := s.Retreat(leaves(one)); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("twice: %v", err)
	}
	if blobs, _ := os.ReadDir(filepath.Join(s.dir, "blobs")); len(blobs) != 1 {
		t.Errorf("%d blobs are kept", len(blobs))
	}
}

// From a version on trial one goes back to the good one, and could go back further.
func TestRetreatFromTrial(t *testing.T) {
	s := newStore(t)
	one, two, three := offer(t, 1, "one"), offer(t, 2, "two"), offer(t, 3, "three")
	put(t, s, one, true)
	put(t, s, two, true)
	put(t, s, three, false)
	for _, want := range []struct{ left, back Offer }{{three, two}, {two, one}} {
		back, err := s.Retreat(leaves(want.left))
		must(t, err)
		must(t, s.Adopt(back.Version(), true))
		if p, _ := s.Current(); p.Version() != want.back.Version() || s.OnTrial() {
			t.Errorf("current %+v after %s", p, want.left.Version())
		}
		s = reopened(t, s)
	}
}

// A way back that came to nothing leaves everything as it was, and the next version is none of its business.
func TestWithdraw(t *testing.T) {
	for name, end := range map[string]func(*Store, Offer) error{
		"withdrawn":  func(s *Store, _ Offer) error { return s.Withdraw() },
		"superseded": func(s *Store, next Offer) error { return errors.Join(s.Propose(next), s.Adopt(next.Version(), true)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			one, two, three := offer(t, 1, "one"), offer(t, 2, "two"), offer(t, 3, "three")
			put(t, s, one, true)
			put(t, s, two, true)
			back, err := s.Retreat(leaves(two))
			must(t, err)
			must(t, end(s, three))
			must(t, s.Adopt(back.Version(), true))
			if p, _ := s.Current(); p.Version() == one.Version() || s.LastBad() != nil {
				t.Errorf("current %+v, bad %+v", p, s.LastBad())
			}
		})
	}
}

// A genesis that was restored is taken up again by somebody's leave, from its serial on; min_serial binds all the same.
func TestAllow(t *testing.T) {
	s, now := newStore(t), time.Now()
	last, bad, old := offer(t, 23, "last"), offer(t, 25, "bad"), offer(t, 17, "old")
	if _, err := s.Allow(17, 0, now); err == nil || !strings.Contains(err.Error(), "has offered nothing") {
		t.Errorf("before any offer: %v", err)
	}
	put(t, s, last, true)
	must(t, s.MarkBad(Bad{Version: bad.Version(), State: bundle.StateRolledBack}))
	refused := s.Accept(old.Pointer, 0, now)
	if _, ok := errors.AsType[*Refused](refused); !ok {
		t.Errorf("got %v", refused)
	}
	if p, ok := s.Offered(); !ok || p.Serial != 17 {
		t.Errorf("offered %+v", p)
	}
	for _, tt := range []struct {
		serial, min uint64
		want        string
	}{{18, 0, "offers version 17 "}, {17, 18, "below config.min_serial, 18"}} {
		if _, err := s.Allow(tt.serial, tt.min, now); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v", tt, err)
		}
	}
	if s.Accept(old.Pointer, 0, now) == nil {
		t.Fatal("a refused leave was given")
	}
	_, err := s.Allow(17, 17, now)
	must(t, err)
	s = reopened(t, s)
	if err := s.Accept(offer(t, 17, "another").Pointer, 0, now); err == nil {
		t.Error("another version of that serial is taken")
	}
	if err := s.Accept(old.Pointer, 18, now); err == nil {
		t.Error("min_serial does not bind")
	}
	must(t, s.Accept(old.Pointer, 17, now))
	put(t, s, old, true)
	s = reopened(t, s)
	must(t, s.Accept(offer(t, 18, "next").Pointer, 0, now))
	if err := s.Accept(offer(t, 16, "older").Pointer, 0, now); err == nil {
		t.Error("one leave took two versions")
	}
	if s.LastBad() != nil {
		t.Errorf("of the genesis before: %+v", s.LastBad())
	}
}

// A version that was marked bad by mistake is tried once more.
func TestAllowBad(t *testing.T) {
	s, now := newStore(t), time.Now()
	one, two := offer(t, 1, "one"), offer(t, 2, "two")
	put(t, s, one, true)
	must(t, s.MarkBad(Bad{Version: two.Version(), State: bundle.StateRolledBack}))
	if err := s.Accept(two.Pointer, 0, now); !errors.Is(err, ErrNotNew) {
		t.Errorf("got %v", err)
	}
	for range 2 {
		_, err := s.Allow(2, 0, now)
		must(t, err)
		must(t, s.Accept(two.Pointer, 0, now))
		must(t, s.MarkBad(Bad{Version: two.Version(), State: bundle.StateRolledBack}))
		if err := s.Accept(two.Pointer, 0, now); !errors.Is(err, ErrNotNew) {
			t.Errorf("bad again: %v", err)
		}
	}
	_, err := s.Allow(2, 0, now)
	must(t, err)
	put(t, s, two, true)
	if _, err := s.Allow(2, 0, now); err == nil || !strings.Contains(err.Error(), "is in place") {
		t.Errorf("in place: %v", err)
	}
	three := offer(t, 3, "three")
	must(t, s.Accept(three.Pointer, 0, now))
	if _, err := s.Allow(3, 0, now); err == nil || !strings.Contains(err.Error(), "needs no leave") {
		t.Errorf("a new one: %v", err)
	}
}

// A hold outlives restarts and ends by itself.
func TestHold(t *testing.T) {
	s, now := newStore(t), time.Now().UTC().Truncate(time.Second)
	want := &Hold{Since: now, Until: now.Add(time.Hour), By: "root", Reason: "3 a.m."}
	must(t, s.SetHold(want))
	s = reopened(t, s)
	if diff := cmp.Diff(want, s.Held()); diff != "" {
		t.Error(diff)
	}
	if h := s.Held(); h.Over(now.Add(time.Hour-1)) || !h.Over(now.Add(time.Hour)) || (&Hold{Since: now}).Over(now.Add(1e6*time.Hour)) {
		t.Error("it ends at another time")
	}
	must(t, s.SetHold(nil))
	if h := reopened(t, s).Held(); h != nil {
		t.Errorf("still %+v", h)
	}
}
