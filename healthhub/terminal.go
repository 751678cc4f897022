// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

var (
	stateGlyphs  = map[health.State]string{health.Pass: "✓", health.Starting: "…", health.Warn: "!", health.Unknown: "?", health.Fail: "✕"}
	stateColours = map[health.State]terminal.Colour{
		health.Pass: terminal.Green, health.Starting: terminal.Blue, health.Warn: terminal.Yellow,
		health.Unknown: terminal.Magenta, health.Fail: terminal.Red,
	}
)

// paint colours a text as its state asks for.
func paint(t terminal.Terminal, s health.State, text string) string {
	return t.Paint(stateColours[s], text)
}

// stateWords is a state as people see it.
func stateWords(t terminal.Terminal, s health.State) string {
	return paint(t, s, stateGlyphs[s]+" "+s.String())
}
