// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/collect"
	"cloud4.internal/hub/internal/daemon"
)

func forgetCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "forget",
		Usage:     "forget a container or a host that is gone for good",
		ArgsUsage: "NAME --host URL",
		Description: `Where no list says what to expect, serve expects whoever has reported to go on: a container that falls silent stays unknown, a host missing. This
tells it not to. What still reports, or is in the list of what to expect, cannot be forgotten. For operators.

   healthhub forget web.shop.vm1 --host https://vm1.internal:8444
   healthhub forget vm3 --host https://genesis.internal:8444`,
	}, writing, 0, 1, func(c *cli.Context, arguments []string) error {
		if len(arguments) == 0 || c.String("host") == "" {
			return daemon.Usage(errors.New("say whom and where: healthhub forget web.shop.vm1 --host https://vm1.internal:8444"))
		}
		s, err := newWriter(c)
		if err != nil {
			return err
		}
		if _, err := s.ask(c.Context, http.MethodPost, collect.ForgetPath, map[string]string{"path": arguments[0]}); err != nil {
			return fmt.Errorf("forgetting %s: %w", arguments[0], err)
		}
		_, err = fmt.Fprintf(c.App.Writer, "%s is forgotten\n", arguments[0])
		return err
	})
}
