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

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
)

// offer is a real bundle under a serial.
func offer(t *testing.T, serial uint64, value string) Offer {
	t.Helper()
	packed, err := bundle.Pack(&bundle.Bundle{Data: map[string]any{"v": value}})
	if err != nil {
		t.Fatal(err)
	}
	o := unpack(bundle.Pointer{Schema: 1, Identity: "web.shop.vm1", Serial: serial, Digest: bundle.Digest(packed), Size: int64(len(packed))}, packed)
	if o.Err != nil {
		t.Fatal(o.Err)
	}
	return o
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStoreOutlivesRestarts(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		s, err := OpenStore(dir)
		must(t, err)
		return s
	}
	s := open()
	one, two := offer(t, 1, "one"), offer(t, 2, "two")
	must(t, s.Propose(one))
	must(t, s.Adopt(one.Version(), true))
	must(t, s.Propose(two))
	must(t, s.Adopt(two.Version(), false))
	s = open()
	if p, ok := s.Current(); !ok || p.Serial != 2 || !s.OnTrial() {
		t.Errorf("current %+v", p)
	}
	for start, want := range []uint64{2, 1} {
		bad, err := s.Begin(time.Now())
		must(t, err)
		if p, _ := s.Current(); p.Serial != want || (bad != nil) != (want == 1) {
			t.Errorf("start %d: version %d, bad %+v", start, p.Serial, bad)
		}
		s = open()
	}
	if err := s.Accept(two.Pointer, 0, time.Now()); !errors.Is(err, ErrNotNew) {
		t.Errorf("a bad version: %v", err)
	}
	if untold := s.Untold(); len(untold) != 1 || untold[0].State != bundle.StateRolledBack {
		t.Errorf("untold %+v", untold)
	}
	must(t, s.Told(two.Version()))
	if untold := open().Untold(); len(untold) != 0 {
		t.Errorf("untold %+v", untold)
	}
	p, _ := s.Current()
	if b, err := s.Bundle(p); err != nil || b.Data["v"] != "one" {
		t.Errorf("kept bundle: %v", err)
	}
	blobs, _ := os.ReadDir(filepath.Join(dir, "blobs"))
	if len(blobs) != 1 {
		t.Errorf("%d blobs are kept", len(blobs))
	}
	must(t, os.WriteFile(filepath.Join(dir, "blobs", blobs[0].Name()), []byte("x"), 0o600))
	if _, err := s.Bundle(p); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged bundle: %v", err)
	}
}

// Without a good version to go back to, one on trial stays whatever happens.
func TestTrialWithoutAlternative(t *testing.T) {
	s := newStore(t)
	one := offer(t, 1, "one")
	must(t, s.Propose(one))
	must(t, s.Adopt(one.Version(), false))
	for range 5 {
		bad, err := s.Begin(time.Now())
		must(t, err)
		if bad != nil || !s.OnTrial() {
			t.Errorf("undone: %+v", bad)
		}
	}
}

// A start that was stopped by somebody's wish does not count.
func TestUnbegin(t *testing.T) {
	s := newStore(t)
	one, two := offer(t, 1, "one"), offer(t, 2, "two")
	must(t, s.Propose(one))
	must(t, s.Adopt(one.Version(), true))
	must(t, s.Propose(two))
	must(t, s.Adopt(two.Version(), false))
	for range 5 {
		must(t, s.Unbegin())
		bad, err := s.Begin(time.Now())
		must(t, err)
		if bad != nil {
			t.Fatalf("undone: %+v", bad)
		}
	}
}

// What was rejected is tried again at the next start of the container, what a service did not live with is not.
func TestBeginForgetsRejected(t *testing.T) {
	s := newStore(t)
	one, two := offer(t, 1, "one"), offer(t, 2, "two")
	must(t, s.MarkBad(Bad{Version: one.Version(), State: bundle.StateRejected}))
	must(t, s.MarkBad(Bad{Version: two.Version(), State: bundle.StateRolledBack}))
	if _, err := s.Begin(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Accept(one.Pointer, 0, time.Now()); err != nil {
		t.Errorf("rejected before: %v", err)
	}
	if err := s.Accept(two.Pointer, 0, time.Now()); !errors.Is(err, ErrNotNew) {
		t.Errorf("rolled back before: %v", err)
	}
}

func TestAccept(t *testing.T) {
	s := newStore(t)
	five := offer(t, 5, "five")
	must(t, s.Propose(five))
	must(t, s.Adopt(five.Version(), true))
	six := offer(t, 6, "six")
	must(t, s.MarkBad(Bad{Version: six.Version(), State: bundle.StateRejected}))
	now := time.Now()
	tests := []struct {
		name    string
		pointer bundle.Pointer
		want    string
	}{
		{"the same", five.Pointer, ErrNotNew.Error()},
		{"bad", six.Pointer, ErrNotNew.Error()},
		{"older", offer(t, 4, "four").Pointer, "its serial is below config.min_serial, 5"},
		{"same serial, other digest", offer(t, 5, "other").Pointer, "genesis offers another 5 than the 5 applied here: restored from a backup? `confighub accept --serial 5` takes it"},
		{"newer", offer(t, 7, "seven").Pointer, ""},
		{"rollback by a new serial", offer(t, 8, "five").Pointer, ""},
		{"bad digest under a new serial", offer(t, 9, "six").Pointer, ""},
		{"expired", bundle.Pointer{Serial: 10, Expires: now.Add(-time.Second)}, "it expired at"},
		{"expires later", bundle.Pointer{Serial: 10, Expires: now.Add(time.Second)}, ""},
	}
	for _, tt := range tests {
		err := s.Accept(tt.pointer, 5, now)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

func TestBrokenStore(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "store.json"), []byte("{"), 0o600))
	s, err := OpenStore(dir)
	if err == nil {
		t.Error("no error")
	}
	one := offer(t, 1, "one")
	must(t, s.Propose(one))
	must(t, s.Adopt(one.Version(), true))
	if p, ok := s.Current(); !ok || p.Serial != 1 {
		t.Errorf("current %+v", p)
	}
}

func TestDir(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("bundle.json", `{"targets": {"/etc/a": {"template": "sub/a"}}}`)
	write("templates/sub/a", "one")
	store := newStore(t)
	events := listen(t, NewDir(dir, "local", func(digest string) uint64 { return store.DirSerial(digest, time.Now()) },
		func(p bundle.Pointer) error { return store.Accept(p, 0, time.Now()) }, zerolog.New(zerolog.NewTestWriter(t))))
	first := take(t, store, next(t, events))
	if _, text, _ := first.Bundle.Template("sub/a"); string(text) != "one" {
		t.Errorf("got %q", text)
	}
	write("bundle.json", `{"targets": `)
	if e := next(t, events); e.Err == nil {
		t.Errorf("a broken manifest is %+v", e)
	}
	// Files written one after the other are one change, and what an editor has beside them is none of it.
	begin := time.Now()
	for _, name := range []string{"data/.a.json", "data/b.tmp/c.json", "templates/.a.swp", "templates/a~", "templates/a.tmp"} {
		write(name, "{")
	}
	write("bundle.json", `{"targets": {"/etc/a": {"template": "sub/a"}}}`)
	<-time.After(tree.Quiet / 4) // the pace of a slow writer is what is tested
	write("templates/sub/a", "two")
	o := take(t, store, next(t, events))
	if _, text, _ := o.Bundle.Template("sub/a"); string(text) != "two" || len(o.Bundle.Templates) != 1 {
		t.Errorf("got %q", o.Bundle.Templates)
	}
	if o.Pointer.Serial <= first.Pointer.Serial {
		t.Errorf("serial %d after %d", o.Pointer.Serial, first.Pointer.Serial)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the change was seen after %s", took)
	}
}

// An unchanged directory is the same version, however often it is looked at.
func TestDirSerial(t *testing.T) {
	s := newStore(t)
	one, two := offer(t, 5, "one"), offer(t, 9, "two")
	put(t, s, one, true)
	for _, want := range []uint64{9, 9} {
		if got := s.DirSerial(two.Pointer.Digest, time.UnixMilli(int64(want))); got != want {
			t.Errorf("offered as %d, want %d", got, want)
		}
		must(t, s.Accept(two.Pointer, 0, time.Now()))
	}
	for _, now := range []int64{20, 30} {
		if got := s.DirSerial(two.Pointer.Digest, time.UnixMilli(now)); got != 9 {
			t.Errorf("at %d it is version %d", now, got)
		}
	}
	if got := s.DirSerial(one.Pointer.Digest, time.UnixMilli(20)); got != 5 {
		t.Errorf("the one in place is %d", got)
	}
	put(t, s, two, true)
	if got := s.DirSerial(one.Pointer.Digest, time.UnixMilli(20)); got != 20 {
		t.Errorf("one again is %d", got)
	}
}

// What cannot be kept is taken once all the same, and kept when there is room.
func TestStoreCarries(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	must(t, err)
	one, two := offer(t, 1, "one"), offer(t, 2, "two")
	must(t, s.Propose(one))
	must(t, s.Adopt(one.Version(), true))
	blobs := filepath.Join(dir, "blobs")
	must(t, errors.Join(os.Rename(blobs, blobs+".away"), os.WriteFile(blobs, nil, 0o600)))
	if s.Propose(two) == nil {
		t.Fatal("proposed without room")
	}
	s.Carry(two)
	for _, tt := range []struct {
		offer Offer
		want  string
	}{{two, ErrNotNew.Error()}, {one, "genesis offers 1, older than 2 applied here: restored from a backup? `confighub accept --serial 1` takes it"}, {offer(t, 3, "three"), "<nil>"}} {
		if err := s.Accept(tt.offer.Pointer, 0, time.Now()); !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.offer.Version(), err, tt.want)
		}
	}
	if got := s.DirSerial(two.Pointer.Digest, time.UnixMilli(5)); got != 2 {
		t.Errorf("its directory would be version %d", got)
	}
	if s.Keep() == nil {
		t.Error("kept without room")
	}
	must(t, errors.Join(os.Remove(blobs), os.Rename(blobs+".away", blobs)))
	must(t, s.Keep())
	s, err = OpenStore(dir)
	must(t, err)
	if p, _ := s.Current(); p.Serial != 2 || !s.OnTrial() {
		t.Errorf("current %+v", p)
	}
	if _, err := s.Bundle(two.Pointer); err != nil {
		t.Error(err)
	}
}
