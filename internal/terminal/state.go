// SPDX-License-Identifier: AGPL-3.0-or-later

package terminal

import "cloud4.internal/hub/internal/health"

var (
	stateGlyphs  = map[health.State]string{health.Pass: "✓", health.Starting: "…", health.Warn: "!", health.Unknown: "?", health.Fail: "✕"}
	stateColours = map[health.State]Colour{health.Pass: Green, health.Starting: Blue, health.Warn: Yellow, health.Unknown: Magenta, health.Fail: Red}
)

// Glyph is a state as one character.
func Glyph(s health.State) string { return stateGlyphs[s] }

// PaintState colours a text as a state asks for.
func (t Terminal) PaintState(s health.State, text string) string {
	return t.Paint(stateColours[s], text)
}

// State is a state as people see it: glyph, word and colour.
func (t Terminal) State(s health.State) string { return t.PaintState(s, Glyph(s)+" "+s.String()) }
