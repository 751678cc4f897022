// SPDX-License-Identifier: AGPL-3.0-or-later

package atomicfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/atomicfile"
)

// writers are both ways to write; what holds for one holds for the other.
var writers = map[string]func(string, []byte, fs.FileMode) error{
	"Write":         atomicfile.Write,
	"WriteVolatile": atomicfile.WriteVolatile,
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, entry := range entries {
		out = append(out, entry.Name())
	}
	return out
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReplace(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "state.json")
			for _, step := range []struct {
				data string
				mode fs.FileMode
			}{{"new", 0o600}, {"shorter mode", 0o644}, {"", 0o666}, {"narrow again", 0o400}} {
				if err := write(path, []byte(step.data), step.mode); err != nil {
					t.Fatal(err)
				}
				if got := content(t, path); got != step.data {
					t.Errorf("content %q, want %q", got, step.data)
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode() != step.mode { // 0666 stands only if the umask plays no part
					t.Errorf("mode %v, want %v", info.Mode(), step.mode)
				}
			}
			if diff := cmp.Diff([]string{"state.json"}, names(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRelative writes into the working directory, not into that of temporary files.
func TestRelative(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := atomicfile.Write("plain", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"plain"}, names(t, dir)); diff != "" {
		t.Error(diff)
	}
}

// TestLink replaces a link and leaves its target alone.
func TestLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	if err := atomicfile.Write(link, []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := content(t, target) + " " + content(t, link); got != "untouched new" {
		t.Errorf("target and link hold %q", got)
	}
}

// TestErrors leaves the old content and nothing else behind.
func TestErrors(t *testing.T) {
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := write(filepath.Join(dir, "missing", "x"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("into a directory that is not there: %v", err)
			}
			// A directory that is not empty cannot be renamed over: the last step fails.
			taken := filepath.Join(dir, "taken")
			if err := os.MkdirAll(filepath.Join(taken, "x"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := write(taken, []byte("x"), 0o644); err == nil {
				t.Error("a directory was replaced")
			}
			if diff := cmp.Diff([]string{"taken"}, names(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestFullDisk fills a file system of 64 KiB.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
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
	path := filepath.Join(dir, "state")
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			if err := write(path, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := write(path, make([]byte, 1<<20), 0o644); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("want ENOSPC, got %v", err)
			}
			if got := content(t, path); got != "old" {
				t.Errorf("content %q, want the old one", got)
			}
			if diff := cmp.Diff([]string{"state"}, names(t, dir)); diff != "" {
				t.Error(diff)
			}
			// The room is free again.
			if err := write(path, make([]byte, 16<<10), 0o644); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNeverPartial reads while several write: every read sees one whole content.
func TestNeverPartial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	contents := [][]byte{bytes.Repeat([]byte("a"), 100_000), bytes.Repeat([]byte("b"), 10), bytes.Repeat([]byte("c"), 4096)}
	if err := atomicfile.WriteVolatile(path, contents[0], 0o644); err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	for _, data := range contents {
		writing.Go(func() {
			for range 200 {
				if err := atomicfile.WriteVolatile(path, data, 0o644); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	for reads := 0; ; reads++ {
		got := content(t, path)
		if got != string(contents[0]) && got != string(contents[1]) && got != string(contents[2]) {
			t.Fatalf("read %d saw %d bytes that nobody wrote", reads, len(got))
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// Who says an error once has to find it the same the next time: the temporary file has another name then.
func TestErrorsStayTheSame(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.Mkdir(taken, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{taken, filepath.Join(dir, "none", "file")} {
		first, second := atomicfile.Write(path, []byte("x"), 0o644), atomicfile.Write(path, []byte("x"), 0o644)
		if first == nil || second == nil || first.Error() != second.Error() || strings.Contains(first.Error(), ".tmp") {
			t.Errorf("%v, then %v", first, second)
		}
	}
	if err := atomicfile.Write(filepath.Join(dir, "none", "file"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}
