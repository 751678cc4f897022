// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/parse"
)

func TestPostmortem(t *testing.T) {
	at := time.Date(2026, 11, 21, 8, 0, 0, 5, time.UTC)
	b := New(Options{Masker: mask.NewLive([]string{"hunter2hunter2"}), UID: "bootexit."})
	lines := [][]byte{[]byte("\x1b[31mfirst\x1b[0m\r"), nil, []byte("it is hunter2hunter2")}
	for _, test := range []struct {
		death    Death
		severity uint8
		headline string
	}{
		{Death{Code: 1, Uptime: 3*time.Hour + 12*time.Minute + 7*time.Second + 4*time.Millisecond}, parse.Fatal, "the service exited with code 1 after 3h12m7s"},
		{Death{Code: 139, Signal: "SEGV", Uptime: 1234 * time.Millisecond, Restarts: 2}, parse.Fatal, "the service was killed by SIGSEGV after 1.2s, restarted in place 2 times before"},
		{Death{Code: 137, Signal: "KILL", OOM: true, Uptime: 12345 * time.Microsecond}, parse.Fatal, "the service was killed for memory (OOM) after 12ms"},
		{Death{Code: 0}, parse.Info, "the service exited with code 0"},
		{Death{Code: 3, Success: true}, parse.Info, "the service exited with code 3"},
		{Death{Code: 143, Signal: "TERM", Asked: "signal TERM"}, parse.Info, "the service was killed by SIGTERM (asked: signal TERM)"},
		{Death{Code: 143, Asked: "signal TERM"}, parse.Info, "the service exited with code 143 (asked: signal TERM)"},
		{Death{Code: 137, Signal: "KILL", Asked: "signal TERM"}, parse.Warn, "the service was killed by SIGKILL (asked: signal TERM)"},
		{Death{Code: 1, Asked: "signal INT"}, parse.Warn, "the service exited with code 1 (asked: signal INT)"},
	} {
		test.death.At = at
		rec, got := attrs(t, b.Postmortem(&test.death, lines, 7))
		if want := test.headline + "\nfirst\nit is ***"; string(rec.Body.Bytes) != want {
			t.Errorf("%+v: %q, want %q", test.death, rec.Body.Bytes, want)
		}
		if rec.Severity != test.severity || rec.EventName != "hub.postmortem" || rec.Time != uint64(at.UnixNano()) {
			t.Errorf("%+v: %+v", test.death, rec)
		}
		if got["process.exit.code"] != int64(test.death.Code) || got["hub.exit.lines"] != int64(2) || got["log.record.uid"] != "bootexit.7" ||
			got["hub.exit.restarts"] != int64(test.death.Restarts) || (got["hub.exit.oom"] == true) != test.death.OOM {
			t.Errorf("%+v: %v", test.death, got)
		}
	}
}

// However long the lines are, the record has room for the newest.
func TestPostmortemIsBounded(t *testing.T) {
	b := New(Options{UID: "x."})
	var lines [][]byte
	for i := range 20 {
		lines = append(lines, append(bytes.Repeat([]byte("ä"), 1500), fmt.Sprint(i)...))
	}
	lines[19] = []byte("the end")
	body := string(b.Postmortem(&Death{Code: 1, At: time.Now()}, lines, 1).Body.Bytes)
	if len(body) > postmortemBytes+200 || !strings.HasSuffix(body, "…\nthe end") || strings.Count(body, "\n") != 4 || strings.Contains(body, "\uFFFD") {
		t.Errorf("%d bytes, %d lines: %.100q", len(body), strings.Count(body, "\n"), body)
	}
}

func TestSilent(t *testing.T) {
	b := New(Options{UID: "x."})
	rec, got := attrs(t, b.Silent(time.Date(2026, 11, 21, 8, 0, 0, 5, time.UTC), 1))
	if rec.Severity != parse.Error || !strings.Contains(string(rec.Body.Bytes), "at or after 2026-11-21T08:00:00Z") || got["hub.exit.last_seen"] != "2026-11-21T08:00:00Z" {
		t.Errorf("%+v %v", rec, got)
	}
}
