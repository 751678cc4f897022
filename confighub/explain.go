// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/explain"
	"cloud4.internal/hub/internal/daemon"
)

// explainCommand is `confighub explain`.
func explainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Usage:     "say where the lines of a target come from",
		ArgsUsage: "TARGET[:LINE]",
		Description: `Which line of which template wrote it, within which sections and partials, which value of the data is in it,
and which layer of the tree that value is of. Without a line the whole target is printed, each line behind
its place. Secrets are shown as ***.

In a container it explains the version in place; elsewhere a bundle's directory, or what a tree has for one
container. What only the container has, secrets and environment, is then made up.

   confighub explain /etc/nginx/nginx.conf:12
   confighub explain --root ./tree --as web.shop.vm1 /etc/nginx/nginx.conf`,
		Flags:           explainFlags(),
		SkipFlagParsing: true, // flags may stand behind the argument, which the library's parser does not know
		Action:          runExplain,
	}
}

func explainFlags() []cli.Flag {
	return append(bundleFlags(), &cli.BoolFlag{Name: "json", Usage: "print lines and parts as an object"})
}

func runExplain(c *cli.Context) error {
	flags, arguments, done, err := daemon.Interspersed(c, explainFlags())
	if done || err != nil {
		return err
	}
	if len(arguments) != 1 {
		return daemon.Usage(errors.New("give one target, with or without the number of a line: /etc/nginx/nginx.conf:12"))
	}
	b, in, err := givenBundle(c, flags)
	if err != nil {
		return err
	}
	name, number := arguments[0], 0
	if _, ok := b.Manifest.Targets[name]; !ok {
		name, number = explain.Split(name)
	}
	explained, err := explain.Target(b, in, name)
	if err != nil {
		return err
	}
	switch {
	case flags.Bool("json"):
		if number > 0 {
			if explained.Lines, err = explained.Only(number); err != nil {
				return err
			}
		}
		return printJSON(c.App.Writer, explained)
	case number > 0:
		return explained.WriteLine(c.App.Writer, number)
	}
	if len(explained.Lines) == 0 {
		_, err = fmt.Fprintln(c.App.ErrWriter, name+" is empty")
		return err
	}
	return explained.Write(c.App.Writer)
}
