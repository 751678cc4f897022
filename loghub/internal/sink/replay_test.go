// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/otlp"
)

// add keeps letters with these bodies; their uids are "a.<body>".
func add(t *testing.T, d *DeadLetters, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		record := otlp.AppendRecord(nil, &otlp.Record{Time: 1e18, Severity: 17, Body: otlp.String(body), Attributes: []otlp.KeyValue{
			{Key: "log.record.uid", Value: otlp.String("a." + body[:min(len(body), 8)])}, {Key: "raw", Value: otlp.Bytes([]byte{0, 255})}}})
		if err := d.Add(Letter{Time: time.Unix(1, 0), Error: "400: no", Record: record}); err != nil {
			t.Fatal(err)
		}
	}
}

// kept lists what is kept in dir: body, and why.
func kept(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := ReadLetters(dir, func(s *Stored) error {
		word := string(s.Shown.Body.Bytes)
		if s.Err != nil {
			word = "broken"
		}
		all = append(all, word[:min(len(word), 8)]+" "+s.Error)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// answering is a receiver that acknowledges all but what it has a reason for, and stops at "stop".
func answering(got *[]string, refused map[string]string) func(context.Context, [][]byte, func(i, j int, refused error)) error {
	return func(_ context.Context, records [][]byte, told func(i, j int, refused error)) error {
		for i, record := range records {
			var rec otlp.Record
			if err := otlp.DecodeRecord(record, &rec); err != nil {
				return err
			}
			body := string(rec.Body.Bytes)
			if body == "stop" {
				return errors.New("away")
			}
			if why := refused[body]; why != "" {
				told(i, i+1, errors.New(why))
				continue
			}
			*got = append(*got, body[:min(len(body), 8)]+" "+uidOf(&rec))
			told(i, i+1, nil)
		}
		return nil
	}
}

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	d := NewDeadLetters(dir)
	add(t, d, "1", "2", "3", "4", "stop", "5")
	var got []string
	r := &Replay{Dir: dir, Want: func(s *Stored) bool { return s.UID != "a.2" }, Send: answering(&got, map[string]string{"3": "422: still not"})}
	send := r.Send
	r.Send = func(ctx context.Context, records [][]byte, told func(i, j int, refused error)) error {
		add(t, d, "late") // while it is at work
		return send(ctx, records, told)
	}
	if err := r.Run(t.Context()); err == nil || err.Error() != "away" || r.Acked != 2 || r.Refused != 1 {
		t.Errorf("%v, %d acknowledged, %d refused", err, r.Acked, r.Refused)
	}
	if diff := cmp.Diff([]string{"1 a.1", "4 a.4"}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"2 400: no", "3 422: still not", "stop 400: no", "5 400: no", "late 400: no"}, kept(t, dir)); diff != "" {
		t.Error(diff)
	}
	add(t, d, "6")
	got = nil
	r = &Replay{Dir: dir, Want: func(s *Stored) bool { return s.UID != "a.stop" }, Send: answering(&got, nil)}
	if err := r.Run(t.Context()); err != nil || r.Acked != 5 {
		t.Error(err, r.Acked)
	}
	if diff := cmp.Diff([]string{"stop 400: no"}, kept(t, dir)); diff != "" {
		t.Error(diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v %v", entries, err)
	}
	if info, err := os.Stat(filepath.Join(dir, deadName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

// Outcomes are bounded: the file is put in order on the way, and reading goes on where it was.
func TestReplayMany(t *testing.T) {
	dir := t.TempDir()
	d := NewDeadLetters(dir)
	const n = 3 * replayOutcomes / 2
	var bodies []string
	for i := range n {
		bodies = append(bodies, fmt.Sprint(i))
	}
	add(t, d, bodies...)
	var got []string
	refused := map[string]string{}
	for i := range n {
		if i%2 == 0 { // as many outcomes as letters
			refused[fmt.Sprint(i)] = "again no"
		}
	}
	r := &Replay{Dir: dir, Send: answering(&got, refused)}
	if err := r.Run(t.Context()); err != nil || r.Acked != n/2 || r.Refused != n/2 || len(got) != n/2 {
		t.Errorf("%v, %d acknowledged, %d refused, %d sent", err, r.Acked, r.Refused, len(got))
	}
	left := kept(t, dir)
	for i, l := range left {
		if l != fmt.Sprintf("%d again no", 2*i) {
			t.Fatalf("letter %d is %q", i, l)
		}
	}
	if len(left) != n/2 {
		t.Errorf("%d are kept", len(left))
	}
}

// Letters of both files, giants without a copy, those of earlier versions, and what cannot be read.
func TestReplayForms(t *testing.T) {
	dir := t.TempDir()
	d := NewDeadLetters(dir)
	giant := strings.Repeat("g", maxDeadBytes/4)
	add(t, d, "1", giant, giant, giant, giant, "2") // giants rotate the file
	if _, err := os.Stat(filepath.Join(dir, deadName+".1")); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, deadName), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	old, err := json.Marshal(map[string]string{"error": "413 old", "time": "2026-03-01T12:00:00Z",
		"record": base64.StdEncoding.EncodeToString(otlp.AppendRecord(nil, &otlp.Record{Body: otlp.String("old")}))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f, "%s\nnonsense\n{\"message\":\"no letter\"}\n{\"half", old); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if n, err := CountLetters(dir); n != 9 || err != nil {
		t.Errorf("%d letters, %v", n, err)
	}
	var got []string
	r := &Replay{Dir: dir, Send: answering(&got, map[string]string{giant: "still too large"})}
	if err := r.Run(t.Context()); err != nil || r.Unsent != 2 || !strings.Contains(r.LastReason, "it cannot be read: ") {
		t.Errorf("%v, %d unsent: %s", err, r.Unsent, r.LastReason)
	}
	if diff := cmp.Diff([]string{"1 a.1", "2 a.2", "old "}, got); diff != "" {
		t.Error(diff)
	}
	want := []string{"gggggggg still too large", "gggggggg still too large", "gggggggg still too large", "gggggggg still too large", "broken ", "broken "}
	if diff := cmp.Diff(want, kept(t, dir)); diff != "" {
		t.Error(diff)
	}
	if err := ReadLetters(dir, func(s *Stored) error {
		if s.Err == nil && (s.UID != "a.gggggggg" || s.Shown.Severity != 17) {
			t.Errorf("%s %d", s.UID, s.Shown.Severity)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A file that loghub has moved on meanwhile is put in order where it is now; one that it has thrown away is not brought back.
func TestReplayRotated(t *testing.T) {
	for name, gone := range map[string]bool{"moved": false, "thrown away": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d := NewDeadLetters(dir)
			add(t, d, "1", "2")
			path := filepath.Join(dir, deadName)
			var got []string
			r := &Replay{Dir: dir, Want: func(s *Stored) bool { return s.UID == "a.1" }}
			send := answering(&got, nil)
			r.Send = func(ctx context.Context, records [][]byte, told func(i, j int, refused error)) error {
				if err := os.Rename(path, path+".1"); err != nil {
					t.Error(err)
				}
				if gone {
					if err := os.Remove(path + ".1"); err != nil {
						t.Error(err)
					}
				}
				add(t, d, "3")
				return send(ctx, records, told)
			}
			if err := r.Run(t.Context()); err != nil || r.Acked != 1 {
				t.Error(err, r.Acked)
			}
			want := []string{"2 400: no", "3 400: no"}
			if gone {
				want = want[1:]
			}
			if diff := cmp.Diff(want, kept(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Root, in a container of another uid, leaves a file that loghub can go on writing; what a killed replay left is removed.
func TestReplayOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file away needs root")
	}
	dir := t.TempDir()
	add(t, NewDeadLetters(dir), "1", "2")
	path := filepath.Join(dir, deadName)
	stale := filepath.Join(dir, ".dead.123.tmp")
	if err := errors.Join(os.Chown(path, 4242, 4243), os.WriteFile(stale, nil, 0o600), os.Chtimes(stale, time.Time{}, time.Unix(1, 0))); err != nil {
		t.Fatal(err)
	}
	var got []string
	r := &Replay{Dir: dir, Want: func(s *Stored) bool { return s.UID == "a.1" }, Send: answering(&got, nil)}
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 4242 || owner.Gid != 4243 {
		t.Errorf("it belongs to %d:%d", owner.Uid, owner.Gid)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("what a killed replay left is there")
	}
}

// Who holds the files for an instant keeps a letter waiting, and no letter is lost for it.
func TestLettersLock(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockLetters(dir, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockLetters(dir, 20*time.Millisecond); !errors.Is(err, errLocked) {
		t.Errorf("twice: %v", err)
	}
	added := make(chan struct{})
	go func() {
		add(t, NewDeadLetters(dir), "1")
		close(added)
	}()
	select {
	case <-added:
		t.Error("a letter was added in spite of the lock")
	case <-time.After(100 * time.Millisecond):
	}
	unlock()
	<-added
	if diff := cmp.Diff([]string{"1 400: no"}, kept(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// Resend halves what is refused to the one record, takes partial success for none, insists where it may, and stops at what is
// the operator's to mend.
func TestResend(t *testing.T) {
	partly := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", otlp.ContentType)
		_, _ = w.Write(otlp.AppendResponse(nil, otlp.Response{Rejected: 1, Message: "too old"}))
	}
	tests := []struct {
		name   string
		answer func(n int, body string, w http.ResponseWriter) bool
		want   string // of r1 r2 r3
		words  string
	}{
		{"taken", nil, "ok ok ok", ""},
		{"one refused", func(_ int, body string, w http.ResponseWriter) bool {
			if strings.Contains(body, "r2") {
				w.WriteHeader(400)
			}
			return strings.Contains(body, "r2")
		}, "ok 400 ok", ""},
		{"one rejected", func(_ int, body string, w http.ResponseWriter) bool {
			if strings.Contains(body, "r3") {
				partly(w)
			}
			return strings.Contains(body, "r3")
		}, "ok ok rejected", ""},
		{"trouble once", first(status(503)), "ok ok ok", ""},
		{"later", first(status(429, "Retry-After", "1")), "ok ok ok", ""},
		{"much later", status(429, "Retry-After", "3600"), "- - -", "429"},
		{"forbidden", status(403), "- - -", "403"},
		{"a page", func(_ int, _ string, w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "text/html")
			return true
		}, "- - -", "is the path right?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(&engine{answer: tt.answer})
			defer srv.Close()
			s := New(Options{URL: srv.URL, Resource: func() []otlp.KeyValue { return nil }})
			var records [][]byte
			for _, body := range numbers(1, 3) {
				records = append(records, otlp.AppendRecord(nil, &otlp.Record{Body: otlp.String(body)}))
			}
			got := []string{"-", "-", "-"}
			err := s.Resend(t.Context(), records, func(i, j int, refused error) {
				for ; i < j; i++ {
					got[i] = "ok"
					if refused != nil {
						got[i] = "400"
						if strings.Contains(refused.Error(), "rejected 1 of its records: too old") {
							got[i] = "rejected"
						}
					}
				}
			})
			if strings.Join(got, " ") != tt.want || (err == nil) != (tt.words == "") || err != nil && !strings.Contains(err.Error(), tt.words) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// Two replays at one time, while letters come: what is no longer kept was acknowledged.
func TestReplayTwice(t *testing.T) {
	dir := t.TempDir()
	d := NewDeadLetters(dir)
	const n = 400
	var mu sync.Mutex
	acked := map[string]bool{}
	send := func(_ context.Context, records [][]byte, told func(i, j int, refused error)) error {
		for i, record := range records {
			var rec otlp.Record
			if err := otlp.DecodeRecord(record, &rec); err != nil {
				return err
			}
			if body := string(rec.Body.Bytes); len(body)%2 == 0 {
				mu.Lock()
				acked[body] = true
				mu.Unlock()
				told(i, i+1, nil)
			} else {
				told(i, i+1, errors.New("again"))
			}
		}
		return nil
	}
	over := make(chan struct{})
	var replays sync.WaitGroup
	for range 2 {
		replays.Go(func() {
			for more := true; more; {
				select {
				case <-over:
					more = false
				default:
				}
				if err := (&Replay{Dir: dir, Send: send}).Run(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("%d", i*7919))
		add(t, d, all[i])
	}
	close(over)
	replays.Wait()
	left := map[string]bool{}
	if err := ReadLetters(dir, func(s *Stored) error {
		if left[string(s.Shown.Body.Bytes)] {
			t.Errorf("%s is kept twice", s.Shown.Body.Bytes)
		}
		left[string(s.Shown.Body.Bytes)] = true
		return nil
	}); err != nil {
		t.Error(err)
	}
	for _, body := range all {
		if want := len(body)%2 == 0; acked[body] != want || left[body] == want {
			t.Errorf("%s: acknowledged is %v, kept %v", body, acked[body], left[body])
		}
	}
	if _, lost := d.Counts(); lost > 0 || len(left)+len(acked) != n {
		t.Errorf("%d lost, %d kept, %d acknowledged", lost, len(left), len(acked))
	}
}
