// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
)

func reportCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "report",
		Usage:     "report a push check of this container, as of a backup",
		ArgsUsage: "NAME pass|warn|fail [TEXT]  or  NAME --remove",
		Description: `The check is what the report says until its time to live is over; then it fails, since nobody reported again. A check that
the settings do not declare is made as a degrading one. Checks that healthhub looks at itself cannot be set.

   healthhub report backup pass --ttl 26h "3 GiB in 4 min"
   restic check 2>&1 | healthhub report backup fail -
   healthhub report backup --remove

TEXT is - for what comes on stdin; of both the first 4 KiB count, made one line.`,
	}, reportFlags, 1, -1, reportAction)
}

func reportFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "ttl", Usage: "how long the report counts, at least 1s; without it what the check's settings say, else 5m", DefaultText: "5m"},
		&cli.BoolFlag{Name: "remove", Usage: "take the check away, if the settings do not declare it: nobody will report on it any more"},
	}
}

func reportAction(c *cli.Context, arguments []string) error {
	s := ownServer()
	remove := c.Bool("remove")
	switch {
	case remove && (len(arguments) > 1 || c.IsSet("ttl")):
		return daemon.Usage(errors.New("--remove goes with a name alone"))
	case remove:
		if _, err := s.ask(c.Context, http.MethodDelete, "/v1/report?name="+url.QueryEscape(arguments[0]), nil); err != nil {
			return fmt.Errorf("removing a check: %w", err)
		}
		return nil
	case len(arguments) < 2:
		return daemon.Usage(errors.New("usage: healthhub report NAME pass|warn|fail [TEXT]; --help says more"))
	}
	push, err := newReport(c, arguments)
	if err != nil {
		return daemon.Usage(err)
	}
	if len(arguments) == 3 && push.Text == "-" {
		if push.Text, err = readText(c.App.Reader); err != nil {
			return fmt.Errorf("reading the text of %s: %w", push.Name, err)
		}
	}
	if _, err := s.ask(c.Context, http.MethodPost, "/v1/report", push); err != nil {
		return fmt.Errorf("reporting %s: %w", push.Name, err)
	}
	return nil
}

// newReport is the report that the command line asks for.
func newReport(c *cli.Context, arguments []string) (agent.Push, error) {
	push := agent.Push{Name: arguments[0], Text: health.CleanText(strings.Join(arguments[2:], " "))}
	if err := health.CheckName(health.KindCheck, push.Name); err != nil {
		return agent.Push{}, err
	}
	state, err := health.ParseState(arguments[1])
	if err != nil || state == health.Starting || state == health.Unknown {
		return agent.Push{}, fmt.Errorf("state must be pass, warn or fail, got %q", arguments[1])
	}
	push.State = state
	if ttl := c.Duration("ttl"); c.IsSet("ttl") {
		if ttl < time.Second {
			return agent.Push{}, errors.New("--ttl must be at least 1s, as in 26h")
		}
		push.TTL = ttl.String()
	}
	return push, nil
}

// readText reads all of a stream, so that who writes it is not cut off, and returns its beginning as a text.
func readText(r io.Reader) (string, error) {
	head, err := io.ReadAll(io.LimitReader(r, 2*health.MaxTextBytes))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return health.CleanText(string(head)), err
}
