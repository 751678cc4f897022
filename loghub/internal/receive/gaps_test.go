// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/spiffe"
	"github.com/google/go-cmp/cmp"
)

func TestGaps(t *testing.T) {
	dir := t.TempDir()
	line := func(peer, uid string, more ...string) string {
		return fmt.Sprintf(`{"message":"x","cloud4.peer":"spiffe://cloud4.internal/%s","service.instance.id":"0","log.record.uid":%q%s}`+"\n", peer, uid, strings.Join(more, ""))
	}
	loss := func(n int) string { return fmt.Sprintf(`,"event_name":"hub.loss","hub.loss.count":%d`, n) }
	files := map[string]string{
		"a.jsonl.1": line("host/a", "e1.1") + line("host/a", "e1.2") + line("host/a", "e1.2") + line("host/a", "e1.7", loss(4)),
		"a.jsonl":   line("host/a", "e1.8") + line("host/a", "e1.7", loss(4)) + line("host/a", "e1.11") + line("host/a", "e1.9.refused", loss(1)) + line("host/a", "e2.5"),
		"b.jsonl":   line("host/b", "f9.0@123") + line("host/b", "") + "no JSON\n" + line("host/b", "e1.1", `,"log.iostream":"stderr"`),
		"other.txt": line("host/c", "e1.1"),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var g Gaps
	if err := g.Read(dir); err != nil {
		t.Fatal(err)
	}
	a, b := "spiffe://cloud4.internal/host/a", "spiffe://cloud4.internal/host/b"
	want := []Gap{
		{Peer: a, Instance: "0", Source: "e1", From: 1, To: 11, Records: 7, Duplicates: 2, Complete: 2, Missing: 6, Told: 5, Stretches: []string{"3-6", "9-10"}},
		{Peer: a, Instance: "0", Source: "e2", From: 5, To: 5, Records: 1, Complete: 5, Stretches: []string{}},
		{Peer: b, Instance: "0", Source: "e1", Of: "stderr", From: 1, To: 1, Records: 1, Complete: 1, Stretches: []string{}},
	}
	if diff := cmp.Diff(want, g.All()); diff != "" || g.Foreign != 3 || want[0].Unexplained() != 1 {
		t.Errorf("%d lines are none of ours\n%s", g.Foreign, diff)
	}
	if err := g.Read(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

// TestGapsPostmortems: the places of what tells of an end are times, between which nothing is missing.
func TestGapsPostmortems(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.jsonl")
	line := func(uid, name string) string {
		return fmt.Sprintf(`{"cloud4.peer":"web","event_name":%q,"log.record.uid":%q}`+"\n", name, uid)
	}
	text := line("e.1", "") + line("b0exit.1795296061970873", "hub.postmortem") + line("b0exit.1795296394858551", "hub.postmortem") + line("b0end.1", "hub.postmortem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var g Gaps
	if err := g.Read(path); err != nil {
		t.Fatal(err)
	}
	want := []Gap{{Peer: "web", Source: "e", From: 1, To: 1, Records: 1, Complete: 1, Stretches: []string{}}}
	if diff := cmp.Diff(want, g.All()); diff != "" || g.Foreign != 3 {
		t.Errorf("%d lines are not numbered\n%s", g.Foreign, diff)
	}
}

// TestGapsPacked: files that were compressed count like others.
func TestGapsPacked(t *testing.T) {
	w := newWorld(t, Options{FileBytes: 2000, Keep: 100, Pack: true})
	web := id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))
	for i := range 200 {
		if i == 77 {
			continue
		}
		if err := w.rc.take(web, request("0", fmt.Sprintf("e.%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	var g Gaps
	if err := g.Read(w.dir); err != nil {
		t.Fatal(err)
	}
	want := []Gap{{Peer: web.String(), Instance: "0", Source: "e", From: 0, To: 199, Records: 199, Complete: 76, Missing: 1, Stretches: []string{"77"}}}
	if diff := cmp.Diff(want, g.All()); diff != "" {
		t.Error(diff)
	}
}

// TestStretches: in any order, with any holes, stretches are what a set of numbers would be.
func TestStretches(t *testing.T) {
	for range 300 {
		r := rand.New(rand.NewPCG(rand.Uint64(), 0))
		set := map[uint64]bool{}
		var tr track
		for range r.IntN(60) {
			n := uint64(r.IntN(40))
			if tr.mark(n) == set[n] {
				t.Fatalf("%d is new: %v, in %v", n, set[n], tr.seen)
			}
			set[n] = true
		}
		count, last := uint64(0), uint64(0)
		for i, s := range tr.seen {
			if s.from > s.to || i > 0 && s.from <= last+1 {
				t.Fatalf("stretches touch: %v", tr.seen)
			}
			for n := s.from; n <= s.to; n++ {
				if !set[n] {
					t.Fatalf("%d was never seen: %v", n, tr.seen)
				}
			}
			count, last = count+s.to-s.from+1, s.to
		}
		if int(count) != len(set) {
			t.Fatalf("%d numbers of %d: %v", count, len(set), tr.seen)
		}
	}
}

// TestGapsOfLiars: numbers and lines as large as a peer likes hide nothing of what others lack.
func TestGapsOfLiars(t *testing.T) {
	line := func(peer, uid string) string {
		return fmt.Sprintf(`{"cloud4.peer":%q,"service.instance.id":"0","log.record.uid":%q}`+"\n", peer, uid)
	}
	path := filepath.Join(t.TempDir(), "x.jsonl")
	text := line("a", "e.1") + line("a", "e.4") + line("b", "e.1") + line("b", "e.18446744073709551615") + line("c", "e.1") + line("c", "e.9223372036854775807") +
		strings.Repeat("x", maxLine+1) + "\n" + line("a", "e.5")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var g Gaps
	if err := g.Read(path); err != nil {
		t.Fatal(err)
	}
	all := g.All()
	if g.Foreign != 1 || len(all) != 3 || all[0].Missing != 2 || all[0].To != 5 || all[1].Missing != math.MaxInt64 || Unexplained(all) != math.MaxInt64 {
		t.Errorf("foreign %d, %+v", g.Foreign, all)
	}
}
