// SPDX-License-Identifier: AGPL-3.0-or-later

package limit

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

func TestRate(t *testing.T) {
	for text, want := range map[string]Rate{
		"": {}, "100/10s": {100, 10 * time.Second}, "1/1h": {1, time.Hour}, "1000000/100ms": {1e6, 100 * time.Millisecond},
	} {
		var r Rate
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%q: %v, %v", text, r, err)
		}
		var again Rate
		if err := again.UnmarshalText([]byte(r.String())); err != nil || again != r {
			t.Errorf("%q: %v", r, err)
		}
	}
	for text, want := range map[string]string{
		"100": "lines and a time", "100/": "lines and a time", "x/1s": "lines and a time", "0/1s": "from 1 line", "-1/1s": "from 1 line",
		"1000001/1s": "to 1000000", "1/1ms": "from 100ms", "1/2h": "to 1h", "1/10": "lines and a time", " 1/1s": "lines and a time",
	} {
		r := Rate{1, 1}
		if err := r.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestShape(t *testing.T) {
	of := func(line string, quotes bool) uint64 { return Shape([]byte(line), 9, quotes) }
	for _, alike := range [][]string{
		{"worker 1 took 12 ms", "worker 22 took 345678 ms"},
		{"from 10.0.0.1:80", "from 192.168.7.254:65535"},
		{"at 2026-11-21T07:55:42Z", "at 2025-01-02T03:04:05Z"},
		{`user "ops" is gone`, `user "crew of two" is gone`, `user "" is gone`},
		{"id 550e8400-e29b-41d4-a716-446655440000 x", "id 00000000-0000-4000-8000-000000000001 x"},
		{"commit 3f786850e387", "commit 89e6c98d9288"},
		{"worker7 is up", "worker12 is up"},
	} {
		for _, line := range alike[1:] {
			if of(line, false) != of(alike[0], false) {
				t.Errorf("%q and %q are not alike", alike[0], line)
			}
		}
	}
	different := []string{"", "a", "b", "a b", "connection refused", "connection reset", `user "ops" is here`, "don't 'x", "worker 1", "worker", "worker7", "dead beef",
		"a \"b", "1", "1 2", strings.Repeat("x", 1000)}
	seen := map[uint64]string{}
	for _, line := range different {
		if other, ok := seen[of(line, false)]; ok {
			t.Errorf("%q and %q are alike", line, other)
		}
		seen[of(line, false)] = line
	}
	if of(`"GET /a HTTP/1.1" 200`, true) == of(`"GET /b HTTP/1.1" 200`, true) || of(`"GET /a HTTP/1.1" 200`, true) != of(`"GET /a HTTP/1.1" 304`, true) {
		t.Error("what stands in quotes")
	}
	if Shape([]byte("x"), 9, false) == Shape([]byte("x"), 17, false) {
		t.Error("severities are alike")
	}
}

// at is a time in a test.
func at(d time.Duration) time.Time { return time.Unix(1000, 0).Add(d) }

func line(shape uint64, d time.Duration) Line {
	return Line{Shape: shape, Severity: 9, At: at(d).UnixNano(), Bytes: 10, Place: uint64(d), Text: []byte(fmt.Sprint("shape ", shape))}
}

func TestLimiter(t *testing.T) {
	l := New(Rate{2, 10 * time.Second})
	take := func(shape uint64, d time.Duration, wantKept bool, want Tally) {
		t.Helper()
		kept, over := l.Take(line(shape, d), at(d))
		if kept != wantKept || over != want {
			t.Errorf("%v: kept %v, %s", d, kept, cmp.Diff(want, over))
		}
	}
	take(1, 0, true, Tally{})
	take(1, 1, true, Tally{})
	take(1, 2, false, Tally{})
	take(2, 3, true, Tally{})
	take(1, 4*time.Second, false, Tally{})
	want := Tally{Count: 2, Bytes: 20, First: at(2).UnixNano(), Last: at(4 * time.Second).UnixNano(), Severity: 9, Place: uint64(4 * time.Second), Example: "shape 1"}
	if got := l.Untold(); got != want {
		t.Error(cmp.Diff(want, got))
	}
	if next := l.Next(); !next.Equal(at(14 * time.Second)) {
		t.Errorf("due at %v", next)
	}
	if got, ok := l.Due(at(13*time.Second), false); ok {
		t.Error(got)
	}
	take(1, 10*time.Second, true, want) // a new window
	take(1, 11*time.Second, true, Tally{})
	take(1, 12*time.Second, false, Tally{})
	take(1, 9*time.Second, false, Tally{}) // out of order
	saved := *l
	got, ok := l.Due(at(22*time.Second), false)
	if !ok || got.Count != 2 || got.First != at(9*time.Second).UnixNano() || got.Last != at(12*time.Second).UnixNano() {
		t.Error(got, ok)
	}
	if !l.Next().IsZero() || !l.Untold().None() || saved.Untold().Count != 2 {
		t.Error("something is left, or a copy is none")
	}
	l.Carry(got)
	l.Carry(Tally{Count: 1, Bytes: 1, First: 5, Last: 6, Severity: 17, Place: 1, Example: "x"})
	if got, ok := l.Due(at(0), false); !ok || got.Count != 3 || got.Example != "" || got.Severity != 17 || got.First != 5 {
		t.Error(got, ok)
	}
	var none *Limiter
	if _, ok := none.Due(at(0), true); ok || !none.Next().IsZero() || !none.Untold().None() || New(Rate{}) != nil {
		t.Error("a limiter of nothing")
	}
}

// TestConserved: whatever comes, what was kept, told and untold is what there was; at most so many of a shape are kept in a
// window while it is known; and memory is bounded.
func TestConserved(t *testing.T) {
	if size := unsafe.Sizeof(Limiter{}); size > 8<<10 {
		t.Errorf("a limiter takes %d bytes", size)
	}
	for _, shapes := range []int{1, 3, 40, 10_000} {
		l := New(Rate{3, time.Second})
		rnd := rand.New(rand.NewPCG(uint64(shapes), 2))
		var now time.Duration
		kept, told := 0, int64(0)
		const lines = 50_000
		for range lines {
			now += time.Duration(rnd.IntN(int(5 * time.Millisecond)))
			jitter := time.Duration(rnd.IntN(int(100 * time.Millisecond)))
			ok, over := l.Take(line(uint64(rnd.IntN(shapes))*0x9E3779B97F4A7C15, now-jitter), at(now))
			if ok {
				kept++
			}
			told += over.Count
			if over, ok := l.Due(at(now), false); ok {
				told += over.Count
			}
		}
		untold := l.Untold().Count
		for over, ok := l.Due(at(now), true); ok; over, ok = l.Due(at(now), true) {
			told += over.Count
			untold -= over.Count
		}
		if int64(kept)+told != lines || untold != 0 || !l.Untold().None() {
			t.Errorf("%d shapes: %d kept, %d told, %d of what was untold", shapes, kept, told, untold)
		}
		if most := 3 * shapes * (int(now/time.Second) + 2); kept > most {
			t.Errorf("%d shapes: %d kept, at most %d are to be", shapes, kept, most)
		}
		t.Logf("%d shapes: %d of %d kept in %v", shapes, kept, lines, now)
	}
}

func BenchmarkTake(b *testing.B) {
	l := New(Rate{100, 10 * time.Second})
	text := []byte("connection to 10.0.0.7:5432 refused after 1234 ms, retry 17 of \"shop\"")
	now := time.Now()
	for range b.N {
		l.Take(Line{Shape: Shape(text, 3, false), At: now.UnixNano(), Text: text}, now)
	}
}
