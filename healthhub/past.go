// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

// then is how something was at a time.
type then struct {
	path  string
	state health.State
	since time.Time // zero: from before what is recorded
	text  string
	flags []string
}

// asOf prints what was not well at a time.
func (h *history) asOf(ctx context.Context, out io.Writer, at time.Time) error {
	if at.After(time.Now()) {
		return fmt.Errorf("--at: %s is still to come", at.Local().Format(time.DateTime))
	}
	list, _, err := h.ask(ctx)
	if err != nil {
		return err
	}
	root, _, err := h.server.tree(ctx)
	if err != nil {
		return err
	}
	path := h.path
	if chain, err := root.Find(path); err == nil { // of what is not there any more the path is the whole one already
		path = health.Path(chain)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "as of %s", at.Local().Format(time.DateTime))
	if len(list.Events) > 0 && at.Before(list.Events[0].At) {
		fmt.Fprintf(&b, ", before the oldest change that is kept (%s)", list.Events[0].At.Local().Format(time.DateTime))
	}
	b.WriteString(":\n\n")
	worst := slices.DeleteFunc(past(root, path, list.Events, at), func(t then) bool { return t.state == health.Pass })
	if len(worst) == 0 {
		b.WriteString("everything that is known of then was well\n")
	}
	width := 0
	for i := range worst {
		if worst[i].path == "" {
			worst[i].path = root.Name
		}
		width = max(width, len(worst[i].path))
	}
	for _, t := range worst {
		state, length := h.term.State(t.state), len(t.state.String())
		since := "for longer than is kept"
		if !t.since.IsZero() {
			since = "for " + page.Age(at, t.since)
		}
		if flags := flagWords(&health.Node{Flags: t.flags}); flags != "" {
			t.text = "[" + flags + "] " + t.text
		}
		line := fmt.Sprintf("%-*s  %s%s  %-10s  %s", width, t.path, state, strings.Repeat(" ", len("starting")-length), since, t.text)
		screen, _ := h.term.Size()
		b.WriteString(strings.TrimRight(terminal.Cut(line, screen), " ") + "\n")
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// past is how everything at path and below was at a time, worst first: as it is now, with what changed since taken back, and
// what was seen at the last change before. What came later was not there.
func past(root *health.Node, path string, events []record.Event, at time.Time) []then {
	was := map[string]then{}
	var now func(n *health.Node, above string)
	now = func(n *health.Node, above string) {
		was[above] = then{above, n.State, n.Since, n.Text, n.Flags}
		for i := range n.Children {
			now(&n.Children[i], strings.TrimPrefix(above+"/"+n.Children[i].Name, "/"))
		}
	}
	now(root, "")
	for _, e := range slices.Backward(events) {
		switch {
		case e.Kind == record.KindMark || !e.At.After(at):
		case e.From == nil && e.Path == "": // what was before healthhub began says nothing of now
			clear(was)
		case e.From == nil:
			delete(was, e.Path)
		default:
			was[e.Path] = then{path: e.Path, state: *e.From}
		}
	}
	later := maps.Clone(was)
	for _, e := range events {
		switch {
		case e.Kind == record.KindMark || e.At.After(at):
			continue
		case e.To == nil:
			delete(was, e.Path)
			continue
		case e.From == nil && e.Path == "": // it began anew: what is there no more may have gone with that
			maps.DeleteFunc(was, func(p string, _ then) bool { _, there := later[p]; return !there })
		}
		t := then{e.Path, *e.To, was[e.Path].since, e.Text, e.Flags}
		if e.From == nil || *e.From != *e.To {
			t.since = e.At
		}
		was[e.Path] = t
	}
	maps.DeleteFunc(was, func(p string, _ then) bool { return path != "" && p != path && !strings.HasPrefix(p, path+"/") })
	return slices.SortedFunc(maps.Values(was), func(a, b then) int {
		return cmp.Or(cmp.Compare(b.state, a.state), cmp.Compare(a.path, b.path))
	})
}
