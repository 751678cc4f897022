// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

func waitCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "wait",
		Usage:     "wait until something is in a state, for scripts",
		ArgsUsage: "[PATH]",
		Description: `Waits for this container, a host, the fleet or what PATH names of it, and says how it became; on a terminal also how it is
meanwhile. A server that does not answer yet and a part that is not there yet are waited for, too.

   healthhub wait --timeout 60s && run-the-tests
   healthhub wait --for ready web.shop.vm1 --host https://vm1.internal:8444
   healthhub wait --for fail page            after healthhub chaos page fail

Exit code: 0 it is in one of the states; 1 it is not within the time, and why, or the server refuses; 2 usage.` + whereWords,
	}, waitFlags, 0, 1, waitAction)
}

func waitFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "for", Value: "pass", Usage: "`STATES` with commas between: pass, starting, warn, unknown, fail; ready is pass, or warn with everything up, as probe has it"},
		&cli.DurationFlag{Name: "timeout", Value: time.Minute, Usage: "how long; 0: for ever"},
		&cli.BoolFlag{Name: "quiet", Usage: "say nothing but errors"},
	}, reading()...)
}

func waitAction(c *cli.Context, arguments []string) error {
	w := &waiting{path: argument(arguments), began: time.Now()}
	for word := range strings.SplitSeq(c.String("for"), ",") {
		state, err := health.ParseState(word)
		switch {
		case word == "ready":
			w.ready = true
		case err != nil:
			return daemon.Usage(fmt.Errorf("--for: must be ready, pass, starting, warn, unknown or fail, or several with commas between, got %q", word))
		default:
			w.states = append(w.states, state)
		}
	}
	timeout := c.Duration("timeout")
	if timeout < 0 {
		return daemon.Usage(fmt.Errorf("--timeout must not be below 0, got %s", timeout))
	}
	var err error
	if w.server, err = newServer(c); err != nil {
		return err
	}
	ctx := c.Context
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	if !c.Bool("quiet") {
		w.term = terminal.Of(os.Stderr)
	}
	err = w.server.follow(ctx, func() (bool, error) { return w.look(ctx) })
	w.erase()
	switch {
	case err != nil:
		return err
	case w.met && c.Bool("quiet"):
		return nil
	case w.met:
		_, err := fmt.Fprintf(c.App.Writer, "%s: %s after %s\n", w.name, w.now, terminal.Seconds(time.Since(w.began).Seconds()))
		return err
	case c.Context.Err() != nil:
		return fmt.Errorf("interrupted: %s", w.last)
	}
	return fmt.Errorf("not %s within %s: %s", c.String("for"), timeout, w.last)
}

// waiting is for something to become one of some states.
type waiting struct {
	server *server
	path   string
	states []health.State
	ready  bool // pass and warn too, with everything up
	began  time.Time
	term   terminal.Terminal // for progress

	met  bool
	name string
	now  health.State
	last string // what was seen last, for people
}

// look sees whether it is so.
func (w *waiting) look(ctx context.Context) (bool, error) {
	root, _, err := w.server.tree(ctx)
	if ctx.Err() != nil {
		return false, nil // what was seen before is the reason
	}
	if refused, ok := errors.AsType[*refusedError](err); ok && refused.status/100 == 4 {
		return true, err
	}
	var n *health.Node
	if err == nil {
		n, err = find(root, w.path)
	}
	if err != nil {
		w.last = err.Error()
		w.progress(health.Unknown)
		return false, nil
	}
	w.name, w.now = firstOf(w.path, n.Name), n.State
	if slices.Contains(w.states, n.State) || w.ready && rollup.Yes(rollup.Judge(n, rollup.Ready)) {
		w.met = true
		return true, nil
	}
	w.last = w.because(root, n)
	w.progress(n.State)
	return false, nil
}

// because says how it is and, where that is somebody's fault, whose.
func (w *waiting) because(root, n *health.Node) string {
	text := w.name + " is " + n.State.String()
	if n.Text != "" {
		text += ": " + n.Text
	}
	if e, err := rollup.Explain(root, w.path); err == nil && e.Action != "" {
		text += " → " + e.Action
	}
	return text
}

func (w *waiting) progress(s health.State) {
	if w.term.File == nil {
		return
	}
	width, _ := w.term.Size()
	line := terminal.Cut(terminal.Glyph(s)+" "+terminal.Seconds(time.Since(w.began).Seconds())+"  "+w.last, width-1)
	io.WriteString(w.term.File, "\r"+w.term.PaintState(s, line)+terminal.RestOfLine) // progress that cannot be shown is none
}

func (w *waiting) erase() {
	if w.term.File != nil {
		io.WriteString(w.term.File, "\r"+terminal.RestOfLine)
	}
}
