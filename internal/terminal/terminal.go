// SPDX-License-Identifier: AGPL-3.0-or-later

// Package terminal is what commands know of the terminal that they write to: whether there is one, its size, whether it shows
// colour, how lines and whole pictures are made to fit it, and how people read amounts.
//
//	term := terminal.Of(os.Stdout)
//	fmt.Println(term.Paint(terminal.Red, "✕ fail"))
//
// Where the output is no terminal nothing is cut, wrapped or coloured. Colour says nothing that the words do not say; there is
// none where NO_COLOR is set (https://no-color.org) or TERM is dumb. Sequences are those of ECMA-48.
//
// Width is counted in code points: of wide and combining characters a line may be cut later or earlier than where it ends.
// What others wrote is cleaned by who shows it (health.CleanText).
//
// Left out: reading keys, and moving about on the screen.
package terminal

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Size of a terminal that does not know its own, as docker's before it was told.
const (
	usualWidth  = 80
	usualHeight = 24
)

// Terminal is what output goes to. The zero value is none.
type Terminal struct {
	File   *os.File // nil: it is none
	Colour bool
}

// Of says what w is.
func Of(w io.Writer) Terminal {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return Terminal{}
	}
	return Terminal{f, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Size is how many characters and lines are shown; 0 and 0 where there is no terminal.
func (t Terminal) Size() (width, height int) {
	if t.File == nil {
		return 0, 0
	}
	width, height, err := term.GetSize(int(t.File.Fd()))
	if err != nil || width < 1 || height < 1 {
		return usualWidth, usualHeight
	}
	return width, height
}

// Colour is the parameter of SGR (ECMA-48 §8.3.117) that text is shown in.
type Colour string

// The colours in use, as the terminal's owner chose them.
const (
	Red     Colour = "31"
	Green   Colour = "32"
	Yellow  Colour = "33"
	Blue    Colour = "34"
	Magenta Colour = "35"
	Dim     Colour = "2"
)

// Paint colours a text, if the terminal shows colour; "" is no colour.
func (t Terminal) Paint(c Colour, text string) string {
	if !t.Colour || c == "" || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}
