// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

func chaosCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "chaos",
		Usage:     "make a check say something else for a while, to prove that it is noticed",
		ArgsUsage: "CHECK warn|unknown|fail [--for 2m]",
		Description: `Forces the state of a check of this container, so that dashboards, reports and alerts can be seen to work before they are needed. Nothing
else happens: the service is left alone, and is not restarted for it. The forced state is marked as such wherever it is shown, and ends by
itself, with healthhub's restart at the latest.

   healthhub chaos page fail --for 2m
   healthhub wait --for fail page
   healthhub chaos page --end
   healthhub chaos --list

For root and the user that healthhub runs as.`,
	}, chaosFlags, 0, 2, chaosAction)
}

func chaosFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "for", Value: 2 * time.Minute, Usage: "how long, at most 1h"},
		&cli.BoolFlag{Name: "end", Usage: "end it now"},
		&cli.BoolFlag{Name: "list", Usage: "show what is forced"},
	}
}

func chaosAction(c *cli.Context, arguments []string) error {
	s := ownServer()
	switch {
	case c.Bool("list") || len(arguments) == 0 && !c.Bool("end"):
		if len(arguments) > 0 || c.Bool("end") {
			return daemon.Usage(errors.New("--list stands alone"))
		}
		return listForced(c, s)
	case c.Bool("end") && len(arguments) == 1:
		if _, err := s.ask(c.Context, http.MethodDelete, "/v1/chaos?"+url.Values{"check": {arguments[0]}}.Encode(), nil); err != nil {
			return fmt.Errorf("ending chaos: %w", err)
		}
		_, err := fmt.Fprintf(c.App.Writer, "%s says again what it sees\n", arguments[0])
		return err
	case c.Bool("end") || len(arguments) != 2:
		return daemon.Usage(errors.New("usage: healthhub chaos CHECK warn|unknown|fail [--for 2m], or healthhub chaos CHECK --end"))
	}
	state, err := health.ParseState(arguments[1])
	if err != nil || state == health.Pass || state == health.Starting {
		return daemon.Usage(fmt.Errorf("state must be warn, unknown or fail, got %q: nothing can be forced to be well", arguments[1]))
	}
	d := c.Duration("for")
	if _, err := s.ask(c.Context, http.MethodPost, "/v1/chaos", agent.Chaos{Check: arguments[0], State: state, For: d.String()}); err != nil {
		return s.about(c.Context, err, "forcing "+arguments[0])
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s says %s until %s; healthhub chaos %s --end ends it before\n",
		arguments[0], state, time.Now().Add(d).Format(time.TimeOnly), arguments[0])
	return err
}

func listForced(c *cli.Context, s *server) error {
	var list agent.ForcedList
	if _, err := s.get(c.Context, "/v1/chaos", &list); err != nil {
		return err
	}
	if len(list.Forced) == 0 {
		_, err := io.WriteString(c.App.Writer, "nothing is forced\n")
		return err
	}
	for _, f := range list.Forced {
		if _, err := fmt.Fprintf(c.App.Writer, "%s says %s for %s more\n", f.Check, f.State, terminal.Seconds(max(time.Until(f.Until), 0).Seconds())); err != nil {
			return err
		}
	}
	return nil
}
