// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/terminal"
)

func statusCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "status",
		Usage:     "show the health of this container, a host or the fleet",
		ArgsUsage: "[PATH]",
		Description: `Shows a table, worst first: what is in which state, for how long, when it was last looked at, what was seen and what to
do. Nothing is checked because somebody asks: this is what healthhub knows. --watch keeps it up to date until ^C; where the output is no
terminal, each change becomes a line.

   healthhub status
   healthhub status --watch web.shop.vm1
   healthhub status --wide --all --host https://genesis.internal:8444` + whereWords,
	}, statusFlags, 0, 1, statusAction)
}

func statusFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.BoolFlag{Name: "all", Usage: "show the checks of containers and machines that are well, too"},
		&cli.BoolFlag{Name: "wide", Usage: "show what was measured, looks taken and how long the last took, the range of the score, and texts whole"},
		&cli.BoolFlag{Name: "watch", Usage: "go on until ^C"},
		&cli.BoolFlag{Name: "json", Usage: "print the snapshot as it came, or the part of it that PATH names"},
	}, reading()...)
}

func statusAction(c *cli.Context, arguments []string) error {
	if c.Bool("json") && c.Bool("watch") {
		return daemon.Usage(errors.New("--json and --watch do not go together: healthhub history --follow --json gives each change as it comes"))
	}
	s, err := newServer(c)
	if err != nil {
		return err
	}
	v := &statusView{server: s, path: argument(arguments), all: c.Bool("all"), wide: c.Bool("wide"), term: terminal.Of(c.App.Writer)}
	if c.Bool("watch") {
		return v.watch(c.Context, c.App.Writer)
	}
	root, body, err := s.tree(c.Context)
	if err != nil {
		return err
	}
	n, err := find(root, v.path)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if n != root {
			if body, err = json.Marshal(n); err != nil {
				return err
			}
			body = append(body, '\n')
		}
		_, err := c.App.Writer.Write(body)
		return err
	}
	mutes := v.mutes(c.Context, n)
	_, err = io.WriteString(c.App.Writer, v.draw(n, mutes, time.Now(), false))
	return err
}

// statusView is how status shows what it got.
type statusView struct {
	server    *server
	path      string
	all, wide bool
	term      terminal.Terminal
}

// draw makes the table of a node, and what is to be said below. brief leaves out what does not fit a line.
func (v *statusView) draw(n *health.Node, mutes []mute.Mute, now time.Time, brief bool) string {
	width, _ := v.term.Size()
	out := (&table{now: now, all: v.all || v.path != "", wide: v.wide, brief: brief, term: v.term, width: width}).draw(n)
	for _, m := range mutes {
		out += muteLine(m, now)
	}
	if v.server.socket && v.path == "" {
		out += reporting(initctl.RunDir(), now)
	}
	return out
}

// mutes are those of the server, where anything that is shown is muted.
func (v *statusView) mutes(ctx context.Context, n *health.Node) []mute.Mute {
	if !anyMuted(n) {
		return nil
	}
	var list ledger.Mutes
	if _, err := v.server.get(ctx, "/v1/mutes", &list); err != nil {
		return nil // the flags in the table say so all the same
	}
	return list.Mutes
}

func anyMuted(n *health.Node) bool {
	if n.HasFlag(health.FlagMuted) || n.FlagValue(health.FlagMutes) != "" {
		return true
	}
	for i := range n.Children {
		if anyMuted(&n.Children[i]) {
			return true
		}
	}
	return false
}

// reporting is a line on how this container's reports fare, which may be half a minute old; empty if it reports to nobody.
func reporting(runDir string, now time.Time) string {
	f, err := health.ReadFile(runDir, health.HealthFile)
	if err != nil {
		return ""
	}
	var s agent.Section
	switch err := json.Unmarshal(f.Section, &s); {
	case err != nil || s.Report == nil:
		return ""
	case s.Report.Error != "":
		return fmt.Sprintf("\nreports to %s do not arrive: %s\n", s.Report.To, strings.TrimSpace(s.Report.Error))
	case s.Report.LastOK.IsZero():
		return fmt.Sprintf("\nreports to %s: none yet\n", s.Report.To)
	}
	return fmt.Sprintf("\nreports to %s; one was taken %s ago\n", s.Report.To, page.Age(now, s.Report.LastOK))
}
