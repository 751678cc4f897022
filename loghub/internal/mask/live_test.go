// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// handed is a file as hubinit makes it, as confighub's and loghub's end.
func handed(t testing.TB) (w, r *initctl.Secrets) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(flag int) *initctl.Secrets {
		f, err := os.OpenFile(path, flag, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return initctl.NewSecrets(f)
	}
	return open(os.O_RDWR), open(os.O_RDONLY)
}

func handOver(t testing.TB, s *initctl.Secrets, name, value string) {
	t.Helper()
	if left, err := s.Add([]initctl.Secret{{Name: name, Value: value}}); err != nil || left != nil {
		t.Fatal(left, err)
	}
}

func wantLine(t *testing.T, l *Live, line, want string) {
	t.Helper()
	if got := string(l.Mask([]byte(line), new(Scratch))); got != want {
		t.Errorf("%q became %q, want %q", line, got, want)
	}
}

// TestHandedOver: what confighub hands over is hidden from the next Refresh on, and stays so.
func TestHandedOver(t *testing.T) {
	w, r := handed(t)
	var told []Left
	l := Open(Sources{Environ: []string{"A_TOKEN=own-token-1", "B_TOKEN=short"}, Handed: r, Tell: func(left []Left) { told = append(told, left...) }})
	l.Refresh()
	wantLine(t, l, "own-token-1 opened-value-1", "***A_TOKEN*** opened-value-1")
	handOver(t, w, "db.password", "opened-value-1")
	l.Refresh()
	wantLine(t, l, "own-token-1 opened-value-1", "***A_TOKEN*** ***db.password***")
	handOver(t, w, "db.password", "opened-value-2")
	handOver(t, w, "pin", "1234")
	l.Refresh()
	wantLine(t, l, "opened-value-1 opened-value-2 1234", "***db.password*** ***db.password*** 1234")
	if want := []Left{{"B_TOKEN", whyShort}, {"pin", whyShort}}; !slices.Equal(told, want) {
		t.Errorf("told: %v", told)
	}
	again := Open(Sources{Handed: r}) // as after a restart
	wantLine(t, again, "opened-value-1", "***db.password***")
}

// TestFilesChange: a file that is written anew is noticed, within a second, and what it held stays hidden.
func TestFilesChange(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"db": "first-value"})
	l := Open(Sources{Dir: dir})
	hidden := func(value string) bool {
		l.Refresh()
		return string(l.Mask([]byte(value), new(Scratch))) != value
	}
	if !hidden("first-value") || hidden("second-value") {
		t.Fatal("at the start")
	}
	writeFiles(t, dir, map[string]string{"db": "second-value", "more": "third-value"})
	for end := time.Now().Add(60 * time.Second); !hidden("second-value"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the change is not seen")
		}
	}
	if !hidden("third-value") || !hidden("first-value") {
		t.Error("what came beside it, or what it held, is shown")
	}
}

// TestPastIsBounded: the oldest of what left is shown again at some time.
func TestPastIsBounded(t *testing.T) {
	l := Open(Sources{})
	for i := range maxPast + 10 {
		l.forget(&collection{values: []Value{{"a", fmt.Sprintf("value-number-%d", i)}}})
		l.had = []Value{{"a", fmt.Sprintf("value-number-%d", i)}}
	}
	if len(l.past) != maxPast || l.past[maxPast-1].Text != fmt.Sprintf("value-number-%d", maxPast+8) {
		t.Errorf("%d, last %v", len(l.past), l.past[len(l.past)-1])
	}
}

// TestRefreshRace: sources refresh and mask while values come; whoever refreshed after a value came hides it.
func TestRefreshRace(t *testing.T) {
	w, r := handed(t)
	dir := t.TempDir()
	l := Open(Sources{Handed: r, Dir: dir})
	var all sync.WaitGroup
	var mu sync.Mutex
	var known []string
	done := make(chan struct{})
	all.Go(func() {
		defer close(done)
		for i := range 50 {
			value := fmt.Sprintf("handed-over-%d", i)
			handOver(t, w, "v", value)
			mu.Lock()
			known = append(known, value)
			mu.Unlock()
		}
	})
	for range 3 {
		all.Go(func() {
			var s Scratch
			for {
				mu.Lock()
				values := slices.Clone(known)
				mu.Unlock()
				l.Refresh()
				for _, v := range values {
					if got := string(l.Mask([]byte(v), &s)); got != "***v***" {
						t.Errorf("%q is shown as %q", v, got)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkRefresh(b *testing.B) {
	w, r := handed(b)
	handOver(b, w, "v", "handed-over")
	l := Open(Sources{Handed: r})
	cpu(b, l.Refresh)
}
