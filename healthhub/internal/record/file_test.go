// SPDX-License-Identifier: AGPL-3.0-or-later

package record

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/health"
)

// running runs a recorder; stop ends it and waits. What it logs goes to log.
func running(t *testing.T, dir string, size int) (r *Recorder, log *bytes.Buffer, stop func()) {
	t.Helper()
	r, log = New(dir, size), new(bytes.Buffer)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx, zerolog.New(log)) // its error is what the log said, or that of the last moment
	}()
	return r, log, func() { cancel(); <-done }
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func content(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "health")
	synctest.Test(t, func(t *testing.T) {
		r, _, stop := running(t, dir, 100)
		r.Note(host(health.Pass, check("page", health.Pass)), host(health.Fail, check("page", health.Fail)), noon)
		after(time.Minute)
		r.Mark("the last words", noon) // and no time to wait for more
		stop()
		again, _, stop := running(t, dir, 100)
		defer stop()
		if got := told(again.Query("", time.Time{}, 0)); got != "page pass>fail,  pass>fail, the last words, restarted" {
			t.Errorf("after the restart: %q", got)
		}
		if events, complete := again.Since(3); !complete || len(events) != 1 || events[0].Seq != 4 {
			t.Errorf("the numbers do not run on: %+v", events)
		}
	})
}

// The disk is left alone while nothing happens, and takes many transitions as one.
func TestSparesTheDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r, _, stop := running(t, dir, 1000)
		defer stop()
		writes, size := 0, int64(-1)
		syncs, synced := 0, r.file.synced
		watch := func(d time.Duration) {
			for range d / (10 * time.Millisecond) {
				after(10 * time.Millisecond)
				if info, err := os.Stat(filepath.Join(dir, fileName)); err == nil && info.Size() != size {
					writes, size = writes+1, info.Size()
				}
				r.mu.Lock()
				if !r.file.synced.Equal(synced) {
					syncs, synced = syncs+1, r.file.synced
				}
				r.mu.Unlock()
			}
		}
		watch(time.Minute)
		if writes > 0 {
			t.Error("something was written before anything happened")
		}
		for range 50 {
			for range 10 {
				r.Mark("x", noon)
			}
			watch(10 * time.Millisecond)
		}
		watch(time.Minute)
		if lines := strings.Count(content(t, dir), "\n"); writes != 1 || syncs != 1 || lines != 500 {
			t.Errorf("500 transitions became %d writes of %d lines and %d syncs", writes, lines, syncs)
		}
		syncs = 0
		for range 60 {
			r.Mark("x", noon)
			watch(time.Second)
		}
		if lines := strings.Count(content(t, dir), "\n"); syncs < 5 || syncs > 7 || lines < 558 {
			t.Errorf("%d syncs in a minute of steady transitions, %d lines", syncs, lines)
		}
		watch(time.Minute)
		if r.file.loose || syncs > 8 {
			t.Errorf("afterwards: %d syncs, all is kept: %t", syncs, !r.file.loose)
		}
		synced, syncs = r.file.synced, 0
		watch(10 * time.Minute)
		if syncs > 0 {
			t.Error("the disk was not left alone")
		}
	})
}

// However long it goes on, the file is bounded, and nothing that is kept is missing in it.
func TestFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	r := New(dir, 100)
	most := 0
	for i := range 5000 {
		r.Mark(strings.Repeat("x", maxText), noon)
		if i%7 != 0 {
			continue
		}
		if err := r.spill(true); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(content(t, dir)))
	}
	if limit := 2*100*(maxText+100) + slackBytes; most > limit || most < limit/2 {
		t.Errorf("the file grew to %d bytes, limit %d", most, limit)
	}
	if err := r.spill(true); err != nil {
		t.Fatal(err)
	}
	events := New(dir, 100).Query("", time.Time{}, 0)
	if len(events) != 100 || events[0].Seq != 4902 || events[99].Text != "restarted" {
		t.Errorf("read back %d events from %d on", len(events), events[0].Seq)
	}
}

func TestReadsWhatItCan(t *testing.T) {
	mark := func(seq int) string {
		return fmt.Sprintf(`{"seq":%d,"at":"2026-03-01T12:00:00Z","path":"","kind":"mark","text":"%d"}`+"\n", seq, seq)
	}
	for name, test := range map[string]struct {
		before, want string // want without the mark of the restart
	}{
		"nothing":          {"", ""},
		"whole":            {mark(1) + mark(2), "1, 2"},
		"cut short":        {mark(1) + mark(2) + mark(3)[:20], "1, 2"},
		"no line feed":     {mark(1) + strings.TrimSuffix(mark(2), "\n"), "1, 2"},
		"bad in between":   {mark(1) + "\x00\x00\n" + mark(3), "1, 3"},
		"backwards":        {mark(5) + mark(4) + mark(6), "5, 6"},
		"of another size":  {mark(1) + mark(2) + mark(3) + mark(4) + mark(5) + mark(6) + mark(7) + mark(8) + mark(9) + mark(10) + mark(11), "3, 4, 5, 6, 7, 8, 9, 10, 11"},
		"a gap":            {mark(1) + mark(9000), "9000"},
		"not ours":         {"hello\n[1]\n{}\n", ""},
		"no more numbers":  {strings.Replace(mark(1), `"seq":1`, `"seq":18446744073709551615`, 1), ""},
		"a hostile text":   {strings.Replace(mark(1), `"text":"1"`, `"text":"a\u001b[2J\nb"`, 1), "a b"},
		"a torn rewriting": {mark(7)[3:] + mark(8), "8"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, fileName), []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
			r := New(dir, 10)
			if got := strings.TrimPrefix(strings.TrimSuffix(told(r.Query("", time.Time{}, 0)), "restarted"), ", "); strings.TrimSuffix(got, ", ") != test.want {
				t.Errorf("read %q, want %q", got, test.want)
			}
			// What comes next stands on a line of its own, and nothing that was read is lost.
			r.Mark("next", noon)
			if err := r.spill(true); err != nil {
				t.Fatal(err)
			}
			before := told(r.Query("", time.Time{}, 0))
			if now := told(New(dir, 11).Query("", time.Time{}, 0)); !strings.HasSuffix(now, before+", restarted") {
				t.Errorf("was %q, read back %q", before, now)
			}
		})
	}
}

func TestFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, fileName)); err != nil {
		t.Fatal(err)
	}
	r := New(dir, 10)
	r.Mark("x", noon)
	if err := r.spill(true); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != "x" {
		t.Errorf("a link was followed: %q, %v", data, err)
	}
	// Whoever empties the directory meanwhile loses nothing that is kept.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	r.Mark("y", noon)
	if err := r.spill(true); err != nil {
		t.Fatal(err)
	}
	if got := told(New(dir, 10).Query("", time.Time{}, 0)); got != "x, y, restarted" {
		t.Errorf("got %q", got)
	}
	fifo := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(fifo, fileName), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := New(fifo, 10).Last(); got != 0 { // and it does not hang
		t.Errorf("a fifo held %d events", got)
	}
}

// A disk that is full costs the file, not the memory; it is said once, and made good when there is room again.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 && os.Getenv("CI") != "true" {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r, log, stop := running(t, dir, 1000)
		r.Mark("first", noon)
		after(time.Minute)
		ballast := filepath.Join(dir, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 64<<10), 0o600); err == nil {
			t.Fatal("there is room left")
		}
		for range 20 { // pages in use take the first of them: only a part of this can be written
			r.Mark(strings.Repeat("x", maxText), noon)
		}
		after(10 * time.Minute)
		if n := strings.Count(log.String(), "in memory alone"); n != 1 {
			t.Errorf("said %d times: %s", n, log)
		}
		if got := content(t, dir); !strings.HasSuffix(got, "}\n") || strings.Count(got, "\n") != 1 {
			t.Errorf("the file holds a part: %.200q", got)
		}
		if n := len(r.Query("", time.Time{}, 0)); n != 21 {
			t.Errorf("%d events in memory", n)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		after(2 * time.Minute)
		if n := strings.Count(content(t, dir), "\n"); n != 21 || !strings.Contains(log.String(), "on the disk again") {
			t.Errorf("%d lines when there was room again; log: %s", n, log)
		}
		stop()
	})
}

func TestWithoutADirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, log, stop := running(t, "", 10)
		r.Mark("x", noon)
		after(time.Hour)
		stop()
		if log.Len() > 0 || r.Last() != 1 {
			t.Errorf("log %s, last %d", log, r.Last())
		}
	})
}
