// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/google/go-cmp/cmp"
)

// lines are numbered lines of a file.
func lines(name string, from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintf(&b, "%s %d %s\n", name, i, strings.Repeat("x", i%50))
	}
	return b.String()
}

// conserved checks that every line of text arrived once, and under how many
// names of files.
func (b *bench) conserved(names int, text ...string) {
	b.t.Helper()
	want := strings.Split(strings.TrimSuffix(strings.Join(text, ""), "\n"), "\n")
	var got []string
	seen, files := map[string]bool{}, map[string]bool{}
	for _, r := range b.records() {
		got = append(got, r.Body)
		name, _, _ := strings.Cut(r.UID, "@")
		files[name] = true
		if seen[r.UID] {
			b.t.Errorf("uid %s stands twice", r.UID)
		}
		seen[r.UID] = true
	}
	slices.Sort(want)
	slices.Sort(got)
	for i := range want { // as a line ends, blanks are cut
		want[i] = strings.TrimRight(want[i], " ")
	}
	for i := range got {
		got[i] = strings.TrimRight(got[i], " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Error(diff)
	}
	if len(files) != names {
		b.t.Errorf("%d files in the uids, want %d: %v", len(files), names, files)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	do(t, err)
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	do(t, err)
	_, err = io.Copy(dst, src)
	do(t, err)
	do(t, dst.Close())
}

// TestFilesKnownAgain: what happens to a.log while nobody looks. Before, its
// lines 1 to 100 were read; at the end every line written must have arrived once.
func TestFilesKnownAgain(t *testing.T) {
	first := lines("a", 1, 100)
	tests := []struct {
		name    string
		pattern string
		change  func(t *testing.T, dir, path string) (written string)
		files   int    // different names in uids
		said    string // in the log
	}{
		{"another device and inode", "a.log", func(t *testing.T, dir, path string) string {
			moveAway(t, dir, "a.log")
			write(t, path, lines("a", 101, 200))
			return lines("a", 101, 200)
		}, 1, "known by its content"},
		{"another device and inode, nothing written", "a.log", func(t *testing.T, dir, _ string) string {
			moveAway(t, dir, "a.log")
			return ""
		}, 1, "known by its content"},
		{"copied over itself", "a.log", func(t *testing.T, dir, path string) string {
			copyFile(t, path, filepath.Join(dir, "tmp"))
			do(t, os.Rename(filepath.Join(dir, "tmp"), path))
			write(t, path, lines("a", 101, 200))
			return lines("a", 101, 200)
		}, 1, "known by its content"},
		{"renamed", "a.log", func(t *testing.T, _, path string) string {
			write(t, path, lines("a", 101, 150))
			do(t, os.Rename(path, path+".1"))
			write(t, path, lines("a", 151, 200))
			return lines("a", 101, 200)
		}, 2, ""},
		{"renamed twice", "a.log*", func(t *testing.T, _, path string) string {
			write(t, path, lines("a", 101, 150))
			do(t, os.Rename(path, path+".2"))
			write(t, path+".1", lines("a", 151, 170))
			write(t, path, lines("a", 171, 200))
			return lines("a", 101, 200)
		}, 3, ""},
		{"renamed and on another device", "a.log", func(t *testing.T, dir, path string) string {
			write(t, path, lines("a", 101, 150))
			do(t, os.Rename(path, path+".1"))
			write(t, path, lines("a", 151, 200))
			moveAway(t, dir, "a.log", "a.log.1")
			return lines("a", 101, 200)
		}, 2, "known by its content"},
		{"renamed twice and on another device", "a.log*", func(t *testing.T, dir, path string) string {
			write(t, path, lines("a", 101, 150))
			do(t, os.Rename(path, path+".2"))
			write(t, path+".1", lines("a", 151, 170))
			write(t, path, lines("a", 171, 200))
			moveAway(t, dir, "a.log", "a.log.1", "a.log.2")
			return lines("a", 101, 200)
		}, 3, "known by its content"},
		{"copytruncate", "a.log", func(t *testing.T, _, path string) string {
			write(t, path, lines("a", 101, 150))
			copyFile(t, path, path+".1")
			do(t, os.Truncate(path, 0))
			write(t, path, lines("a", 151, 160))
			return lines("a", 101, 160)
		}, 2, "known by its content"},
		{"copytruncate, the copy matches", "a.log*", func(t *testing.T, _, path string) string {
			write(t, path, lines("a", 101, 150))
			copyFile(t, path, path+".1")
			do(t, os.Truncate(path, 0))
			write(t, path, lines("a", 151, 400))
			return lines("a", 101, 400)
		}, 2, "known by its content"},
		{"truncated", "a.log", func(t *testing.T, _, path string) string {
			do(t, os.Truncate(path, 0))
			write(t, path, lines("a", 101, 110))
			return lines("a", 101, 110)
		}, 2, "was truncated while nobody looked"},
		{"another file in the inode", "a.log", func(t *testing.T, _, path string) string {
			do(t, os.Truncate(path, 0))
			write(t, path, lines("b", 1, 300))
			return lines("b", 1, 300)
		}, 2, "or replaced while nobody looked"},
		{"another file in the inode, the same end", "a.log", func(t *testing.T, _, path string) string {
			do(t, os.Truncate(path, 0))
			write(t, path, "A"+first[1:]+lines("a", 101, 110))
			return "A" + first[1:] + lines("a", 101, 110)
		}, 2, "or replaced while nobody looked"},
		{"another file in the inode, the same head", "a.log", func(t *testing.T, _, path string) string {
			do(t, os.Truncate(path, 0))
			head, rest, _ := strings.Cut(first, "a 60 ")
			if len(head) < headBytes {
				t.Fatal(len(head))
			}
			write(t, path, head+"A 60 y"+rest+lines("a", 101, 110))
			return head + "A 60 y" + rest + lines("a", 101, 110)
		}, 2, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			dir := t.TempDir()
			path := filepath.Join(dir, "a.log")
			write(t, path, first)
			b.files(filepath.Join(dir, tt.pattern)).lookNow(false)
			written := tt.change(t, dir, path)
			for range 3 { // and nothing comes again
				b.reopen()
				f := b.files(filepath.Join(dir, tt.pattern))
				f.lookNow(false)
				f.began = time.Now().Add(-awayWait)
				f.lookNow(false)
				b.conserved(tt.files, first, written)
				b.t = t
			}
			if said := b.said(); !strings.Contains(said, tt.said) || strings.Contains(said, "is gone") {
				t.Errorf("want %q in: %s", tt.said, said)
			}
		})
	}
}

// forgetProof makes the states what they were before there were proofs.
func (b *bench) forgetProof(f *Files) {
	b.t.Helper()
	for _, tl := range f.tails {
		head, err := os.ReadFile(tl.path)
		do(b.t, err)
		aux := fmt.Sprintf(`{"path":%q,"set":"app","gen":%q,"head":1024,"sum":%d}`, tl.path, tl.aux.Generation, crc32.Checksum(head[:1024], castagnoli))
		do(b.t, b.sp.Update(tl.src, spool.State{Aux: aux, Pos: uint64(tl.offset), Seq: tl.seq}))
	}
}

// TestFilesOldState: a state of an earlier version is taken by device and inode,
// and never by content.
func TestFilesOldState(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	write(t, path, lines("a", 1, 100))
	f := b.files(path)
	f.lookNow(false)
	b.forgetProof(f)
	write(t, path, lines("a", 101, 200))
	b.reopen()
	f = b.files(path)
	f.lookNow(false)
	b.conserved(1, lines("a", 1, 200))
	b.forgetProof(f)
	copyFile(t, path, filepath.Join(dir, "tmp"))
	do(t, os.Rename(filepath.Join(dir, "tmp"), path))
	b.reopen()
	b.files(path).lookNow(false)
	b.conserved(2, lines("a", 1, 200), lines("a", 1, 200))
}

// TestFilesEmptyIsNotCompared: of an empty file nothing is known.
func TestFilesEmptyIsNotCompared(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	write(t, path, "")
	b.files(path).lookNow(false)
	moveAway(t, dir, "a.log")
	write(t, path, lines("a", 1, 10))
	b.reopen()
	b.files(path).lookNow(false)
	b.conserved(1, lines("a", 1, 10))
	if said := b.said(); said != "" {
		t.Error(said)
	}
}

// TestFilesRenamedWhenEmpty: what was written to a file that was seen empty is
// found under its new name.
func TestFilesRenamedWhenEmpty(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	write(t, path, "")
	b.files(path).lookNow(false)
	write(t, path, lines("a", 1, 10))
	do(t, os.Rename(path, path+".1"))
	write(t, path, lines("a", 11, 20))
	b.reopen()
	b.files(path).lookNow(false)
	b.conserved(2, lines("a", 1, 20))
	for _, r := range b.records() {
		if r.Path != path {
			t.Errorf("%q came from %s", r.Body, r.Path)
		}
	}
}

// TestFilesGone: it is said when it is true, once, and not before the file had
// its time to come back.
func TestFilesGone(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path, kept := filepath.Join(dir, "a.log"), filepath.Join(dir, "kept") // which begins alike, and is shorter
	write(t, path, lines("a", 1, 10))
	b.files(path).lookNow(false)
	copyFile(t, path, kept)
	do(t, os.Remove(path))
	do(t, os.Truncate(kept, 5))
	b.reopen()
	b.files(path).lookNow(false)
	if said := b.said(); said != "" {
		t.Error(said)
	}
	b.reopen()
	f := b.files(path)
	f.lookNow(false)
	copied := lines("a", 1, 20)
	write(t, path, copied) // a late mount
	f.lookNow(false)
	b.conserved(1, copied)
	do(t, os.Remove(path))
	for range 2 { // the second time it is forgotten
		b.reopen()
		f = b.files(path)
		f.lookNow(false)
		f.began = time.Now().Add(-awayWait)
		f.lookNow(false)
	}
	if n := strings.Count(b.said(), "is gone"); n != 1 {
		t.Errorf("said %d times: %s", n, b.said())
	}
}

// TestFilesNotAskedForAnyMore: a file that the settings leave out is not gone,
// and not followed either.
func TestFilesNotAskedForAnyMore(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	write(t, path, lines("a", 1, 10))
	b.files(path).lookNow(false)
	write(t, path, lines("a", 11, 20))
	b.reopen()
	f := b.files(filepath.Join(dir, "b.log"))
	f.lookNow(false)
	f.began = time.Now().Add(-awayWait)
	f.lookNow(false)
	b.conserved(1, lines("a", 1, 10))
	if said := b.said(); said != "" || len(f.tails) > 0 {
		t.Error(len(f.tails), said)
	}
}

// TestImprint: however a file is read, its imprint is that of its bytes.
func TestImprint(t *testing.T) {
	text := lines("a", 1, 200)
	for _, step := range []int{1, 7, 63, 64, 65, 700, 1024, 3000} {
		var p imprint
		for at := 0; at < len(text); at += step {
			p.add([]byte(text[at:min(at+step, len(text))]))
			whole, err := readImprint(strings.NewReader(text), p.at)
			do(t, err)
			if p.proof() != whole.proof() {
				t.Fatalf("in steps of %d, at %d: %+v, want %+v", step, p.at, p.proof(), whole.proof())
			}
			parsed, ok := parseProof(p.proof().append(nil))
			if !ok || parsed != p.proof() {
				t.Fatalf("%+v became %+v", p.proof(), parsed)
			}
		}
	}
}
