// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Interspersed parses flags wherever they stand, which the library's own parser does not allow, for a command with
// SkipFlagParsing. It returns a context that holds them, and the arguments; a single - is an argument. done is
// true when help was asked for and shown. The error is one of usage.
func Interspersed(c *cli.Context, flags []cli.Flag) (with *cli.Context, arguments []string, done bool, err error) {
	with, arguments, err = interspersed(c, flags)
	if errors.Is(err, flag.ErrHelp) {
		return nil, nil, true, cli.ShowSubcommandHelp(c)
	}
	return with, arguments, false, FlagError(err)
}

func interspersed(c *cli.Context, flags []cli.Flag) (*cli.Context, []string, error) {
	set := flag.NewFlagSet(c.Command.Name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range flags {
		if err := f.Apply(set); err != nil {
			return nil, nil, err
		}
	}
	var arguments []string
	for rest := c.Args().Slice(); len(rest) > 0; {
		if err := set.Parse(rest); err != nil {
			return nil, nil, err
		}
		if rest = set.Args(); len(rest) > 0 {
			arguments, rest = append(arguments, rest[0]), rest[1:]
		}
	}
	if err := sameByAnyName(set, flags); err != nil {
		return nil, nil, err
	}
	return cli.NewContext(c.App, set, c), arguments, nil
}

// sameByAnyName gives a flag its value under all its names, whichever was used; but one that may be given several times, whose
// value cannot be set anew.
func sameByAnyName(set *flag.FlagSet, flags []cli.Flag) (err error) {
	used := map[string]string{}
	set.Visit(func(f *flag.Flag) { used[f.Name] = f.Value.String() })
	for _, f := range flags {
		if _, generic := f.(*cli.GenericFlag); generic {
			continue
		}
		for _, name := range f.Names() {
			value, ok := used[name]
			for _, other := range f.Names() {
				if ok && other != name {
					err = errors.Join(err, set.Set(other, value))
				}
			}
		}
	}
	return err
}

// WithArguments makes a command whose flags may stand before and behind its arguments, of which it takes least to most; -1: any
// number. flags makes them anew for each use. complete prints what the shell completes arguments with; nil: names of files.
func WithArguments(command cli.Command, flags func() []cli.Flag, least, most int, complete cli.BashCompleteFunc,
	action func(c *cli.Context, arguments []string) error) *cli.Command {
	command.Flags = flags()
	command.SkipFlagParsing = true
	command.Action = func(c *cli.Context) error {
		with, arguments, done, err := Interspersed(c, flags())
		if done || err != nil {
			return err
		}
		if len(arguments) < least || most >= 0 && len(arguments) > most {
			return Usage(fmt.Errorf("usage: %s %s %s; --help says more", c.App.Name, command.Name, command.ArgsUsage))
		}
		return action(with, arguments)
	}
	command.BashComplete = func(c *cli.Context) {
		word := os.Args[max(len(os.Args)-2, 0)] // the last one, before the library's own
		whole := slices.ContainsFunc(command.Flags, func(f cli.Flag) bool { return "--"+f.Names()[0] == word })
		if strings.HasPrefix(word, "-") && !whole {
			cli.DefaultCompleteWithFlags(&command)(c)
			return
		}
		if complete != nil {
			complete(c)
		}
	}
	return &command
}

// Repeated is the value of a flag that may be given several times. The library's own would split values at commas.
type Repeated struct{ Values []string }

// Set adds a value.
func (r *Repeated) Set(value string) error {
	r.Values = append(r.Values, value)
	return nil
}

// String gives the values with blanks between.
func (r *Repeated) String() string { return strings.Join(r.Values, " ") }
