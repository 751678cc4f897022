// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/internal/health"
)

// table draws a tree for people: a line for each node, aligned, children below their parent, worst first.
type table struct {
	now    time.Time
	all    bool // also the checks of what is well
	colour bool // says nothing that the words do not say
	width  int  // of the terminal; 0: lines are not cut
	rows   []row
}

type row struct {
	state health.State
	cells [5]string // name, state, score, for, seen
	text  string
}

var (
	stateGlyphs  = map[health.State]string{health.Pass: "✓", health.Starting: "…", health.Warn: "!", health.Unknown: "?", health.Fail: "✕"}
	stateColours = map[health.State]string{health.Pass: "32", health.Starting: "34", health.Warn: "33", health.Unknown: "35", health.Fail: "31"}
)

func (t *table) draw(root *health.Node) string {
	t.rows = []row{{cells: [5]string{strings.ToUpper(root.Kind), "STATE", "SCORE", "FOR", "SEEN"}, text: "WHAT WAS SEEN"}}
	t.add(root, 0)
	var widths [5]int
	for _, r := range t.rows {
		for i, cell := range r.cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for i, r := range t.rows {
		line := ""
		for j, cell := range r.cells {
			cell += strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2)
			if t.colour && j == 1 && i > 0 {
				cell = "\x1b[" + stateColours[r.state] + "m" + cell + "\x1b[0m"
			}
			line += cell
		}
		b.WriteString(strings.TrimRight(line+t.cut(r.text, widths), " ") + "\n")
	}
	return b.String()
}

// cut shortens a text to what is left of the terminal's line, but not below 20 characters.
func (t *table) cut(text string, widths [5]int) string {
	if t.width == 0 {
		return text
	}
	left := t.width
	for _, w := range widths {
		left -= w + 2
	}
	if runes := []rune(text); len(runes) > max(left, 20) {
		return string(runes[:max(left, 20)-1]) + "…"
	}
	return text
}

func (t *table) add(n *health.Node, depth int) {
	score := ""
	if n.Score != nil {
		score = fmt.Sprint(*n.Score)
	}
	text := n.Text
	if flags := t.flags(n); flags != "" {
		text = strings.TrimSpace("[" + flags + "] " + text)
	}
	if n.Action != "" && n.State != health.Pass {
		text += " → " + n.Action
	}
	t.rows = append(t.rows, row{n.State, [5]string{
		strings.Repeat("  ", depth) + n.Name, stateGlyphs[n.State] + " " + n.State.String(), score, t.age(n.Since), t.age(n.ObservedAt),
	}, text})
	if n.Kind == health.KindContainer && depth > 0 && n.State == health.Pass && !t.all {
		return
	}
	children := slices.Clone(n.Children)
	slices.SortStableFunc(children, func(a, b health.Node) int {
		if a.State != b.State {
			return int(b.State) - int(a.State)
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i := range children {
		t.add(&children[i], depth+1)
	}
}

// flags are those that people look for; that a check is critical shows in what it does.
func (t *table) flags(n *health.Node) string {
	var out []string
	for _, f := range n.Flags {
		if f != health.FlagLive && f != health.FlagStarted {
			out = append(out, f)
		}
	}
	return strings.Join(out, " ")
}

func (t *table) age(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return page.Age(t.now, at)
}
