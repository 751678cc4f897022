// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/event"
)

func writeAt(t *testing.T, path, text string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	do(t, err)
	_, err = f.WriteAt([]byte(text), at)
	do(t, err)
	do(t, f.Close())
}

// TestFilesHoles: a writer without O_APPEND goes on where it was after its file was truncated.
func TestFilesHoles(t *testing.T) {
	tests := []struct {
		name  string
		zeros int64
		write func(t *testing.T, path string, zeros int64)
	}{
		{"small", 40, nil},
		{"in one block with the text", 5000, nil},
		{"large", 3 << 30, nil},
		{"no hole", 3 << 20, func(t *testing.T, path string, zeros int64) {
			do(t, os.WriteFile(path, make([]byte, zeros), 0o600))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			path := filepath.Join(t.TempDir(), "a.log")
			f := b.files(path)
			write(t, path, "first\n")
			f.lookNow(false)
			do(t, os.Truncate(path, 0))
			if tt.write != nil {
				tt.write(t, path, tt.zeros)
			}
			writeAt(t, path, "second\nthird\n", tt.zeros)
			f.lookNow(false)
			write(t, path, "fourth\n")
			f.lookNow(false)
			b.want("first", "second", "third", "fourth")
			if st := f.Stats(); st[0].Zeros != tt.zeros || st[0].Lag != 0 {
				t.Errorf("%+v, want %d zeros", st, tt.zeros)
			}
			write(t, path, "fifth\n")
			f.close()
			b.reopen() // the proof of a place behind a hole holds
			f = b.files(path)
			f.lookNow(false)
			b.want("first", "second", "third", "fourth", "fifth")
			b.uniqueUIDs()
			f.close()
		})
	}
}

// TestFilesInFullSize: a file that is made before it is written is no loss of what is written to it later.
func TestFilesInFullSize(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	do(t, os.WriteFile(path, make([]byte, 4<<20), 0o600))
	f := b.files(path)
	at, want := int64(0), []string(nil)
	for i := range 5 {
		f.lookNow(false)
		f.lookNow(false)
		text := fmt.Sprintf("line %d\n", i)
		writeAt(t, path, text, at)
		stamp := time.Now().Add(time.Duration(i) * time.Second) // as a coarse clock would have it
		do(t, os.Chtimes(path, stamp, stamp))
		at += int64(len(text))
		want = append(want, strings.TrimSpace(text))
		f.lookNow(false)
		b.want(want...)
	}
	if !f.hot[0].held {
		t.Error("it is read again and again")
	}
	write(t, path, "behind\n") // what stands behind the zeros is read, so those were not meant to be written
	f.lookNow(false)
	b.want(append(want, "behind")...)
	f.close()
}

// TestFilesZerosInLines: zeros within a line are text, those in front of one are not.
func TestFilesZerosInLines(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, "a\x00b\n\x00\x00c\nd\n\x00\n\x00")
	f := b.files(path)
	f.lookNow(false)
	b.want("a\x00b", "c", "d")
	write(t, path, "e\n")
	f.lookNow(false)
	b.want("a\x00b", "c", "d", "e")
	f.close()
}

// TestFilesLossIsCounted: what was seen of a file and not read when it was truncated is an event, in its place.
func TestFilesLossIsCounted(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	f := b.files(path)
	write(t, path, "read\n")
	f.lookNow(false)
	write(t, path, "not read\n")
	for _, tl := range f.tails { // as when the spool is full
		do(t, tl.look(time.Now()))
	}
	do(t, os.Truncate(path, 0))
	write(t, path, "anew\n")
	f.lookNow(false)
	got := b.all()
	if len(got) != 3 || got[1]["hub.loss.reason"] != event.ReasonUnread || got[1]["hub.loss.bytes"] != int64(len("not read\n")) {
		t.Errorf("%v", got)
	}
	b.uniqueUIDs()
	if st := f.Stats(); st[0].LostBytes != int64(len("not read\n")) {
		t.Errorf("%+v", st)
	}
	f.close()
}

// TestFilesOddNames: whatever a name holds, the records are valid and the file is known again.
func TestFilesOddNames(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	names := []string{"new\nline.log", "bad\xff\xfe.log", "quote\".log", "[x].log", "-rf.log", " .log", "\\.log", "ünï.log"}
	for _, n := range names {
		write(t, filepath.Join(dir, n), "1 of "+n+"\n")
	}
	f := b.files(filepath.Join(dir, "*.log"))
	f.lookNow(false)
	f.close()
	for _, n := range names { // on another device, as it were
		copyFile(t, filepath.Join(dir, n), filepath.Join(dir, "tmp"))
		do(t, os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, n)))
		write(t, filepath.Join(dir, n), "2 of "+n+"\n")
	}
	b.reopen()
	f = b.files(filepath.Join(dir, "*.log"))
	f.lookNow(false)
	if got := len(b.bodies()); got != 2*(len(names)+1) { // the newline is one in the text too
		t.Errorf("%d records: %q", got, b.bodies())
	}
	b.uniqueUIDs()
	f.close()
}

// TestFilesFewDescriptors: more files than may be open are followed all the same, through a rotation too.
func TestFilesFewDescriptors(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	const files, limit = 60, 16
	path := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%02d.log", i)) }
	for i := range files {
		write(t, path(i), fmt.Sprintf("%d first\n", i))
	}
	f := b.files(filepath.Join(dir, "*.log"))
	f.limit = limit
	settle := func(want int) {
		t.Helper()
		for range 2 * files {
			f.lookNow(false)
			if f.open > limit {
				t.Fatalf("%d files are open", f.open)
			}
		}
		if got := len(b.bodies()); got != want {
			t.Fatalf("%d records, want %d", got, want)
		}
	}
	settle(files)
	if len(f.tails) != files {
		t.Fatalf("%d files are followed", len(f.tails))
	}
	for i := range files {
		write(t, path(i), fmt.Sprintf("%d second\n", i))
		if i%10 == 0 {
			do(t, os.Rename(path(i), path(i)+".1"))
			write(t, path(i), fmt.Sprintf("%d third\n", i))
		}
	}
	settle(2*files + files/10)
	b.uniqueUIDs()
	f.close()
	if f.open != 0 {
		t.Errorf("%d files are open at the end", f.open)
	}
}

// TestFilesCold: among many quiet files, one that is written to is found by what the kernel says, and without that in turn.
func TestFilesCold(t *testing.T) {
	for _, kernel := range []bool{true, false} {
		t.Run(fmt.Sprint("inotify ", kernel), func(t *testing.T) {
			b := newBench(t)
			dir := t.TempDir()
			const files = fewCold + 100
			path := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%03d.log", i)) }
			for i := range files {
				write(t, path(i), "x\n")
			}
			f := b.files(filepath.Join(dir, "*.log"))
			if !kernel {
				f.watch = &watch{fd: -1}
			}
			f.lookNow(false)
			for _, tl := range f.tails {
				tl.grown = time.Now().Add(-2 * coldAfter)
			}
			f.lookNow(false)
			if len(f.hot) != 0 || len(f.cold) != files {
				t.Fatalf("%d are hot, %d cold", len(f.hot), len(f.cold))
			}
			for i := range 3 {
				write(t, path(files-1), "y\n")
				do(t, os.Rename(path(files-2), path(files-2)+fmt.Sprint(i)))
				write(t, path(files-2), fmt.Sprintf("z %d\n", i))
				rounds := 0
				for ; len(b.bodies()) < files+2*(i+1) && rounds < 100; rounds++ {
					f.globbed = time.Now()
					f.round(t.Context(), false)
				}
				if kernel && rounds > 2 || rounds > coldTurns+2 {
					t.Errorf("found after %d rounds", rounds)
				}
				for _, tl := range f.tails {
					tl.grown = time.Now().Add(-2 * coldAfter)
				}
				f.lookNow(false)
			}
			f.close()
		})
	}
}
