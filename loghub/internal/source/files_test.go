// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

func (b *bench) files(pattern string, exclude ...string) *Files {
	b.t.Helper()
	f, err := OpenFiles(b.sh, []FileSet{{Name: "app", Pattern: pattern, Exclude: exclude, Parse: parse.Options{Loc: time.UTC}}})
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

// look is one round in which everything is due.
func (f *Files) lookNow(last bool) {
	f.globbed = time.Time{}
	for f.round(context.Background(), last) {
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesRotation(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	f := b.files(path)
	f.lookNow(false) // nothing there yet
	write(t, path, "1\n2\n")
	f.lookNow(false)
	write(t, path, "3\n")
	do(t, os.Rename(path, path+".1"))
	write(t, path, "5\n")
	write(t, path+".1", "4\n")
	f.lookNow(false)
	write(t, path+".1", "6\n") // still written after the new one began
	f.lookNow(false)
	got := b.bodies()
	if len(got) != 6 {
		t.Errorf("got %q", got)
	}
	for _, r := range b.records() {
		if r.Path != path {
			t.Errorf("%q came from %s", r.Body, r.Path)
		}
	}
	b.uniqueUIDs()
}

// TestFilesRotationWhileAway: the rename happens while nobody looks.
func TestFilesRotationWhileAway(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	write(t, path, "1\n2\n")
	b.files(path).lookNow(false)
	write(t, path, "3\n")
	do(t, os.Rename(path, path+".1"))
	write(t, path, "4\n")
	b.reopen()
	f := b.files(path)
	f.lookNow(false)
	got := strings.Join(b.bodies(), " ")
	if got != "1 2 3 4" && got != "1 2 4 3" {
		t.Errorf("got %s", got)
	}
	b.uniqueUIDs()
	b.reopen() // and nothing comes twice
	b.files(path).lookNow(false)
	if n := len(b.bodies()); n != 4 {
		t.Errorf("%d records after another start", n)
	}
}

// TestFilesRotationSeenHalfway: between a rename and the next file nothing stands at the path. The next file is found
// at the next look all the same, not only when globs are expanded again: it may have been renamed by then.
func TestFilesRotationSeenHalfway(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	f := b.files(path)
	write(t, path, "1\n")
	f.lookNow(false)
	look := func() {
		f.globbed = time.Now()
		f.round(context.Background(), false)
	}
	for n := 2; n <= 3; n++ {
		do(t, os.Rename(path, fmt.Sprintf("%s.%d", path, n)))
		look()
		look()
		write(t, path, fmt.Sprintln(n))
		look()
	}
	if got := b.bodies(); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("got %q", got)
	}
	if len(f.vacant) != 0 {
		t.Errorf("still waits for %v", f.vacant)
	}
}

func TestFilesRotatedNameMatchesToo(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	f := b.files(filepath.Join(dir, "a.log*"))
	write(t, path, "1\n")
	f.lookNow(false)
	do(t, os.Rename(path, path+".1"))
	write(t, path, "2\n")
	f.lookNow(false)
	for _, tl := range f.tails { // long after
		tl.grown = time.Now().Add(-time.Hour)
	}
	f.lookNow(false)
	f.lookNow(false)
	b.want("1", "2")
}

func TestFilesTruncation(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	f := b.files(path)
	write(t, path, "first one\nsecond\n")
	f.lookNow(false)
	do(t, os.Truncate(path, 0))
	write(t, path, "third\n")
	f.lookNow(false)
	do(t, os.Truncate(path, 0)) // and grows beyond the old end before anybody looks
	write(t, path, "fourth, which is longer\n")
	f.lookNow(false)
	b.want("first one", "second", "third", "fourth, which is longer")
	b.uniqueUIDs()
	if !strings.Contains(b.said(), "truncated") {
		t.Error("not said")
	}
}

// TestFilesReusedInode: a file of the same inode is another one if it begins
// differently. Renaming over it is the nearest one can force.
func TestFilesReusedInode(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, "old 1\nold 2\n")
	b.files(path).lookNow(false)
	do(t, os.Truncate(path, 0))
	write(t, path, "new 1\nnew 2\nnew 3\n")
	b.reopen()
	b.files(path).lookNow(false)
	b.want("old 1", "old 2", "new 1", "new 2", "new 3")
	b.uniqueUIDs()
}

func TestFilesLines(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	long := strings.Repeat("abcdefgh", frame.MaxLine/8)
	write(t, path, "a\r\n\n"+strings.Repeat("m", 300<<10)+"\n"+long+"more\nno end")
	f := b.files(path)
	f.lookNow(false)
	b.want("a", strings.Repeat("m", 300<<10), long, "more")
	write(t, path, " yet\n")
	f.lookNow(false)
	write(t, path, "nor here")
	f.lookNow(false)
	for _, tl := range f.tails {
		tl.grown = time.Now().Add(-2 * fileQuiet)
	}
	f.lookNow(false)
	b.want("a", strings.Repeat("m", 300<<10), long, "more", "no end yet", "nor here")
}

func TestFilesWhatIsNotRead(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	do(t, os.MkdirAll(filepath.Join(dir, "x/y"), 0o700))
	write(t, filepath.Join(dir, "x/y/in.log"), "in\n")
	write(t, filepath.Join(dir, "x/out.log"), "out\n")
	write(t, filepath.Join(dir, "secret"), "no\n")
	do(t, os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "link.log")))
	foreign(t, filepath.Join(dir, "link.log"))
	do(t, unix.Mkfifo(filepath.Join(dir, "fifo.log"), 0o600))
	do(t, os.Mkdir(filepath.Join(dir, "dir.log"), 0o700))
	f := b.files(filepath.Join(dir, "**/*.log"), filepath.Join(dir, "**/out.log"))
	f.lookNow(false)
	f.lookNow(false)
	b.want("in")
	if n := strings.Count(b.said(), "is a link, and root"); n != 1 {
		t.Errorf("the link was said %d times: %s", n, b.said())
	}
	for _, path := range []string{"/proc/1/environ", "/run/secrets/x", "/var/lib/hub/0/identity/id.pem", "/dev/null"} {
		if forbidden(path) == "" {
			t.Errorf("%s may be read", path)
		}
	}
}

// foreign makes a file that of another user than root.
func foreign(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() == 0 {
		do(t, os.Lchown(path, 65534, 65534))
	}
}

// TestFilesSeverities: what a file held before anybody followed it is an event, but no news.
func TestFilesSeverities(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	line := "2026-11-21 08:00:01 ERROR it broke\n"
	write(t, filepath.Join(dir, "a.log"), strings.Repeat(line, 5))
	f := b.files(filepath.Join(dir, "*.log"))
	f.lookNow(false)
	if n := b.sh.Counts.Severities(); n != (Severities{}) {
		t.Errorf("counted %+v", n)
	}
	write(t, filepath.Join(dir, "a.log"), line+"2026-11-21 08:00:01 WARN x\n2026-11-21 08:00:01 INFO x\n")
	write(t, filepath.Join(dir, "b.log"), line+line)
	f.lookNow(true)
	if n := b.sh.Counts.Severities(); n != (Severities{Warn: 1, Error: 3}) {
		t.Errorf("counted %+v", n)
	}
	if n := b.sp.Stats().Backlog; n != 10 {
		t.Errorf("%d events, want all 10", n)
	}
}

// TestFilesFiguresOfARotatedFile: a path has one line of figures, however many files had it, and what is counted of it only grows.
func TestFilesFiguresOfARotatedFile(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "app.log")
	f := b.files(path)
	records := int64(0)
	for i, turn := range []string{"", ".1", ".2"} {
		if turn != "" {
			do(t, os.Rename(path, path+turn))
		}
		text := strings.Repeat("a line\n", 3-i)
		write(t, path, text)
		f.lookNow(false)
		records += int64(3 - i)
		if st := f.Stats(); len(st) != 1 || st[0].Name != path || st[0].Records != records || st[0].Position != int64(len(text)) {
			t.Errorf("after %q: %+v, want %d records", turn, st, records)
		}
	}
	for _, tl := range f.tails {
		tl.left = tl.left.Add(-2 * renamedQuiet)
		tl.grown = tl.grown.Add(-2 * renamedQuiet)
	}
	f.lookNow(false)
	if st := f.Stats(); len(f.tails) != 1 || len(st) != 1 || st[0].Records != records {
		t.Errorf("when the renamed ones were let go: %d files, %+v, want %d records", len(f.tails), st, records)
	}
	f.close()
}

// TestFilesWaitWhenTheSpoolIsFull: no line is skipped, it stays in its file.
func TestFilesWaitWhenTheSpoolIsFull(t *testing.T) {
	for _, quota := range []int64{4 << 20, 2 << 20} { // a round of reading has room, and has none
		t.Run(fmt.Sprint(quota), func(t *testing.T) { filesWait(t, quota) })
	}
}

func filesWait(t *testing.T, quota int64) {
	b := newBench(t)
	sp, err := spool.Open(spool.Options{Quota: quota})
	do(t, err)
	b.sp, b.sh.Spool = sp, sp
	copied := 0
	b.sh.Emit = func(string, *otlp.Record) { copied++ }
	path := filepath.Join(t.TempDir(), "a.log")
	var text strings.Builder
	for i := range 8000 {
		fmt.Fprintf(&text, "2026-11-21 08:00:01 ERROR %d %s\n", i, strings.Repeat("x", 1000))
	}
	f := b.files(path)
	f.lookNow(false)
	write(t, path, text.String())
	var got []string
	for range 100 {
		f.lookNow(true)
		if fill := sp.Fill(); fill > 1 {
			t.Fatalf("the spool is filled to %.2f", fill)
		}
		d, err := sp.Peek(512, 1<<20)
		do(t, err)
		if d.Len() == 0 {
			break
		}
		for i := range d.Len() {
			var r otlp.Record
			do(t, otlp.DecodeRecord(d.Record(i), &r))
			got = append(got, strings.Fields(string(r.Body.Bytes))[0])
		}
		_, err = sp.Ack(d, 0, d.Len())
		do(t, err)
	}
	if len(got) != 8000 || got[7999] != "7999" {
		t.Errorf("%d of 8000 lines", len(got))
	}
	if copied != 8000 {
		t.Errorf("%d lines in the copy", copied)
	}
	if n := b.sh.Counts.Severities(); n != (Severities{Error: 8000}) { // what had to wait is counted once
		t.Errorf("counted %+v", n)
	}
	if !strings.Contains(b.said(), "not read further") {
		t.Error("not said")
	}
}

// BenchmarkFile is the way of a line from file to spool: read, masked by nothing,
// parsed, encoded, checksummed, written.
func BenchmarkFile(b *testing.B) {
	line := `203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /index.html?a=1 HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"` + "\n"
	const lines = 100000
	path := filepath.Join(b.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte(strings.Repeat(line, lines)), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(lines * len(line)))
	for b.Loop() {
		sp, err := spool.Open(spool.Options{Quota: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		f, err := OpenFiles(&Shared{Spool: sp, Log: zerolog.Nop()}, []FileSet{{Name: "a", Pattern: path}})
		if err != nil {
			b.Fatal(err)
		}
		f.lookNow(false)
		if n := sp.Stats().Backlog; n != lines {
			b.Fatalf("%d records", n)
		}
		for _, t := range f.tails {
			t.close()
		}
		if err := sp.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
