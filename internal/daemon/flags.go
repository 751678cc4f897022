// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"errors"
	"flag"
	"io"
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
	return cli.NewContext(c.App, set, c), arguments, nil
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
