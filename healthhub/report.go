// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

const reportUsage = "usage: healthhub report NAME pass|warn|fail [--ttl 5m] [TEXT]"

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:      "report",
		Usage:     "report a push check of this container",
		ArgsUsage: "NAME pass|warn|fail [--ttl 5m] [TEXT]",
		Description: "The check is what the report says until its time to live is over; then it fails, since nobody reported again. A check that\n" +
			"the settings do not declare is made as a degrading one. Checks that healthhub looks at itself cannot be set.\n\n" +
			"   healthhub report backup pass --ttl 26h \"3 GiB in 4 min\"",
		// The text may come before or after --ttl, which the library's own parser does not allow.
		SkipFlagParsing: true,
		Action:          reportAction,
	}
}

func reportAction(c *cli.Context) error {
	push, err := parseReport(c.Args().Slice())
	if err == flag.ErrHelp {
		return cli.ShowSubcommandHelp(c)
	}
	if err != nil {
		return daemon.Usage(err)
	}
	body, err := json.Marshal(push)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://healthhub/v1/report", bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := agent.Client(initctl.RunDir()).Do(req)
	if err != nil {
		return fmt.Errorf("reporting %s: healthhub does not answer on %s/%s: %w", push.Name, initctl.RunDir(), agent.Socket, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // a reason cut short is still one
		return fmt.Errorf("reporting %s: %s", push.Name, strings.TrimSpace(string(why)))
	}
	return nil
}

// parseReport reads the arguments, flags and words in any order.
func parseReport(args []string) (agent.Push, error) {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	ttl := flags.Duration("ttl", 0, "")
	var words []string
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			if err == flag.ErrHelp {
				return agent.Push{}, err
			}
			return agent.Push{}, fmt.Errorf("%w; %s", err, reportUsage)
		}
		if args = flags.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	if len(words) < 2 {
		return agent.Push{}, fmt.Errorf("name and state are needed; %s", reportUsage)
	}
	push := agent.Push{Name: words[0], Text: strings.Join(words[2:], " ")}
	if err := health.CheckName(health.KindCheck, push.Name); err != nil {
		return agent.Push{}, err
	}
	state, err := health.ParseState(words[1])
	if err != nil || state == health.Starting || state == health.Unknown {
		return agent.Push{}, fmt.Errorf("state must be pass, warn or fail, got %q", words[1])
	}
	push.State = state
	if *ttl != 0 {
		push.TTL = ttl.String()
	}
	return push, nil
}
