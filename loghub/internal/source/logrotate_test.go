// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// logrotate finds Debian's program.
func logrotate(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"logrotate", "/usr/sbin/logrotate"} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("logrotate is missing: .ci/needs installs it")
	}
	t.Skip("logrotate is missing")
	return ""
}

// TestLogrotate: a program writes numbered lines while logrotate turns its log over as people have it do.
func TestLogrotate(t *testing.T) {
	program := logrotate(t)
	tests := []struct {
		name, pattern, config string
		kept                  bool // the writer keeps its file: it is not told of the rotation
	}{
		{"create", "app.log", "create", false},
		{"create, the rotated match too", "app.log*", "create", false},
		{"compress", "app.log*", "create\ncompress", false},
		{"delaycompress", "app.log*", "create\ncompress\ndelaycompress", false},
		{"dated", "app*", "create\ndateext\ndateformat -%s", false},
		{"copytruncate", "app.log", "copytruncate", true},
		{"copytruncate, the copies match too", "app.log*", "copytruncate", true},
		{"copytruncate, compress", "app.log", "copytruncate\ncompress\ndelaycompress", true},
		{"copytruncate, compress at once", "app.log", "copytruncate\ncompress", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			dir := t.TempDir()
			do(t, os.Chmod(dir, 0o755))
			path := filepath.Join(dir, "app.log")
			config := filepath.Join(dir, "conf")
			write(t, config, fmt.Sprintf("%q {\nrotate 3\nsize 1\n%s\n}\n", path, tt.config))
			f := b.files(filepath.Join(dir, tt.pattern))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- f.Run(ctx) }()
			w := open(t, path)
			lines := 0
			for range 4 {
				for range 500 {
					lines++
					_, err := fmt.Fprintf(w, "line %d\n", lines)
					do(t, err)
				}
				eventually(t, "all lines before a rotation", func() bool { return b.sp.Stats().Backlog >= int64(lines) })
				for range 50 { // which nobody has seen when it begins
					lines++
					_, err := fmt.Fprintf(w, "line %d\n", lines)
					do(t, err)
				}
				if out, err := exec.Command(program, "--force", "--state", filepath.Join(dir, "state"), config).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if !tt.kept {
					lines++
					_, err := fmt.Fprintf(w, "line %d\n", lines) // before it is told
					do(t, err)
					do(t, w.Close())
					w = open(t, path)
				}
				eventually(t, "the lines around a rotation", func() bool { return b.sp.Stats().Backlog >= int64(lines) })
				if strings.Contains(tt.config, "dateext") { // names have seconds
					time.Sleep(1100 * time.Millisecond)
				}
			}
			do(t, w.Close())
			cancel()
			do(t, <-done)
			var got []int
			for _, r := range b.records() {
				got = append(got, number(r.Body))
			}
			slices.Sort(got)
			for i, n := range got {
				if n != i+1 {
					t.Fatalf("line %d stands where %d is to be; %d of %d lines\n%s", n, i+1, len(got), lines, b.said())
				}
			}
			if len(got) != lines {
				t.Errorf("%d of %d lines\n%s", len(got), lines, b.said())
			}
			b.uniqueUIDs()
		})
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	do(t, err)
	return f
}
