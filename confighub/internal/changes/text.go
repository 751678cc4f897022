// SPDX-License-Identifier: AGPL-3.0-or-later

package changes

import (
	"slices"
	"strings"

	"cloud4.internal/hub/confighub/internal/template"
)

// mask stands for a secret.
const mask = "***"

// Text is what a file holds, line by line, with what of it may be shown. The zero Text is empty.
type Text struct{ lines []line }

type line struct {
	// raw is without the line's end.
	raw string
	// end is "\n", "\r\n" or "".
	end string
	// parts are the literals around the secrets: one more than there are secrets.
	parts []string
}

// shown is the line with *** for each secret.
func (l line) shown() string { return strings.Join(l.parts, mask) }

func (l line) secret() bool { return len(l.parts) > 1 }

// Plain is a text without secrets.
func Plain(text []byte) Text { return Of(text, nil) }

// Secret is a text that is one secret.
func Secret(text []byte) Text {
	return Of(text, &template.Trace{Spans: []template.Span{{End: len(text), Secret: true}}})
}

// Of is a rendered text. Without a trace nothing in it is secret.
func Of(text []byte, trace *template.Trace) Text {
	var t Text
	var secrets []template.Span
	if trace != nil {
		secrets = slices.DeleteFunc(slices.Clone(trace.Spans), func(s template.Span) bool { return !s.Secret })
	}
	start := 0
	for raw := range strings.Lines(string(text)) {
		bare := strings.TrimRight(raw, "\r\n")
		l := line{raw: bare, end: raw[len(bare):]}
		at := 0
		for len(secrets) > 0 && secrets[0].End <= start && secrets[0].Start < start {
			secrets = secrets[1:]
		}
		for _, s := range secrets {
			from, to := max(s.Start-start, 0), min(s.End-start, len(bare))
			if from > len(bare) || to < from {
				break
			}
			l.parts = append(l.parts, bare[at:max(at, from)])
			at = max(at, to)
		}
		l.parts = append(l.parts, bare[at:])
		t.lines = append(t.lines, l)
		start += len(raw)
	}
	return t
}

// Lines is a text of lines that are shown in another form, with *** for secrets.
func Lines(raw, shown []string) Text {
	var t Text
	for i := range raw {
		t.lines = append(t.lines, line{raw: raw[i], end: "\n", parts: strings.Split(shown[i], mask)})
	}
	return t
}

func (t Text) shown() string {
	var b strings.Builder
	for _, l := range t.lines {
		b.WriteString(l.shown() + l.end)
	}
	return b.String()
}

func (t Text) secret() bool {
	for _, l := range t.lines {
		if l.secret() {
			return true
		}
	}
	return false
}

// wholly reports whether nothing but secrets and blanks is in the text.
func (t Text) wholly() bool {
	for _, l := range t.lines {
		if strings.TrimSpace(strings.Join(l.parts, "")) != "" {
			return false
		}
	}
	return t.secret()
}

// like is the line of the text that raw is, but for its secrets.
func (t Text) like(raw string) (shown string, ok bool) {
	for _, l := range t.lines {
		if !l.secret() || strings.TrimSpace(strings.Join(l.parts, "")) == "" {
			continue
		}
		if l.matches(raw) {
			return l.shown(), true
		}
	}
	return "", false
}

// matches reports whether raw has the literals of the line, in order, at its ends the first and the last.
func (l line) matches(raw string) bool {
	rest, ok := strings.CutPrefix(raw, l.parts[0])
	last := len(l.parts) - 1
	if !ok {
		return false
	}
	for _, part := range l.parts[1:last] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return strings.HasSuffix(rest, l.parts[last])
}
