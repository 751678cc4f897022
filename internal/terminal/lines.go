// SPDX-License-Identifier: AGPL-3.0-or-later

package terminal

import (
	"fmt"
	"strings"
)

// Wrap breaks a text into lines of so many characters, between words where there are any; width 0: it is one line.
func Wrap(text string, width int) (lines []string) {
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

// Cut shortens a line to so many characters; width 0: to any number. Colour takes no room.
func Cut(line string, width int) string {
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

// What a picture that is drawn over the one before consists of (ECMA-48), and the screen beside the usual one (xterm).
const (
	topLeft     = "\x1b[H"
	RestOfLine  = "\x1b[K" // erases it
	restBelow   = "\x1b[J"
	OtherScreen = "\x1b[?1049h"
	FirstScreen = "\x1b[?1049l" // as it was
)

// Picture makes of lines what draws them over the picture before: cut to the width, and with a word on how many more there are
// where the height has no room.
func Picture(lines []string, width, height int) string {
	if more := len(lines) - (height - 1); more > 0 {
		lines = append(lines[:max(1, height-2):max(1, height-2)], fmt.Sprintf("… and %d more lines: the window is too small", more+1))
	}
	var b strings.Builder
	b.WriteString(topLeft)
	for _, line := range lines {
		b.WriteString(Cut(line, width) + RestOfLine + "\n")
	}
	b.WriteString(restBelow)
	return b.String()
}
