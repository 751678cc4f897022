// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

// text is what people read of a diagnosis: the ways, then what was looked at besides, each with what to do.
func (d *diagnosis) text(term terminal.Terminal) string {
	names, reads, acks := []string{"WAY"}, []string{"READ  "}, []string{"ACKNOWLEDGED"}
	for _, w := range d.Ways {
		names, reads, acks = append(names, w.Name), append(reads, took(w.Read)), append(acks, took(w.Acked))
	}
	read, acked := longest(reads), longest(acks)
	for _, f := range d.Findings {
		names = append(names, f.What)
	}
	p := &page{term: term, first: longest(names)}
	p.width, _ = term.Size()
	p.b.WriteString(p.pad("WAY", p.first) + "STATE   " + p.pad("READ", read) + "ACKNOWLEDGED\n")
	for _, w := range d.Ways {
		p.row(w.Name, w.State, p.pad(took(w.Read), read)+p.pad(took(w.Acked), acked), w.words(), w.Action)
	}
	p.b.WriteString("\n" + p.pad("BESIDES", p.first) + "STATE\n")
	for _, f := range d.Findings {
		p.row(f.What, f.State, "", f.Text, f.Action)
	}
	p.b.WriteString("\n" + d.verdict() + "\n")
	return p.b.String()
}

// verdict is the last line.
func (d *diagnosis) verdict() string {
	through, failed := 0, 0
	for _, w := range d.Ways {
		switch w.State {
		case health.Pass:
			through++
		case health.Fail:
			failed++
		}
	}
	switch {
	case failed > 0:
		return fmt.Sprintf("%d of %s came through", through, counted(through+failed, "way"))
	case through == 0:
		return "no way was tried"
	}
	return fmt.Sprintf("all came through: %s, acknowledged by %s", counted(through, "way"), d.Receiver)
}

// words are the events that one may look for, and what there is to say.
func (w *way) words() string {
	words := w.Text
	if w.State == health.Pass {
		words = strings.Join(w.UIDs, " ")
		if w.Text != "" {
			words += "  (" + w.Text + ")"
		}
	}
	return words
}

func took(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return terminal.Seconds(*seconds)
}

func longest(names []string) (n int) {
	for _, name := range names {
		n = max(n, utf8.RuneCountInString(name))
	}
	return n + 2
}

// page is a table that is being written.
type page struct {
	b     strings.Builder
	term  terminal.Terminal
	width int // of the terminal; 0: none
	first int // of the first column
}

func (p *page) pad(text string, width int) string {
	return text + strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 1))
}

// row writes one line, its words wrapped under their beginning, and what to do below.
func (p *page) row(name string, state health.State, figures, text, action string) {
	word := terminal.Glyph(state) + " " + state.String()
	if state == health.Unknown {
		word = "- none"
	}
	space := strings.Repeat(" ", max(8-utf8.RuneCountInString(word), 1)) // colour takes no room
	head := p.pad(name, p.first) + p.term.PaintState(state, word) + space + figures
	indent := p.first + 8 + utf8.RuneCountInString(figures)
	write := func(words string) {
		for _, line := range terminal.Wrap(words, max(p.width-indent, 0)) {
			p.b.WriteString(strings.TrimRight(head+line, " ") + "\n")
			head = strings.Repeat(" ", indent)
		}
	}
	write(health.CleanText(text))
	if action != "" && state != health.Pass {
		write("→ " + health.CleanText(action))
	}
}
