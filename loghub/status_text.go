// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/source"
)

// lateAfter is how old a report is that should have been renewed.
const lateAfter = reportBeat + 5*time.Second

// text is what people read of a status.
func (s *status) text(term terminal.Terminal, now time.Time) string {
	var b strings.Builder
	width, _ := term.Size()
	head := func(name, words string) {
		const indent = 10
		for i, line := range terminal.Wrap(words, max(width-indent, 0)) {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "%-*s%s\n", indent, name, line)
		}
	}
	head("state", term.State(s.node.State)+"  "+health.CleanText(s.node.Text))
	if s.node.Action != "" && s.node.State != health.Pass {
		head("", "→ "+health.CleanText(s.node.Action))
	}
	if old := now.Sub(s.written); old > lateAfter && !s.written.IsZero() {
		head("", fmt.Sprintf("this was so %s ago, and has not been told since: loghub may be stuck or gone", age(now, s.written)))
	}
	head("receiver", s.receiver(now))
	head("spool", s.spool())
	head("copy", s.copy())
	for _, fact := range s.facts() {
		head(fact[0], fact[1])
	}
	if len(s.section.Sources) > 0 {
		b.WriteString("\n" + s.sources(term, width))
	}
	return b.String()
}

// receiver says where events go and how that fares.
func (s *status) receiver(now time.Time) string {
	st := s.section.Sender
	if st == nil {
		return "none: events are only copied to the container's output"
	}
	words := s.section.Receiver
	switch {
	case st.Held:
		words += "  refuses"
	case !st.OK:
		words += "  has taken none for " + age(now, st.Since)
	case st.LastAck.IsZero():
		words += "  nothing was sent so far"
	default:
		words += "  took some " + age(now, st.LastAck) + " ago"
	}
	if st.Error != "" {
		words += ": " + health.CleanText(st.Error)
	}
	words += fmt.Sprintf("  (%s in %s, %s", counted(st.Sent, "event"), counted(st.Requests, "request"), terminal.Bytes(float64(st.Bytes)))
	if st.Rejected > 0 {
		words += fmt.Sprintf("; %d rejected", st.Rejected)
	}
	if st.Dead > 0 {
		words += "; " + counted(st.Dead, "dead letter")
	}
	if st.DeadLost > 0 {
		words += fmt.Sprintf(", %d of them lost", st.DeadLost)
	}
	return words + ")"
}

func (s *status) spool() string {
	sp := s.section.Spool
	if sp == nil {
		return "none: nothing has to wait"
	}
	wait := "wait"
	if sp.Backlog == 1 {
		wait = "waits"
	}
	words := fmt.Sprintf("%s  %s %s  (%s of %s", s.section.Where, counted(sp.Backlog, "event"), wait,
		terminal.Bytes(float64(sp.Bytes)), terminal.Bytes(float64(sp.Quota)))
	if sp.AtRisk > 0 {
		words += fmt.Sprintf(", %s of it in memory alone", terminal.Bytes(float64(sp.AtRisk)))
	}
	words += ")"
	if sp.WrittenToday > 0 || sp.DiskPerDay > 0 {
		words += "  " + terminal.Bytes(float64(sp.WrittenToday)) + " written to the disk in 24 h"
	}
	if sp.DiskPerDay > 0 {
		words += ", at most " + terminal.Bytes(float64(sp.DiskPerDay))
	}
	if sp.Foreign > 0 {
		words += fmt.Sprintf("  %d left alone there, of a later version or no plain file", sp.Foreign)
	}
	if sp.Corrupt > 0 {
		words += fmt.Sprintf("  %s, %s skipped", counted(sp.Corrupt, "damaged place"), terminal.Bytes(float64(sp.Skipped)))
	}
	return words
}

// counted is "1 event", "12 events".
func counted[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (s *status) copy() string {
	words := s.section.Stdout
	if s.section.Dropped > 0 {
		words += fmt.Sprintf("  %s missing: the container's own output took no more", terminal.Bytes(float64(s.section.Dropped)))
	}
	return words
}

// facts are further lines: a title and what there is to say.
func (s *status) facts() [][2]string {
	var out [][2]string
	if s.section.Durable != "" {
		out = append(out, [2]string{"durable", health.CleanText(s.section.Durable)})
	}
	for _, skip := range s.section.Skipped {
		out = append(out, [2]string{"not read", health.CleanText(skip.Path + ": " + skip.Reason)})
	}
	if n := s.section.SkippedMore; n > 0 {
		out = append(out, [2]string{"", fmt.Sprintf("and %d more files", n)})
	}
	var limited int64
	for _, src := range s.section.Sources {
		limited += src.Limited
	}
	if limited > 0 {
		out = append(out, [2]string{"limited", counted(limited, "event") + " suppressed since the start, as log.limit says; events tell which"})
	}
	if c := s.section.Severities; c != nil && c.Warn+c.Error+c.Fatal > 0 {
		out = append(out, [2]string{"levels", fmt.Sprintf("%d warn, %d error, %d fatal since the start", c.Warn, c.Error, c.Fatal)})
	}
	if m := s.section.Masked; m != nil {
		out = append(out, [2]string{"secrets", masked(m)})
	}
	return out
}

// masked names the secrets that are hidden and those that are not.
func masked(m *mask.Found) string {
	words := "none known"
	if len(m.Hidden) > 0 {
		words = "hidden: " + names(m.Hidden)
	}
	var left []string
	for _, l := range m.LeftOut {
		left = append(left, l.Name+" ("+l.Why+")")
	}
	if len(left) > 0 {
		words += "; not hidden: " + names(left)
	}
	if len(m.Patterns) > 0 {
		patterns := "by their looks: " + names(m.Patterns)
		if m.Hidden == nil { // log.mask is off
			return patterns
		}
		words += "; " + patterns
	}
	return words
}

// maxNames is how many names a line has.
const maxNames = 20

func names(all []string) string {
	shown := all[:min(len(all), maxNames)]
	words := health.CleanText(strings.Join(shown, ", "))
	if n := len(all) - len(shown); n > 0 {
		words += fmt.Sprintf(" and %d more", n)
	}
	return words
}

// columns of the table of sources. The first is to the left.
var sourceTitles = []string{"SOURCE", "FORMAT", "POSITION", "LAG", "RATE", "RECORDS", "LOST"}

func sourceCells(src source.Stat) []string {
	dash := func(words string, none bool) string {
		if none {
			return "-"
		}
		return words
	}
	format := src.Format
	if src.Misfits > 0 {
		format += fmt.Sprintf(" (not %d)", src.Misfits)
	}
	lost := strconv.FormatInt(src.Lost, 10)
	if src.LostBytes > 0 {
		lost += " (" + terminal.Bytes(float64(src.LostBytes)) + ")"
	}
	return []string{
		health.CleanText(src.Name), dash(format, format == ""),
		terminal.Bytes(float64(src.Position)), dash(terminal.Bytes(float64(src.Lag)), src.Lag == 0),
		dash(strconv.FormatFloat(src.Rate, 'f', 1, 64)+"/s", src.Rate == 0),
		strconv.FormatInt(src.Records, 10), dash(lost, src.Lost == 0 && src.LostBytes == 0),
	}
}

// sources is a table, in which what was lost stands out.
func (s *status) sources(term terminal.Terminal, width int) string {
	rows := [][]string{sourceTitles}
	for _, src := range s.section.Sources {
		rows = append(rows, sourceCells(src))
	}
	widths := make([]int, len(sourceTitles))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for number, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if lost := i == len(row)-1; lost && number > 0 && cell != "-" {
				cell = term.Paint(terminal.Red, cell)
			}
			if i < 2 { // names; figures stand to the right
				cell, space = cell+space, ""
			}
			line.WriteString(space + cell + "  ")
		}
		b.WriteString(terminal.Cut(strings.TrimRight(line.String(), " "), width) + "\n")
	}
	return b.String()
}

// age is how long ago something was, as people say it.
func age(now, then time.Time) string {
	switch ago := now.Sub(then).Round(time.Second); {
	case now.Sub(then) < time.Second:
		return "a moment"
	case ago < 10*time.Second: // no digit behind the point, where there is nothing to be said
		return fmt.Sprintf("%d s", int(ago.Seconds()))
	default:
		return terminal.Seconds(ago.Seconds())
	}
}

// drawStatus draws a status over the one before.
func drawStatus(term terminal.Terminal, text string, first bool, now time.Time) error {
	width, height := term.Size()
	lines := []string{"loghub status  " + now.Format(time.TimeOnly) + "  ^C ends", ""}
	lines = append(lines, strings.Split(strings.TrimRight(text, "\n"), "\n")...)
	picture := terminal.Picture(lines, width, height)
	if first {
		picture = terminal.OtherScreen + picture
	}
	_, err := io.WriteString(term.File, picture)
	return err
}
