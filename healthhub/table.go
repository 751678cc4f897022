// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

const (
	minText    = 28 // characters that the last column has at least, or else it stands below its line
	textIndent = 4  // then
	textLines  = 4  // of what is not well, unless everything is asked for
)

// table draws a tree for people: a line for each node, aligned, children below their parent, worst first. On a terminal what is
// not well takes several lines, with what to do on its own; columns that have no room are left out, the least telling first.
type table struct {
	now   time.Time
	all   bool // also the checks of what is well
	wide  bool // also what was measured, looks taken, the range of the score
	brief bool // a line for each, without what to do
	term  terminal.Terminal
	width int // of the terminal; 0: lines are not cut
	rows  []row
}

type row struct {
	state        health.State
	cells        []string // one for each column
	text, action string
}

// column is one before the text; when it is left out is the order of the field.
type column struct {
	title string
	leave int // the highest is left out first; 0: never
	wide  bool
	cell  func(t *table, n *health.Node) string
}

var columns = []column{
	{"STATE", 0, false, func(_ *table, n *health.Node) string { return terminal.Glyph(n.State) + " " + n.State.String() }},
	{"SCORE", 2, false, (*table).score},
	{"FOR", 1, false, func(t *table, n *health.Node) string { return t.age(n.Since) }},
	{"SEEN", 3, false, func(t *table, n *health.Node) string { return t.age(n.ObservedAt) }},
	{"RUNS", 5, true, func(_ *table, n *health.Node) string { return unless(n.Runs == 0, strconv.FormatUint(n.Runs, 10)) }},
	{"TOOK", 4, true, func(_ *table, n *health.Node) string { return unless(n.Took == 0, terminal.Seconds(n.Took)) }},
}

func (t *table) draw(root *health.Node) string {
	t.rows = nil
	t.add(root, 0)
	shown := slices.DeleteFunc(slices.Clone(columns), func(c column) bool { return c.wide && !t.wide })
	titles := []string{strings.ToUpper(root.Kind)}
	for _, c := range shown {
		titles = append(titles, c.title)
	}
	rows := append([]row{{cells: titles, text: "WHAT WAS SEEN"}}, t.rows...)
	widths := make([]int, len(titles))
	for _, r := range rows {
		for i, cell := range r.cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	left := t.fit(shown, widths)
	var b strings.Builder
	for i, r := range rows {
		line := ""
		for j, cell := range r.cells {
			if widths[j] < 0 {
				continue
			}
			space := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2)
			if j == 1 && i > 0 {
				cell = t.term.PaintState(r.state, cell)
			}
			line += cell + space
		}
		t.write(&b, line, r, left)
	}
	return b.String()
}

// fit leaves out columns, whose width becomes -1, until the text has room, and returns how much that is: 0 as much as it
// wants, below minText none beside the columns.
func (t *table) fit(shown []column, widths []int) int {
	if t.width == 0 {
		return 0
	}
	for {
		left, out := t.width, -1
		for i, w := range widths {
			if w >= 0 {
				left -= w + 2
			}
			if i > 0 && w >= 0 && shown[i-1].leave > 0 && (out < 0 || shown[i-1].leave > shown[out-1].leave) {
				out = i
			}
		}
		if left >= minText || out < 0 {
			return max(left, 1)
		}
		widths[out] = -1
	}
}

// write adds a row with its text beside the columns, or below where that has no room.
func (t *table) write(b *strings.Builder, line string, r row, room int) {
	indent := t.width - room
	if t.width > 0 && room < minText {
		b.WriteString(terminal.Cut(strings.TrimRight(line, " "), t.width) + "\n")
		if r.cells[1] == "STATE" {
			return // the title of what has no column
		}
		line, indent, room = "", textIndent, max(t.width-textIndent, 1)
	}
	for i, text := range t.lines(r, room) {
		switch {
		case i > 0 || line == "" && text != "":
			line = strings.Repeat(" ", indent)
		case line == "":
			continue
		}
		b.WriteString(strings.TrimRight(line+text, " ") + "\n")
	}
}

// lines are the text and the action of a row, as many as they are worth.
func (t *table) lines(r row, room int) []string {
	if t.width == 0 {
		if r.action != "" {
			r.text += " → " + r.action
		}
		return []string{r.text}
	}
	lines := terminal.Wrap(r.text, room)
	most := textLines
	if r.state == health.Pass || t.brief {
		most = 1
	}
	if len(lines) > most && (t.brief || !t.wide) {
		last := []rune(lines[most-1])
		lines = append(lines[:most-1], string(last[:min(len(last), room-1)])+"…")
	}
	if r.action != "" && !t.brief {
		for i, line := range terminal.Wrap(r.action, max(room-2, 1)) {
			lines = append(lines, []string{"→ ", "  "}[min(i, 1)]+line)
		}
	}
	return lines
}

func (t *table) add(n *health.Node, depth int) {
	r := row{state: n.State, cells: []string{strings.Repeat("  ", depth) + n.Name}, text: n.Text}
	for _, c := range columns {
		if !c.wide || t.wide {
			r.cells = append(r.cells, c.cell(t, n))
		}
	}
	if flags := flagWords(n); flags != "" {
		r.text = strings.TrimSpace("[" + flags + "] " + r.text)
	}
	if t.wide && len(n.Values) > 0 {
		r.text = strings.TrimSpace(r.text + "  " + measured(n.Values))
	}
	if n.State != health.Pass {
		r.action = n.Action
	}
	t.rows = append(t.rows, r)
	if n.Kind == health.KindContainer && depth > 0 && n.State == health.Pass && !t.all {
		return
	}
	children := slices.DeleteFunc(slices.Clone(n.Children), func(child health.Node) bool { return !t.all && quiet(&child) })
	slices.SortStableFunc(children, func(a, b health.Node) int {
		if by := badness(&b) - badness(&a); by != 0 {
			return by
		}
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(a.Name, b.Name))
	})
	for i := range children {
		t.add(&children[i], depth+1)
	}
}

// badness is where a node stands among its siblings: what cannot be looked at comes last.
func badness(n *health.Node) int {
	if n.HasFlag(health.FlagUnsupported) {
		return -1
	}
	return int(n.State)
}

// quiet reports whether a check is one that a machine has without being asked, and has nothing to say.
func quiet(n *health.Node) bool {
	return n.Kind == health.KindCheck && strings.HasPrefix(n.Name, "host/") && (n.State == health.Pass || n.HasFlag(health.FlagUnsupported))
}

// rank orders what is equally bad: what counts most first, what something else is to blame for below, what never counts last.
func rank(n *health.Node) int {
	switch {
	case n.HasFlag(health.FlagInfo), n.HasFlag(health.FlagMuted):
		return 3
	case n.FlagValue(health.FlagSuppressedBy) != "":
		return 2
	case n.HasFlag(health.FlagCritical):
		return 0
	}
	return 1
}

// score is a node's, in wide tables with how far up it would go if all that is unknown were well.
func (t *table) score(n *health.Node) string {
	switch {
	case n.Score == nil:
		return ""
	case t.wide && n.Extent != nil && n.Extent.ScoreHigh != *n.Score:
		return fmt.Sprintf("%d–%d", *n.Score, n.Extent.ScoreHigh)
	}
	return strconv.Itoa(*n.Score)
}

func (t *table) age(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return page.Age(t.now, at)
}

// flagWords are the flags that people look for; that a check is critical shows in what it does.
func flagWords(n *health.Node) string {
	var out []string
	for _, f := range n.Flags {
		key, value, _ := strings.Cut(f, "=")
		switch key + "=" {
		case health.FlagMutes:
			f = value + " muted"
		case health.FlagSuppressedBy:
			f = "because of " + value
		case health.FlagGrouped:
			f = "of group " + value
		}
		switch f {
		case health.FlagLive, health.FlagStarted:
		case health.FlagPartStarting:
			out = append(out, "a part is starting")
		default:
			out = append(out, f)
		}
	}
	return strings.Join(out, ", ")
}

// measured is what a check measured, in the units that people read.
func measured(values []health.Value) string {
	var out []string
	for _, v := range values {
		out = append(out, v.Name+" "+amount(v))
	}
	return strings.Join(out, ", ")
}

func amount(v health.Value) string {
	switch v.Unit {
	case "s":
		return terminal.Seconds(v.Value)
	case "1":
		return strconv.FormatFloat(v.Value*100, 'g', 3, 64) + " %"
	case "By":
		return terminal.Bytes(v.Value)
	case "Cel":
		return strconv.FormatFloat(v.Value, 'g', 4, 64) + " °C"
	case "c":
		return strconv.FormatFloat(v.Value, 'f', -1, 64)
	}
	return strings.TrimSpace(strconv.FormatFloat(v.Value, 'f', -1, 64) + " " + v.Unit)
}

func unless(not bool, text string) string {
	if not {
		return ""
	}
	return text
}
