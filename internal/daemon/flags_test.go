// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/hubfile"
)

// Flags stand before and behind arguments, under any of their names; what there is too much or too little of is wrong usage.
func TestWithArguments(t *testing.T) {
	for args, want := range map[string]string{
		"look a --last 3":          "[a] 3 []",
		"look -n 3 a b":            "[a b] 3 []",
		"look --each x a --each y": "[a] 0 [x y]",
		"look --last 3 -n=4":       "usage: app look FILE… [FILE]; --help says more",
		"look a b c":               "usage: app look FILE… [FILE]; --help says more",
		"look - --":                "[-] 0",
		"look a --nothing":         "unknown flag --nothing",
	} {
		var out bytes.Buffer
		flags := func() []cli.Flag {
			return []cli.Flag{&cli.IntFlag{Name: "last", Aliases: []string{"n"}}, &cli.GenericFlag{Name: "each", Value: new(Repeated)}}
		}
		app := New("app", "tries", func() []hubfile.Section { return nil },
			WithArguments(cli.Command{Name: "look", ArgsUsage: "FILE… [FILE]"}, flags, 1, 2, nil, func(c *cli.Context, arguments []string) error {
				fmt.Fprintf(&out, "%v %d %v", arguments, c.Int("last"), c.Generic("each").(*Repeated).Values)
				return nil
			}))
		app.Writer, app.ErrWriter = &out, &out
		code := run(context.Background(), app, append([]string{"app"}, strings.Fields(args)...))
		if !strings.Contains(out.String(), want) || (code != ExitDone) != !strings.HasPrefix(want, "[") || code != ExitDone && code != ExitUsage {
			t.Errorf("%s: %d %s, want %s", args, code, out.String(), want)
		}
	}
}
