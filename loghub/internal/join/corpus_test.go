// SPDX-License-Identifier: AGPL-3.0-or-later

package join_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/loghub/internal/join"
	"github.com/google/go-cmp/cmp"
)

// corpus reads the files of testdata. In them a line of "=== type: message" stands before each group: what it says of the
// exception is what Describe finds. Most traces are the output of the language's own programs.
func corpus(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	all := map[string]string{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(path), ".txt")] = string(text)
	}
	return all
}

func marker(line string) bool { return strings.HasPrefix(line, "=== ") || line == "===\n" }

// lines is a corpus file as a program would write it.
func lines(golden string) []byte {
	var text strings.Builder
	for line := range strings.Lines(golden) {
		if !marker(line) {
			text.WriteString(line)
		}
	}
	return []byte(text.String())
}

// show writes a group as it stands in the corpus.
func show(w *strings.Builder, g *join.Group, raw []byte) {
	if len(bytes.TrimSpace(g.Text)) > 0 {
		name, said := g.Trace.Describe(g.Text)
		w.WriteString(strings.TrimRight(fmt.Sprintf("=== %s: %s", name, said), ": ") + "\n")
	}
	w.Write(raw[:g.Bytes])
}

func TestCorpus(t *testing.T) {
	for name, golden := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			var j join.Joiner
			for data := lines(golden); j.Take(data, join.Over); data = data[j.Group.Bytes:] {
				show(&got, &j.Group, data)
			}
			if diff := cmp.Diff(golden, got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// stream feeds a Joiner as a source does.
type stream struct {
	t    testing.TB
	j    join.Joiner
	held []byte
	got  strings.Builder
	all  []byte
}

func (s *stream) add(chunk []byte, end join.End) {
	s.held = append(s.held, chunk...)
	for s.j.Take(s.held, end) {
		g := &s.j.Group
		if g.Bytes < 1 || g.Bytes > len(s.held) || g.Lines > join.MaxLines || len(g.Text) > g.Bytes {
			s.t.Fatalf("a group of %d bytes, %d lines of %d bytes", g.Bytes, g.Lines, len(s.held))
		}
		show(&s.got, g, s.held)
		s.all = append(s.all, s.held[:g.Bytes]...)
		s.held = bytes.Clone(s.held[g.Bytes:]) // elsewhere, as buffers are
	}
}

// TestChunks: it makes no difference in which pieces the bytes come.
func TestChunks(t *testing.T) {
	for name, golden := range corpus(t) {
		text := lines(golden)
		for _, size := range []int{1, 2, 3, 7, 64, 1000, 4096} {
			s := stream{t: t}
			for rest := text; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				s.add(rest[:min(size, len(rest))], join.More)
			}
			s.add(nil, join.Over)
			if diff := cmp.Diff(golden, s.got.String()); diff != "" {
				t.Errorf("%s in pieces of %d: %s", name, size, diff)
			}
		}
	}
}

// TestCutAnywhere does it for two pieces, whatever byte begins the second: of three groups at once, since where a group
// begins nothing is remembered.
func TestCutAnywhere(t *testing.T) {
	for name, golden := range corpus(t) {
		var groups []string
		for line := range strings.Lines(golden) {
			if marker(line) || len(groups) == 0 {
				groups = append(groups, "")
			}
			groups[len(groups)-1] += line
		}
		for i := range groups {
			want := strings.Join(groups[i:min(i+3, len(groups))], "")
			text := lines(want)
			for cut := range len(text) {
				s := stream{t: t}
				s.add(text[:cut], join.More)
				s.add(text[cut:], join.Over)
				if s.got.String() != want {
					t.Fatalf("%s, cut at %d of %q: %s", name, cut, text, cmp.Diff(want, s.got.String()))
				}
			}
		}
	}
}

// TestRewind: what is read again from the place of a mark, as files are, makes the same groups.
func TestRewind(t *testing.T) {
	for name, golden := range corpus(t) {
		text := lines(golden)
		for _, window := range []int{200, 1000, 5000} {
			var got strings.Builder
			var j join.Joiner
			at, size := 0, window
			for at < len(text) {
				j.Rewind(j.Mark())
				to, end := min(at+size, len(text)), join.More
				if to == len(text) {
					end = join.Over
				}
				start := at
				for j.Take(text[at:to], end) {
					show(&got, &j.Group, text[at:to])
					at += j.Group.Bytes
				}
				if size = window; at == start {
					size = 2 * (to - at)
				}
			}
			if diff := cmp.Diff(golden, got.String()); diff != "" {
				t.Errorf("%s, read %d at once: %s", name, window, diff)
			}
		}
	}
}

// TestStreamsApart: each stream has its own Joiner, and lines of others between its own change nothing.
func TestStreamsApart(t *testing.T) {
	all := corpus(t)
	a, b := stream{t: t}, stream{t: t}
	next := bytes.SplitAfter(lines(all["java"]), []byte("\n"))
	for _, line := range bytes.SplitAfter(lines(all["python"]), []byte("\n")) {
		a.add(line, join.More)
		if len(next) > 0 {
			b.add(next[0], join.More)
			next = next[1:]
		}
	}
	for _, line := range next {
		b.add(line, join.More)
	}
	a.add(nil, join.Over)
	b.add(nil, join.Over)
	if diff := cmp.Diff(all["python"]+all["java"], a.got.String()+b.got.String()); diff != "" {
		t.Error(diff)
	}
}

func FuzzJoin(f *testing.F) {
	for _, golden := range corpus(f) { // in small pieces, which are sooner made smaller still
		all := bytes.SplitAfter(lines(golden), []byte("\n"))
		for len(all) > 0 {
			n := min(8, len(all))
			f.Add(bytes.Join(all[:n], nil), uint16(37))
			all = all[n:]
		}
	}
	f.Add([]byte("ERROR x\n\n\x00\r\n\tat a.b(c)\r\n"), uint16(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint16) {
		whole, parts := stream{t: t}, stream{t: t}
		whole.add(text, join.Over)
		n := int(size) + 1
		for rest := text; len(rest) > 0; rest = rest[min(n, len(rest)):] {
			parts.add(rest[:min(n, len(rest))], join.More)
		}
		parts.add(nil, join.Over)
		if !bytes.Equal(whole.all, text) {
			t.Errorf("%q became %q", text, whole.all)
		}
		if whole.got.String() != parts.got.String() {
			t.Error(cmp.Diff(whole.got.String(), parts.got.String()))
		}
		waits := stream{t: t} // and nothing is lost when everything is taken at any time
		for rest := text; len(rest) > 0; rest = rest[min(n, len(rest)):] {
			waits.add(rest[:min(n, len(rest))], join.Quiet)
			if len(waits.held) > 0 {
				t.Fatalf("%q is held although nothing more comes", waits.held)
			}
		}
		if !bytes.Equal(waits.all, text) {
			t.Errorf("%q became %q", text, waits.all)
		}
	})
}
