// SPDX-License-Identifier: AGPL-3.0-or-later

package tree_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/tree"
)

// watching runs Watch until the test ends and returns its calls.
func watching(t *testing.T, root string) <-chan time.Time {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	calls, done := make(chan time.Time, 100), make(chan error, 1)
	go func() {
		done <- tree.Watch(ctx, root, zerolog.New(zerolog.NewTestWriter(t)), func() bool { calls <- time.Now(); return true })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	call(t, calls, "at the start")
	return calls
}

func call(t *testing.T, calls <-chan time.Time, what string) time.Time {
	t.Helper()
	select {
	case at := <-calls:
		return at
	case <-time.After(20 * time.Second):
		t.Fatalf("no call %s", what)
		return time.Time{}
	}
}

func TestWatchTriesAgain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	err := tree.Watch(ctx, t.TempDir(), zerolog.Nop(), func() bool {
		if calls++; calls == 3 {
			cancel()
		}
		return calls == 3
	})
	if err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestWatch(t *testing.T) {
	root := write(t, shop())
	calls := watching(t, root)
	file := "services/web/templates/nginx.conf"

	steps := []struct {
		name string
		do   func()
	}{
		{"a file in place", func() { put(t, root, file, "changed") }},
		{"a new directory with files", func() { put(t, root, "services/new/deep/er/x", "1") }},
		{"a file in the new directory", func() { put(t, root, "services/new/deep/er/x", "2") }},
		{"a rename over a file", func() {
			put(t, root, "services/web/.tmp", "renamed")
			if err := os.Rename(filepath.Join(root, "services/web/.tmp"), filepath.Join(root, file)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a removed directory", func() {
			if err := os.RemoveAll(filepath.Join(root, "services/new")); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			step.do()
			written := time.Now()
			took := call(t, calls, "after "+step.name).Sub(written)
			if took > 5*time.Second {
				t.Errorf("seen after %v", took)
			}
		})
	}

	t.Run("many writes are one change", func(t *testing.T) {
		// A machine that is busy elsewhere stretches the pauses beyond the quiet time, and then reading in between is right.
		for deadline := time.Now().Add(time.Minute); ; {
			longest, last := writeSlowly(t, root, file)
			at := call(t, calls, "after many writes")
			again := drain(calls)
			switch {
			case at.After(last) && again == 0:
				return
			case longest < tree.Quiet/2:
				t.Fatalf("read %v after the last write and %d times more, with pauses of at most %v", at.Sub(last), again, longest)
			case time.Now().After(deadline):
				t.Fatalf("this machine never wrote with pauses below %v", tree.Quiet/2)
			}
		}
	})
}

// writeSlowly writes a file ten times and returns the longest pause between two writes, and when the last one was.
func writeSlowly(t *testing.T, root, file string) (longest time.Duration, last time.Time) {
	t.Helper()
	last = time.Now()
	for i := range 10 {
		<-time.After(tree.Quiet / 4) // the pace of a slow writer is what is tested
		put(t, root, file, string(rune('a'+i)))
		longest, last = max(longest, time.Since(last)), time.Now()
	}
	return longest, last
}

// drain counts the calls until there was none for a while.
func drain(calls <-chan time.Time) (n int) {
	for {
		select {
		case <-calls:
			n++
		case <-time.After(3 * tree.Quiet):
			return n
		}
	}
}
