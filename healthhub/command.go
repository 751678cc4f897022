// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
)

// completeLimit is how long somebody who pressed the tab key waits for names.
const completeLimit = 500 * time.Millisecond

// withArguments makes a command with arguments (see daemon.WithArguments), which are completed with the names of what there is.
func withArguments(command cli.Command, flags func() []cli.Flag, least, most int, action func(c *cli.Context, arguments []string) error) *cli.Command {
	return daemon.WithArguments(command, flags, least, most, func(c *cli.Context) { completePaths(c, flags()) }, action)
}

// completePaths prints the names of what the server has that the command line so far would ask. Nobody there: none.
func completePaths(c *cli.Context, flags []cli.Flag) {
	with, _, _, err := daemon.Interspersed(c, flags)
	if err != nil || with == nil {
		return
	}
	ctx, cancel := context.WithTimeout(c.Context, completeLimit)
	defer cancel()
	s, err := newServer(with)
	if err != nil {
		return
	}
	if root, _, err := s.tree(ctx); err == nil {
		for _, child := range root.Children {
			printPaths(c, &child, "")
		}
	}
}

func printPaths(c *cli.Context, n *health.Node, above string) {
	fmt.Fprintln(c.App.Writer, above+n.Name)
	for i := range n.Children {
		printPaths(c, &n.Children[i], above+n.Name+"/")
	}
}

// argument is the one that there may be; "" if there is none.
func argument(arguments []string) string {
	if len(arguments) == 0 {
		return ""
	}
	return arguments[0]
}

// helpForNothing shows who types the name alone what there is, before the error that nothing was asked for.
func helpForNothing(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if !c.Bool("check") && !c.Bool("schema") && !c.Args().Present() {
			if err := cli.ShowAppHelp(c); err != nil {
				return err
			}
		}
		return action(c)
	}
}

// printJSON writes a document for programs, and people who look.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
