// SPDX-License-Identifier: AGPL-3.0-or-later

package repository

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// Where the kernel tells of nothing, the ref's file is looked at.
func TestWatchByPolling(t *testing.T) {
	dir := t.TempDir()
	ref := filepath.Join(dir, "refs/heads/main")
	if err := os.MkdirAll(filepath.Dir(ref), 0o755); err != nil {
		t.Fatal(err)
	}
	calls := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	w := &watch{repo: &Repository{dir: dir, names: []string{"refs/heads/main"}}, log: zerolog.Nop(), interval: 10 * time.Millisecond}
	go func() {
		done <- w.run(ctx, func() bool {
			select {
			case calls <- struct{}{}:
			case <-ctx.Done():
			}
			return true
		})
	}()
	// put changes a file at once, so that a step is one change.
	put := func(file, text string) func() error {
		return func() error {
			if err := os.WriteFile(filepath.Join(dir, "new"), []byte(text), 0o644); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "new"), file)
		}
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"at the start", func() error { return nil }},
		{"a ref that is made", put(ref, "1")},
		{"another content of another size", put(ref, "12")},
		{"another content of the same size", put(ref, "34")},
		{"packed refs", put(filepath.Join(dir, "packed-refs"), "")},
		{"a removed ref", func() error { return os.Remove(ref) }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-calls:
		case <-time.After(10 * time.Second):
			t.Fatalf("no call: %s", step.name)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
