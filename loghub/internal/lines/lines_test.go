// SPDX-License-Identifier: AGPL-3.0-or-later

package lines_test

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"cloud4.internal/hub/loghub/internal/lines"
)

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

func open(t *testing.T, path string) *lines.Reader {
	t.Helper()
	r, err := lines.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// all reads to the end for now.
func all(t *testing.T, r *lines.Reader) string {
	t.Helper()
	var out []string
	for {
		line, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, "|")
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(line))
	}
}

func TestOnce(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "\n": "", "a": "a", "a\nb": "a|b", "a\r\n\nb\n": "a||b", strings.Repeat("x", 600<<10) + "\ny": strings.Repeat("x", 600<<10) + "|y",
	} {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, text)
		if got := all(t, open(t, path)); got != want {
			t.Errorf("%.40q: %.40q", text, got)
		}
		if got := all(t, lines.Stream(iotest.OneByteReader(strings.NewReader(text[:min(len(text), 1000)])))); len(text) < 1000 && got != want {
			t.Errorf("byte by byte: %.40q: %.40q", text, got)
		}
	}
	r := lines.Stream(io.LimitReader(endless{}, 40<<20))
	for want := 40 << 20; want > 0; {
		line, err := r.Next()
		if err != nil || len(line) > 17<<20 {
			t.Fatalf("%d bytes, %v", len(line), err)
		}
		want -= len(line)
	}
}

// TestDirectory: who names a directory is told what to name instead.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	ask := func() string {
		_, err := lines.Open(dir)
		if err == nil {
			t.Fatal("a directory was opened")
		}
		return strings.ReplaceAll(err.Error(), dir, "DIR")
	}
	if got := ask(); got != "DIR is a directory, and holds no files" {
		t.Error(got)
	}
	for _, name := range []string{"a.jsonl", "a.jsonl.1", "b\x1b[2J.jsonl", "c", "d", "e", "f", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := `DIR is a directory: name files of it, or DIR/*.jsonl for all; it has a.jsonl, a.jsonl.1, b\x1b[2J.jsonl, c, d and 2 more`
	if got := ask(); got != want {
		t.Error(got)
	}
}

func TestPacked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.gz")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one\ntw", "o\nthree"} { // members may be joined (RFC 1952 §2.2)
		z := gzip.NewWriter(f)
		if _, err := z.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r := open(t, path)
	r.Follow()
	if err := r.Last(1); err != nil || r.Blocks() {
		t.Error(err)
	}
	if got := all(t, r); got != "one|two|three" {
		t.Errorf("%q", got)
	}
	if news, err := r.Again(); news != lines.Same || err != nil {
		t.Errorf("%q %v", news, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "one\ntw")
	r := open(t, path)
	r.Follow()
	expect := func(lines string, news lines.News) {
		t.Helper()
		if got := all(t, r); got != lines {
			t.Errorf("%q, want %q", got, lines)
		}
		if got, err := r.Again(); err != nil || got != news {
			t.Errorf("%q, %v, want %q", got, err, news)
		}
	}
	expect("one", lines.Same)
	write(t, path, "o\nthree\n")
	expect("two|three", lines.Same)
	// Renamed away, written further there, and another file comes.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path+".1", "four\nno end")
	expect("four", lines.Same)
	write(t, path, "five\n")
	expect("", lines.Replaced)
	expect("no end|five", lines.Same)
	// Emptied in place.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, path, "6\n")
	expect("", lines.Emptied)
	expect("6", lines.Same)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("", lines.Same)
}

func TestLast(t *testing.T) {
	var long strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&long, "line %d\n", i)
	}
	for _, test := range []struct {
		text string
		n    int
		want string
	}{
		{"", 3, ""}, {"a\n", 3, "a"}, {"a\nb\nc\n", 2, "b|c"}, {"a\nb\nc", 2, "b|c"}, {"a\nb\n\n", 2, "b|"}, {"a\nb\n", 2, "a|b"},
		{long.String(), 2, "line 19998|line 19999"}, {strings.Repeat("x", 100<<10) + "\n", 1, strings.Repeat("x", 100<<10)},
	} {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, test.text)
		r := open(t, path)
		if err := r.Last(test.n); err != nil || r.Blocks() {
			t.Fatal(err)
		}
		if got := all(t, r); got != test.want {
			t.Errorf("%.30q, the last %d: %.60q", test.text, test.n, got)
		}
	}
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, long.String())
	r := open(t, path)
	if err := r.Last(10000); err != nil {
		t.Fatal(err)
	}
	if got := all(t, r); strings.Count(got, "|") != 9999 || !strings.HasPrefix(got, "line 10000|") {
		t.Errorf("%d lines, %.20q", strings.Count(got, "|")+1, got)
	}
	stream := lines.Stream(strings.NewReader("a\nb"))
	if err := stream.Last(1); err != nil || !stream.Blocks() || all(t, stream) != "a|b" {
		t.Errorf("a stream: %v", err)
	}
}
