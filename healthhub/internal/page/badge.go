// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bytes"
	"fmt"
	"html"
	"unicode/utf8"

	"cloud4.internal/hub/internal/health"
)

// badgeColors are dark enough for white letters on them: contrast is 4.5 or more (WCAG 2.2, 1.4.3).
var badgeColors = [...]string{
	health.Pass: "#1a7f37", health.Starting: "#0969da", health.Warn: "#9a6700", health.Unknown: "#57606a", health.Fail: "#cf222e",
}

const (
	badgeLetter = 7  // width of a letter, about; textLength makes it so, whatever the reader's font
	badgePad    = 6  // on both sides of a text
	badgeName   = 48 // letters of a name that are shown
)

// badge is an SVG image of the state of a node: its name, state, and score if it is a sum. Nothing in it comes from elsewhere.
// Colour is not the only sign, and the title says the same to those who cannot see it.
func badge(n *health.Node) []byte {
	name, words := n.Name, n.State.String()
	if len(name) > badgeName {
		name = name[:badgeName-1] + "…" // names are ASCII
	}
	if n.Score != nil {
		words += fmt.Sprintf(" %d", *n.Score)
	}
	for _, flag := range []string{health.FlagMuted, health.FlagStale, health.FlagMissing} {
		if n.HasFlag(flag) {
			words += ", " + flag
		}
	}
	left, right := badgeWidth(name), badgeWidth(words)
	title := html.EscapeString(name + ": " + words)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="20" viewBox="0 0 %d 20" role="img" aria-label="%s">`+
		`<title>%s</title>`, left+right, left+right, title, title)
	fmt.Fprintf(&b, `<rect width="%d" height="20" rx="3" fill="#24292f"/>`, left+right)
	fmt.Fprintf(&b, `<path d="M%d 0h%da3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-%dz" fill="%s"/>`, left, right-3, right-3, badgeColors[n.State])
	b.WriteString(`<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" aria-hidden="true">`)
	badgeText(&b, badgePad, name)
	badgeText(&b, left+badgePad, words)
	b.WriteString("</g></svg>\n")
	return b.Bytes()
}

func badgeWidth(text string) int { return utf8.RuneCountInString(text)*badgeLetter + 2*badgePad }

func badgeText(b *bytes.Buffer, x int, text string) {
	fmt.Fprintf(b, `<text x="%d" y="14" textLength="%d" lengthAdjust="spacingAndGlyphs">%s</text>`,
		x, badgeWidth(text)-2*badgePad, html.EscapeString(text))
}
