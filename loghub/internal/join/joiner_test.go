// SPDX-License-Identifier: AGPL-3.0-or-later

package join_test

import (
	"fmt"
	"strings"
	"testing"

	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/join"
	"github.com/google/go-cmp/cmp"
)

// say is what the tests want to know of the groups of a text that comes in chunks, each with what is known behind it.
func say(j *join.Joiner, chunks ...any) (out []string) {
	var held []byte
	end := join.More
	for _, c := range chunks {
		switch c := c.(type) {
		case string:
			held, end = append(held, c...), join.More
		case join.End:
			end = c
		}
		for j.Take(held, end) {
			g := &j.Group
			text := fmt.Sprintf("%d lines, %d bytes", g.Lines, g.Bytes)
			if len(g.Text) < 60 {
				text = fmt.Sprintf("%q", g.Text)
			}
			if g.Part > 0 || g.Cut {
				text += fmt.Sprintf(" part %d cut %v", g.Part, g.Cut)
			}
			if g.Piece > 0 || g.Open {
				text += fmt.Sprintf(" piece %d open %v", g.Piece, g.Open)
			}
			out = append(out, text)
			held = held[g.Bytes:]
		}
		if len(held) > join.MaxBytes {
			out = append(out, fmt.Sprintf("%d bytes are held", len(held)))
		}
	}
	if len(held) > 0 {
		out = append(out, fmt.Sprintf("held: %d", len(held)))
	}
	return out
}

func TestTake(t *testing.T) {
	long := strings.Repeat("x", frame.MaxLine)
	frames := func(n, size int) string {
		return strings.Repeat("  "+strings.Repeat("x", size-3)+"\n", n)
	}
	const start = "Traceback (most recent call last):\n"
	tests := []struct {
		name   string
		chunks []any
		want   []string
	}{
		{"nothing", []any{"", join.Quiet, join.Over}, nil},
		{"no end yet", []any{"abc"}, []string{"held: 3"}},
		{"no end at all", []any{"abc", join.Over}, []string{`"abc"`}},
		{"its end is late", []any{"abc", join.Quiet, "def", join.Quiet, "\nx\n"}, []string{`"abc" piece 1 open true`, `"def" piece 2 open true`, `"" piece 3 open false`, `"x"`}},
		{"blank so far", []any{"  \x00", join.Quiet, "abc\n"}, []string{`"  \x00"`, `"abc"`}},
		{"too long", []any{long + long + "abc\nx\n"}, []string{
			"1 lines, 1048576 bytes piece 1 open true", "1 lines, 1048576 bytes piece 2 open true", `"abc" piece 3 open false`, `"x"`,
		}},
		{"a hole", []any{strings.Repeat("\x00", 2*frame.MaxLine) + "\x00abc\n"}, []string{"1 lines, 1048576 bytes", "1 lines, 1048576 bytes", `"\x00abc"`}},
		{"as long as can be", []any{long + "\n"}, []string{"1 lines, 1048577 bytes"}},
		{"a head as long as can be", []any{"ERROR " + long[6:] + "\nERROR x\n", join.Over}, []string{"1 lines, 1048577 bytes", `"ERROR x"`}},
		{"a head waits", []any{"ERROR x\n"}, []string{"held: 8"}},
		{"nothing follows a head", []any{"ERROR x\n", join.Quiet, "\tat a.B.c(D)\n", join.Over}, []string{`"ERROR x"`, `"\tat a.B.c(D)"`}},
		{"a trace is taken too soon", []any{"java.lang.Error\n\tat a.B.c(D)\n", join.Quiet, "\tat a.B.d(D)\n", join.Quiet, "next\n"}, []string{
			`"java.lang.Error\n\tat a.B.c(D)"`, `"\tat a.B.d(D)" part 2 cut false`, `"next"`,
		}},
		{"in the middle of a line", []any{"java.lang.Error\n\tat a.B.c(", join.Quiet, "D)\n\tat a.B.d(D)\nx\n"}, []string{
			`"java.lang.Error\n\tat a.B.c(" piece 1 open true`, `"D)" part 2 cut false piece 2 open false`, `"\tat a.B.d(D)" part 3 cut false`, `"x"`,
		}},
		{"a message that is none", []any{"TypeError: x\nperhaps\n", join.Quiet}, []string{`"TypeError: x"`, `"perhaps"`}},
		{"a message that is too long", []any{"TypeError: x\n" + strings.Repeat("y\n", 17)}, append([]string{`"TypeError: x"`}, strings.Split(strings.Repeat(`"y" `, 17)+`"`, " ")[:17]...)},
		{"the longest message", []any{"TypeError: x\n" + strings.Repeat("y\n", 16) + "    at f (x.js:1:2)\nz\n"}, []string{"18 lines, 65 bytes", `"z"`}},
		{"a long line in a trace", []any{"java.lang.Error\n\tat a.B.c(D)\n" + long + "y\n\tat a.B.d(D)\n", join.Over}, []string{
			`"java.lang.Error\n\tat a.B.c(D)" part 0 cut true`, "1 lines, 1048576 bytes piece 1 open true", `"y" piece 2 open false`, `"\tat a.B.d(D)"`,
		}},
		{"many lines", []any{start + frames(2500, 10) + "KeyError: x\nthe next\n"}, []string{
			"1000 lines, 10025 bytes part 0 cut true", "1000 lines, 10000 bytes part 2 cut true", "502 lines, 5022 bytes part 3 cut false", `"the next"`,
		}},
		{"as many lines as can be", []any{start + frames(999, 10) + "the next\n"}, []string{"1000 lines, 10025 bytes", `"the next"`}},
		{"many bytes", []any{start + frames(3, 500000) + "KeyError: x\nthe next\n"}, []string{
			"3 lines, 1000035 bytes part 0 cut true", "2 lines, 500012 bytes part 2 cut false", `"the next"`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, say(new(join.Joiner), tt.chunks...)); diff != "" {
				t.Error(diff)
			}
			var small []any // and in small pieces
			for _, c := range tt.chunks {
				if text, ok := c.(string); ok {
					for len(text) > 0 {
						n := min(len(text), 1000)
						small, text = append(small, text[:n]), text[n:]
					}
					continue
				}
				small = append(small, c)
			}
			if diff := cmp.Diff(tt.want, say(new(join.Joiner), small...)); diff != "" {
				t.Errorf("in small pieces: %s", diff)
			}
		})
	}
}

func TestApart(t *testing.T) {
	got := say(&join.Joiner{Apart: true}, "java.lang.Error\n\tat a.B.c(D)\nERROR x\ny", join.Quiet, "z\n")
	want := []string{`"java.lang.Error"`, `"\tat a.B.c(D)"`, `"ERROR x"`, `"y" piece 1 open true`, `"z" piece 2 open false`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHeld(t *testing.T) {
	var j join.Joiner
	for _, tt := range []struct {
		text  string
		lines int
		sure  bool
	}{
		{"x", 0, false},
		{"TypeError: x\n", 1, false},
		{"TypeError: x\ny\n", 2, false},
		{"TypeError: x\ny\n    at f (x.js:1:2)\n", 3, true},
	} {
		j.Rewind(join.Mark{})
		if j.Take([]byte(tt.text), join.More) {
			t.Errorf("%q: took %q", tt.text, j.Group.Text)
		}
		if lines, sure := j.Held(); lines != tt.lines || sure != tt.sure {
			t.Errorf("%q: %d lines, sure %v", tt.text, lines, sure)
		}
	}
}

// TestPlainLinesDoNotWait: what is no head comes at once, with nothing behind it.
func TestPlainLinesDoNotWait(t *testing.T) {
	for _, line := range []string{
		`192.0.2.7 - - [21/Nov/2026:07:55:42 +0000] "GET /Error.html HTTP/1.1" 404 153 "-" "curl/8"`,
		`{"level":"ERROR","message":"java.lang.Error: x"}`,
		"2026-11-21 07:55:42,123 INFO [main] c.e.T - going on",
		"starting", "  indented", "\ttabbed", "", " ", "services:", "Usage:", "0 errors", "no error: all is well", "Exceptional", "WARNINGS are off",
		"2026/11/21 07:55:42 [error] 12#12: *7 open() failed", "12:M 21 Nov 2026 07:55:42.123 * Ready to accept connections",
	} {
		var j join.Joiner
		if !j.Take([]byte(line+"\n"), join.More) || string(j.Group.Text) != line {
			t.Errorf("%q waits", line)
		}
	}
}
