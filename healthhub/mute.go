// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

func muteCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "mute",
		Usage:     "let something that is known not count for a while, or list what is muted",
		ArgsUsage: "PATH --for 2h --reason TEXT",
		Description: `What is muted keeps its true state where it is shown, but leaves the state and the score of what is above it, and nobody is
told of it. A mute ends by itself: after --for (at most 30d), when what it mutes is well again, and when that gets worse than
it was, for that is nothing anybody has said to know. With --sticky it ends after its time alone, and may be given before work begins.

   healthhub mute page --for 2h --reason "disk is ordered"
   healthhub mute web.shop.vm1 --for 30m --sticky --reason "update" --host https://vm1.internal:8444
   healthhub mute --list
   healthhub unmute page

Without --host it is a mute in this container, for root and the user that healthhub runs as; what its host or the fleet is told says so. With
--host it is one at a host or the fleet, for operators.`,
	}, muteFlags, 0, 1, muteAction)
}

func muteFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "for", Usage: "how long, `DURATION` as in 2h or 3d"},
		&cli.StringFlag{Name: "reason", Usage: "`TEXT` for whoever sees that it is muted"},
		&cli.StringFlag{Name: "by", Usage: "`NAME` of who mutes; without it the user, or with --host the operator"},
		&cli.BoolFlag{Name: "sticky", Usage: "only time ends it, not that it is well again or gets worse"},
		&cli.BoolFlag{Name: "list", Usage: "show what is muted"},
		&cli.BoolFlag{Name: "json", Usage: "print what is muted, or the new mute, as JSON"},
	}, reading()...)
}

func muteAction(c *cli.Context, arguments []string) error {
	if c.Bool("list") || len(arguments) == 0 && !c.IsSet("for") && !c.IsSet("reason") {
		return listMutes(c, arguments)
	}
	if len(arguments) == 0 {
		return daemon.Usage(errors.New(`say what: healthhub mute page --for 2h --reason "disk is ordered"`))
	}
	if err := daemon.Missing(c, "for", "reason"); err != nil {
		return err
	}
	s, err := newWriter(c)
	if err != nil {
		return err
	}
	r := mute.Request{Path: arguments[0], For: c.String("for"), Reason: c.String("reason"), By: c.String("by"), Sticky: c.Bool("sticky")}
	if r.By == "" && s.socket {
		r.By = whoAsks()
	}
	var m mute.Mute
	body, err := s.ask(c.Context, http.MethodPost, "/v1/mutes", r)
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil {
		return s.about(c.Context, err, "muting "+r.Path)
	}
	if c.Bool("json") {
		_, err = c.App.Writer.Write(body)
		return err
	}
	until := "until it is well again or gets worse, until " + m.Until.Local().Format(time.DateTime) + " at the latest"
	if m.Sticky {
		until = "until " + m.Until.Local().Format(time.DateTime)
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s (%s) is muted %s\n", m.Path, m.State, until)
	return err
}

// about says what was asked for before an error, and for a path that names nothing where names are.
func (s *server) about(ctx context.Context, err error, what string) error {
	if refused, ok := errors.AsType[*refusedError](err); ok && refused.status == http.StatusNotFound {
		if root, _, ask := s.tree(ctx); ask == nil {
			return fmt.Errorf("%s: %w; healthhub status --all lists what %s %s has", what, err, root.Kind, root.Name)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func listMutes(c *cli.Context, arguments []string) error {
	if len(arguments) > 0 {
		return daemon.Usage(errors.New("--list takes no path: it lists all"))
	}
	s, err := newServer(c)
	if err != nil {
		return err
	}
	var list ledger.Mutes
	body, err := s.get(c.Context, "/v1/mutes", &list)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		_, err = c.App.Writer.Write(body)
		return err
	}
	if len(list.Mutes) == 0 {
		_, err = io.WriteString(c.App.Writer, "nothing is muted\n")
	}
	for _, m := range list.Mutes {
		if _, err := io.WriteString(c.App.Writer, muteLine(m, time.Now())); err != nil {
			return err
		}
	}
	return err
}

// muteLine is a mute for people.
func muteLine(m mute.Mute, now time.Time) string {
	end := "ends when it is well or worse"
	if m.Sticky {
		end = "sticky"
	}
	return fmt.Sprintf("muted: %s (%s), for %s more, %s; by %s: %s\n", m.Path, m.State, terminal.Seconds(max(m.Until.Sub(now), 0).Seconds()), end, m.By, m.Reason)
}

func unmuteCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "unmute",
		Usage:     "let something that was muted count again",
		ArgsUsage: "PATH",
		Description: `Ends a mute before its time. healthhub mute --list says what is muted.

   healthhub unmute page
   healthhub unmute vm1/web.shop.vm1 --host https://genesis.internal:8444`,
	}, writing, 1, 1, func(c *cli.Context, arguments []string) error {
		s, err := newWriter(c)
		if err != nil {
			return err
		}
		path := arguments[0]
		// A mute is ended by its whole path, which people may shorten.
		if root, _, err := s.tree(c.Context); err == nil {
			if chain, err := root.Find(path); err == nil {
				path = health.Path(chain)
			}
		}
		_, err = s.ask(c.Context, http.MethodDelete, "/v1/mutes?"+url.Values{"path": {path}}.Encode(), nil)
		if refused, ok := errors.AsType[*refusedError](err); ok && refused.status == http.StatusNotFound {
			return fmt.Errorf("%s is not muted; healthhub mute --list says what is", path)
		}
		if err != nil {
			return fmt.Errorf("unmuting %s: %w", path, err)
		}
		_, err = fmt.Fprintf(c.App.Writer, "%s counts again\n", path)
		return err
	})
}

// whoAsks is who sits before the terminal, as far as this container knows.
func whoAsks() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}
