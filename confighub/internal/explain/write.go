// SPDX-License-Identifier: AGPL-3.0-or-later

package explain

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// WriteLine writes one line and everything that is known of it.
func (x *Explained) WriteLine(w io.Writer, number int) error {
	only, err := x.Only(number)
	if err != nil {
		return err
	}
	l := only[0]
	if _, err := fmt.Fprintf(w, "%s:%d: %s\n", x.Target, number, printable(l.Text)); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range l.Parts {
		if p.Tag == "" {
			fmt.Fprintf(t, "  text\t%s\t%s\n", p.At, quoted(p.Text))
			continue
		}
		fmt.Fprintf(t, "  value\t%s\t%s\t%s\n", p.At, quoted(p.Text), printable(p.where()))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, words := range l.Within {
		if _, err := fmt.Fprintf(w, "  within %s\n", printable(words)); err != nil {
			return err
		}
	}
	return nil
}

// where is the data behind a value: `{{port}} is up[0].port, hosts/vm1/data/x.json:4, over defaults/data/a.json:2`.
func (p Part) where() string {
	words := p.Tag
	if p.Path != "" && p.Tag != "{{"+p.Path+"}}" {
		words += " is " + p.Path
	}
	if p.From != "" {
		words += ", " + p.From
	}
	if len(p.Over) > 0 {
		words += ", over " + strings.Join(p.Over, ", ")
	}
	return words
}

// maxNamed is how many values a line of the whole target names.
const maxNamed = 3

// Write writes all lines, each behind its number, the place of its beginning and the values on it.
func (x *Explained) Write(w io.Writer) error {
	rows := make([][3]string, 0, len(x.Lines))
	var widths [3]int
	for _, l := range x.Lines {
		row := [3]string{fmt.Sprint(l.Number)}
		if len(l.Parts) > 0 {
			row[1] = l.Parts[0].At
		}
		row[2] = printable(values(l))
		rows = append(rows, row)
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for i, row := range rows {
		line := fmt.Sprintf("%*s  %-*s  %-*s │ %s", widths[0], row[0], widths[1], row[1], widths[2], row[2], printable(x.Lines[i].Text))
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// values names the data on a line.
func values(l Line) string {
	var paths []string
	for _, p := range l.Parts {
		if p.Tag != "" && p.Path != "" && p.Path[0] != '@' && !slices.Contains(paths, p.Path) {
			paths = append(paths, p.Path)
		}
	}
	if len(paths) > maxNamed {
		paths = append(paths[:maxNamed], "…")
	}
	return strings.Join(paths, " ")
}

// maxQuoted is how much of a text is quoted.
const maxQuoted = 60

func quoted(text string) string {
	runes := []rune(printable(text))
	if len(runes) > maxQuoted {
		runes = append(runes[:maxQuoted], '…')
	}
	return "`" + string(runes) + "`"
}

// printable shows a tab as blanks and leaves out what could steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', unicode.IsPrint(r):
			return r
		}
		return '·'
	}, strings.ReplaceAll(text, "\t", "    "))
}
