// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestClock(t *testing.T) {
	asked := time.Date(2026, 3, 1, 12, 0, 0, 400e6, time.UTC)
	heard := asked.Add(2500 * time.Millisecond)
	for date, want := range map[string]time.Duration{
		"Sun, 01 Mar 2026 12:00:00 GMT": 0, "Sun, 01 Mar 2026 12:00:02 GMT": 0,
		"Sun, 01 Mar 2026 12:00:10 GMT": 7100 * time.Millisecond, "Sun, 01 Mar 2026 11:59:50 GMT": -9400 * time.Millisecond,
	} {
		s := &Sender{}
		if _, known := s.Clock(); known {
			t.Error("a clock before an answer")
		}
		s.compare("soon", asked, heard)
		if _, known := s.Clock(); known {
			t.Error("a clock without a date")
		}
		s.compare(date, asked, heard)
		if got, known := s.Clock(); got != want || !known {
			t.Errorf("%s: %s, want %s", date, got, want)
		}
	}
}

// TestKick: somebody who asks has trouble looked at again at once, but not sooner than the receiver wants.
func TestKick(t *testing.T) {
	refusing := status(403)
	e := &engine{answer: func(n int, body string, w http.ResponseWriter) bool { return n == 1 && refusing(n, body, w) }}
	srv := httptest.NewServer(e)
	defer srv.Close()
	r := newRig(t, srv.URL, nil, 1)
	r.Kick() // before there is trouble: it says nothing of what comes later
	r.run(t)
	waitFor(t, 10*time.Second, "held", func() bool { return r.State().Held && r.State().Code == 403 })
	time.Sleep(50 * time.Millisecond) // it has looked for kicks of before
	r.Kick()
	waitFor(t, 10*time.Second, "acknowledgement", func() bool { return r.State().Sent == 1 && r.State().Code == 0 })
	if ahead, known := r.Clock(); !known || ahead != 0 {
		t.Errorf("a clock of this machine is %s ahead", ahead)
	}

	e = &engine{answer: first(status(429, "Retry-After", "3"))}
	later := httptest.NewServer(e)
	defer later.Close()
	r = newRig(t, later.URL, nil, 1)
	r.run(t)
	waitFor(t, 10*time.Second, "refusal", func() bool { return r.State().Code == 429 })
	for range 10 {
		r.Kick()
		time.Sleep(10 * time.Millisecond)
	}
	waitFor(t, 20*time.Second, "acknowledgement", func() bool { return r.State().Sent == 1 })
	if wait := e.at[1].Sub(e.at[0]); wait < 3*time.Second {
		t.Errorf("asked again after %s", wait)
	}
}

// TestAnswered: who wants to know hears what became of each record.
func TestAnswered(t *testing.T) {
	e := &engine{answer: func(_ int, body string, w http.ResponseWriter) bool {
		if body == "r2" || body == "r1 r2 r3" || body == "r2 r3" {
			w.WriteHeader(400)
			return true
		}
		return false
	}}
	srv := httptest.NewServer(e)
	defer srv.Close()
	r := newRig(t, srv.URL, nil, 3)
	var got []string
	r.o.Answered = func(records []byte, err error) {
		word := "taken"
		if err != nil {
			word = "refused"
		}
		got = append(got, word)
	}
	if left := r.Flush(t.Context()); left != 0 {
		t.Errorf("%d are left", left)
	}
	if diff := cmp.Diff([]string{"taken", "refused", "taken"}, got); diff != "" {
		t.Error(diff)
	}
}
