// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/webhook"
	"cloud4.internal/hub/internal/health"
)

const (
	problem  = webhook.StatusProblem
	still    = webhook.StatusStill
	resolved = webhook.StatusResolved
)

// What a message names: the rest is a number.
const (
	maxItems  = 10
	maxLine   = 300 // bytes
	maxAction = 150
	testMark  = "[test] "
)

// compose makes the message of news, which are sorted and not empty. open is how many things are wrong in all.
func compose(root *health.Node, now time.Time, told []news, open int) webhook.Message {
	m := webhook.Message{
		ID: strings.ToLower(rand.Text()), Level: root.Kind, Name: root.Name, Time: now.UTC().Format(time.RFC3339),
		Status: told[0].status, State: health.Pass.String(), Priority: priority(health.Pass), Open: open, Test: true,
	}
	worst := health.Pass
	for i := range told {
		n := &told[i]
		if n.status == resolved {
			m.Resolved++
		} else {
			m.Problems++
			worst = max(worst, n.counts)
		}
		m.Test = m.Test && n.forced
	}
	m.State, m.Priority = worst.String(), priority(worst)
	m.Title = title(root, told, m)
	var lines []string
	size := 0
	for i := range told[:min(len(told), maxItems)] {
		line := told[i].line(root, len(told) == 1)
		if size += len(line) + 1; size > webhook.MaxText-len(more(len(told))) {
			break
		}
		lines = append(lines, line)
		m.Items = append(m.Items, told[i].item(root))
	}
	if left := len(told) - len(lines); left > 0 {
		lines = append(lines, more(left))
	}
	m.Text = strings.Join(lines, "\n")
	return m
}

func more(n int) string { return fmt.Sprintf("and %d more", n) }

// priority counts as ntfy does.
func priority(s health.State) int {
	switch s {
	case health.Fail:
		return 5
	case health.Unknown:
		return 4
	case health.Warn:
		return 3
	}
	return 2
}

// title says the most in one line: "vm1: web.shop.vm1/page fails", "fleet: 3 problems, 1 resolved".
func title(root *health.Node, told []news, m webhook.Message) string {
	mark := ""
	if m.Test {
		mark = testMark
	}
	var words string
	switch {
	case len(told) == 1:
		words = told[0].short(root)
	case m.Problems == 0:
		words = fmt.Sprintf("%d resolved", m.Resolved)
	default:
		words = fmt.Sprintf("%d problems", m.Problems)
		if m.Problems == 1 {
			words = told[0].short(root)
		}
		if m.Resolved > 0 {
			words += fmt.Sprintf(", %d resolved", m.Resolved)
		}
	}
	if m.Problems == 0 {
		if m.Open == 0 {
			words += ", all is well"
		} else {
			words += fmt.Sprintf(", %d still open", m.Open)
		}
	}
	return webhook.Cut(mark+root.Name+": "+words, webhook.MaxTitle)
}

// name is what people call the cause.
func (n *news) name(root *health.Node) string {
	if n.key == "" {
		return "the " + root.Kind + " itself"
	}
	return n.key
}

func (n *news) short(root *health.Node) string {
	switch n.status {
	case resolved:
		return n.name(root) + " resolved"
	case still:
		return n.name(root) + " still " + words(n.state)
	}
	return n.name(root) + " " + words(n.state)
}

// words is a state as a verb.
func words(s health.State) string {
	switch s {
	case health.Fail:
		return "fails"
	case health.Unknown:
		return "is unknown"
	case health.Warn:
		return "warns"
	}
	return s.String()
}

// line is all there is to say in a line: "✕ fail web.shop.vm1/page: connection refused".
func (n *news) line(root *health.Node, alone bool) string {
	var b strings.Builder
	if n.forced {
		b.WriteString(testMark)
	}
	if n.status == resolved {
		fmt.Fprintf(&b, "✓ resolved %s", n.name(root))
		if n.lasted >= time.Second {
			fmt.Fprintf(&b, " after %s", span(n.lasted))
		}
		if n.note != "" {
			b.WriteString(": " + n.note)
		}
		return webhook.Cut(b.String(), maxLine)
	}
	fmt.Fprintf(&b, "%s %v %s", sign(n.state), n.state, n.name(root))
	if n.status == still {
		fmt.Fprintf(&b, ", for %s", span(n.lasted))
	} else if n.note != "" {
		b.WriteString(", " + n.note)
	}
	if n.text != "" {
		b.WriteString(": " + n.text)
	}
	out := webhook.Cut(b.String(), maxLine)
	if n.more > 0 {
		out += fmt.Sprintf(" (and %d because of it)", n.more)
	}
	if alone && n.action != "" {
		out += "\n→ " + webhook.Cut(n.action, maxAction)
	}
	return out
}

func sign(s health.State) string {
	switch s {
	case health.Fail:
		return "✕"
	case health.Unknown:
		return "?"
	}
	return "!"
}

func (n *news) item(root *health.Node) webhook.Item {
	item := webhook.Item{
		Path: n.key, Status: n.status, State: n.state.String(), Text: webhook.Cut(n.text, maxLine), Action: webhook.Cut(n.action, maxAction), Test: n.forced,
	}
	if n.key == "" {
		item.Path = root.Name
	}
	if n.lasted >= time.Second {
		item.For = span(n.lasted)
	}
	return item
}

// span is a duration for people: two units at most.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// Trial is the message by which somebody finds out whether a receiver is set up right.
func Trial(name string, now time.Time) webhook.Message {
	return webhook.Message{
		ID: strings.ToLower(rand.Text()), Title: testMark + "healthhub can reach " + name, Status: problem, State: health.Warn.String(),
		Text:     "This is a test of health.notify." + name + ". Nothing is wrong.",
		Priority: priority(health.Warn), Level: health.KindHost, Name: name, Time: now.UTC().Format(time.RFC3339), Test: true,
	}
}
