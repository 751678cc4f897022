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
	case <-time.After(3 * time.Second):
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
			if took > time.Second {
				t.Errorf("seen after %v", took)
			}
		})
	}

	t.Run("many writes are one change", func(t *testing.T) {
		var last time.Time
		for i := range 10 {
			put(t, root, file, string(rune('a'+i)))
			last = time.Now()
			<-time.After(tree.Quiet / 4) // the pace of a slow writer is what is tested
		}
		if at := call(t, calls, "after many writes"); at.Before(last) {
			t.Errorf("read %v before the last write", last.Sub(at))
		}
		select {
		case <-calls:
			t.Error("read twice")
		case <-time.After(3 * tree.Quiet):
		}
	})
}
