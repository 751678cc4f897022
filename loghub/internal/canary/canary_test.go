// SPDX-License-Identifier: AGPL-3.0-or-later

package canary

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func news(v *Visit) (all []News) {
	for {
		select {
		case n := <-v.News():
			all = append(all, n)
		default:
			return all
		}
	}
}

func TestWatch(t *testing.T) {
	var none *Watch
	none.Sent([]byte("x"), nil)
	none.Read("file", "1")
	w := &Watch{}
	v, other := NewVisit("file", "stdout"), NewVisit("file")
	line := []byte("DEBUG " + v.Text("file") + " by loghub doctor")
	if none.Leg(line) != "" || w.Leg(line) != "" {
		t.Error("a canary without a visit")
	}
	w.Begin(v)
	for text, want := range map[string]string{
		string(line): "file", v.Text("stdout"): "stdout", v.Text("other"): "", other.Text("file"): "", "canary-": "", "": "",
	} {
		if got := w.Leg([]byte(text)); got != want {
			t.Errorf("%q is the canary of %q, want %q", text, got, want)
		}
	}
	w.Read("file", "a.1")
	w.Sent([]byte("others"), nil)
	w.Sent([]byte("before"+v.Text("file")+"between"+v.Text("stdout")), nil)
	w.Sent([]byte(v.Text("file")), errors.New("400 no"))
	want := []News{
		{Leg: "file", Stage: Read, UID: "a.1"}, {Leg: "file", Stage: Acknowledged}, {Leg: "stdout", Stage: Acknowledged},
		{Leg: "file", Stage: Refused, Error: "400 no"},
	}
	if diff := cmp.Diff(want, news(v)); diff != "" {
		t.Error(diff)
	}
	for range 2 * maxNews { // nobody reads: nothing waits
		w.Read("file", "a.1")
	}
	w.Begin(nil)
	w.Read("file", "a.2")
	if got := news(v); len(got) != maxNews || w.Leg(line) != "" {
		t.Errorf("%d news after the end", len(got))
	}
}
