// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

func explainCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "explain",
		Usage:     "say why something is as it is, down to the root cause, and what to do",
		ArgsUsage: "[PATH]",
		Description: `Follows what is behind the state: into what contributes most, across to what it depends on, up to what is silent as a
whole. One line for each step, the root cause last, and what to do about it.

   healthhub explain
   healthhub explain web.shop.vm1 --host https://genesis.internal:8444

Exit code, as probe's: 0 pass, or warn with everything up; 1 starting, unknown or fail, or nobody answers; 2 usage.` + whereWords,
	}, explainFlags, 0, 1, explainAction)
}

func explainFlags() []cli.Flag {
	return append([]cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print it as JSON"}}, reading()...)
}

func explainAction(c *cli.Context, arguments []string) error {
	s, err := newServer(c)
	if err != nil {
		return err
	}
	root, _, err := s.tree(c.Context)
	if err != nil {
		return err
	}
	n, err := find(root, argument(arguments))
	if err != nil {
		return err
	}
	e, err := rollup.Explain(root, argument(arguments))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = printJSON(c.App.Writer, e)
	} else {
		term := terminal.Of(c.App.Writer)
		width, _ := term.Size()
		_, err = io.WriteString(c.App.Writer, explanation(e, term, width))
	}
	if err == nil && !rollup.Yes(rollup.Judge(n, rollup.Ready)) {
		err = daemon.ErrSaid
	}
	return err
}

// explanation is an explanation in lines of so many characters, 0: any.
func explanation(e rollup.Explanation, term terminal.Terminal, width int) string {
	var b strings.Builder
	for i, step := range e.Steps {
		head, indent := step.Path+" is ", i*2
		if i > 0 {
			head = "because " + head
		}
		state := step.State.String()
		if flags := flagWords(&health.Node{Flags: step.Flags}); flags != "" {
			state += " [" + flags + "]"
		}
		text := head + state
		if step.Text != "" && (i == len(e.Steps)-1 || step.Kind == health.KindCheck) { // that of a sum is what follows
			text += ": " + step.Text
		}
		room := 0
		if width > 0 {
			room = max(width-indent, minText)
		}
		for j, line := range terminal.Wrap(text, room) {
			if j == 0 {
				line = strings.Replace(line, head+step.State.String(), head+term.PaintState(step.State, step.State.String()), 1)
			}
			b.WriteString(strings.Repeat(" ", indent) + line + "\n")
		}
	}
	switch {
	case e.State == health.Pass:
		b.WriteString("nothing to do\n")
	case e.Action != "":
		for i, line := range terminal.Wrap(e.Action, max(width-2, 0)) {
			b.WriteString([]string{"→ ", "  "}[min(i, 1)] + line + "\n")
		}
	default:
		fmt.Fprintf(&b, "→ healthhub history %s says what went before\n", e.Cause)
	}
	return b.String()
}
