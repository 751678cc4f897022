// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/sink"
)

// Widths of the list. A uid has up to about 40 characters, and is what one names a letter by: it is never cut.
const (
	listWhy   = 60
	listWords = 80
	listUID   = 20
)

// listed is a letter as --list --json prints it.
type listed struct {
	Refused time.Time `json:"refused,omitzero"`
	UID     string    `json:"uid,omitempty"`
	Why     string    `json:"why"`
	Level   string    `json:"level,omitempty"`
	Message string    `json:"message"`          // its first words
	Broken  string    `json:"broken,omitempty"` // why it cannot be sent
}

// list shows the letters there are, the oldest first, as they are read.
func (l *letters) list(c *cli.Context) error {
	out := bufio.NewWriter(c.App.Writer)
	term := terminal.Of(c.App.Writer)
	width, _ := term.Size()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	shown := 0
	err := sink.ReadLetters(l.dir, func(s *sink.Stored) error {
		if !l.want(s) {
			return nil
		}
		e := describe(s)
		if shown++; c.Bool("json") {
			return encoder.Encode(e)
		}
		if shown == 1 {
			fmt.Fprintf(out, "%-19s  %-*s  %-*s  %s\n", "REFUSED", listUID, "UID", listWhy, "WHY", "WHAT")
		}
		line := fmt.Sprintf("%-19s  %-*s  %s  %s", when(e.Refused), listUID, e.UID, pad(first(e.Why, listWhy), listWhy), e.Message)
		_, err := out.WriteString(strings.TrimRight(terminal.Cut(line, width), " ") + "\n")
		return err
	})
	if err == nil && shown == 0 && !c.Bool("json") && l.uids == nil {
		words := "there are no dead letters"
		if l.filter != nil {
			words = "no dead letter matches"
		}
		_, err = fmt.Fprintln(out, words)
	}
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	if err != nil {
		return err
	}
	return l.missing()
}

func describe(s *sink.Stored) listed {
	e := listed{Refused: s.Time, UID: health.CleanText(s.UID), Why: health.CleanText(s.Error), Level: parse.Level(s.Shown.Severity)}
	if s.Err != nil {
		e.Broken = s.Err.Error()
		e.Why = strings.TrimPrefix(e.Why+"; "+e.Broken, "; ")
	}
	text := string(s.Shown.Body.Bytes)
	if kind := s.Shown.Body.Kind; kind != otlp.KindString && s.Err == nil {
		text = string(jsonline.AppendValue(nil, s.Shown.Body))
	}
	text, _, _ = strings.Cut(text[:min(len(text), 4*listWords)], "\n")
	e.Message = first(health.CleanText(strings.ToValidUTF8(text, "")), listWords)
	return e
}

// when is a time as lists have it.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// first is the beginning of a text.
func first(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0))
}
