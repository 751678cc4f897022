// SPDX-License-Identifier: AGPL-3.0-or-later

package terminal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/internal/proctest"
	"cloud4.internal/hub/internal/terminal"
)

func TestOf(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for what, none := range map[string]terminal.Terminal{"a buffer": terminal.Of(new(bytes.Buffer)), "a file": terminal.Of(file)} {
		width, height := none.Size()
		if none != (terminal.Terminal{}) || width != 0 || height != 0 {
			t.Errorf("%s is %+v, %d×%d", what, none, width, height)
		}
		if got := none.Paint(terminal.Red, "x"); got != "x" {
			t.Errorf("%s: %q", what, got)
		}
	}
	_, program := proctest.Terminal(t)
	for _, test := range []struct {
		noColor, term string
		want          bool
	}{{"", "xterm", true}, {"1", "xterm", false}, {"", "dumb", false}} {
		t.Setenv("NO_COLOR", test.noColor)
		t.Setenv("TERM", test.term)
		if got := terminal.Of(program); got.File != program || got.Colour != test.want {
			t.Errorf("NO_COLOR=%s TERM=%s: %+v", test.noColor, test.term, got)
		}
	}
	if got := (terminal.Terminal{Colour: true}).Paint(terminal.Red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
}

func TestSize(t *testing.T) {
	_, program := proctest.Terminal(t)
	term := terminal.Of(program)
	if width, height := term.Size(); width != 80 || height != 24 {
		t.Errorf("of a terminal that nobody told: %d×%d", width, height)
	}
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 132, Row: 50}); err != nil {
		t.Fatal(err)
	}
	if width, height := term.Size(); width != 132 || height != 50 {
		t.Errorf("got %d×%d", width, height)
	}
}

func TestWrap(t *testing.T) {
	for text, want := range map[string]string{"": "", "one two": "one two", "one two three": "one two\nthree", "elephantine": "elephant\nine", "a äöüäöüäöü b": "a\näöüäöüäö\nü b"} {
		if got := strings.Join(terminal.Wrap(text, 8), "\n"); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if got := terminal.Wrap("one  two", 0); len(got) != 1 || got[0] != "one  two" {
		t.Errorf("%q", got)
	}
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		line  string
		width int
		want  string
	}{
		{"abcdef", 3, "abc"}, {"abc", 3, "abc"}, {"äöüß", 2, "äö"}, {"abcdef", 0, "abcdef"},
		{"ab\x1b[31mcdef\x1b[0m", 3, "ab\x1b[31mc\x1b[0m"},
		{"abcd\x1b[31mef\x1b[0m", 3, "abc\x1b[31m\x1b[0m"},
	} {
		if got := terminal.Cut(test.line, test.width); got != test.want {
			t.Errorf("%q to %d: %q, want %q", test.line, test.width, got, test.want)
		}
	}
}

func TestPicture(t *testing.T) {
	lines := []string{"one two", "\x1b[31mthree\x1b[0m", "four", "five"}
	const end = "\x1b[K\n"
	for height, want := range map[int]string{
		6: "one" + end + "\x1b[31mthr\x1b[0m" + end + "fou" + end + "fiv" + end,
		5: "one" + end + "\x1b[31mthr\x1b[0m" + end + "fou" + end + "fiv" + end,
		4: "one" + end + "\x1b[31mthr\x1b[0m" + end + "… a" + end,
		1: "one" + end + "… a" + end,
	} {
		if got := terminal.Picture(lines, 3, height); got != "\x1b[H"+want+"\x1b[J" {
			t.Errorf("height %d: %q", height, got)
		}
	}
	if got := terminal.Picture(lines, 60, 4); !strings.Contains(got, "… and 2 more lines: the window is too small") {
		t.Errorf("%q", got)
	}
	if lines[2] != "four" {
		t.Error("the caller's lines were changed")
	}
}
