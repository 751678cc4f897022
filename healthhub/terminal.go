// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"cloud4.internal/hub/internal/health"
)

// terminal is what output goes to. Nothing is cut, wrapped or coloured where it is none.
type terminal struct {
	file   *os.File // nil: it is none
	colour bool
}

func openTerminal(w io.Writer) terminal {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return terminal{}
	}
	return terminal{f, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// size is how many characters are shown. A terminal that does not know, as docker's before it was told, has the usual.
func (t terminal) size() (width, height int) {
	if t.file == nil {
		return 0, 0
	}
	width, height, err := term.GetSize(int(t.file.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24
	}
	return width, height
}

var (
	stateGlyphs  = map[health.State]string{health.Pass: "✓", health.Starting: "…", health.Warn: "!", health.Unknown: "?", health.Fail: "✕"}
	stateColours = map[health.State]string{health.Pass: "32", health.Starting: "34", health.Warn: "33", health.Unknown: "35", health.Fail: "31"}
)

// paint colours a text, which says nothing that the words do not say.
func (t terminal) paint(s health.State, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + stateColours[s] + "m" + text + "\x1b[0m"
}

// state is a state as people see it.
func (t terminal) state(s health.State) string { return t.paint(s, stateGlyphs[s]+" "+s.String()) }

// wrap breaks a text into lines of so many characters, between words where there are any; width 0: it is one line.
func wrap(text string, width int) (lines []string) {
	if width <= 0 {
		return []string{text}
	}
	line, length := "", 0
	for word := range strings.FieldsSeq(text) {
		runes := []rune(word)
		if length > 0 && length+1+len(runes) > width {
			lines, line, length = append(lines, line), "", 0
		}
		if length > 0 {
			line, length = line+" ", length+1
		}
		for len(runes) > width {
			lines, runes = append(lines, string(runes[:width])), runes[width:]
		}
		line, length = line+string(runes), length+len(runes)
	}
	return append(lines, line)
}

// cut shortens a line to so many characters; width 0: to any number. Colour takes no room.
func cut(line string, width int) string {
	if width <= 0 {
		return line
	}
	var b strings.Builder
	shown, inColour := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			inColour = true
		case inColour:
			inColour = r != 'm'
		default:
			if shown++; shown > width {
				continue // what turns the colour off may follow
			}
		}
		b.WriteRune(r)
	}
	return b.String()
}
