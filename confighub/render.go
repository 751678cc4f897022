// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/daemon"
)

// renderCommand is `confighub render`.
func renderCommand() *cli.Command {
	return &cli.Command{
		Name:      "render",
		Usage:     "render a template, or all of a bundle",
		ArgsUsage: "TEMPLATE|BUNDLE_DIR|-",
		Description: `By the same code as in the container. Of a bundle every target is printed behind a line "==> path <==", and
an object secrets or env in the data stands in for the container's own. - is the standard input, as
the template or as a file of data.

   confighub render nginx.conf.mustache --data site.json --set port=8080 --escape nginx
   confighub render ./bundle --as web.shop.vm1 --set secrets.db_password=x

-o writes each file whole or not at all: a bundle's targets below a directory, at their full paths and with their
modes, and what env targets say to the file environment there. A template's file keeps its mode.

--diff writes nothing and prints what -o would change; for a bundle without -o, what would change of the targets
of this machine. Secrets are shown as ***. Exit codes are those of diff(1): 0 nothing differs, 1 something does,
2 trouble.

--check runs the checks of a bundle's targets on copies of them, by the actions of the settings (--config), and
says which targets these do not allow.`,
		Flags:           renderFlags(),
		SkipFlagParsing: true, // flags may stand behind the argument, which the library's parser does not know
		Action:          runRender,
	}
}

func renderFlags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "data", Value: &daemon.Repeated{}, Usage: "JSON `FILE` of data; later ones are merged over earlier ones (RFC 7396)"},
		&cli.GenericFlag{Name: "set", Value: &daemon.Repeated{}, Usage: "`PATH=VALUE` over the data: a dotted path, a value of JSON or else a string"},
		&cli.StringFlag{Name: "partials", Usage: "`DIR` of partials (default: the template's directory)"},
		&cli.StringFlag{Name: "escape", Usage: "`FORMAT` to escape for: " + strings.Join(bundle.Formats(), " ") + " (default: by the extension, else none)"},
		&cli.StringFlag{Name: "missing", Usage: "what a missing variable or partial is: `error|empty`", Value: "error"},
		&cli.StringFlag{Name: "as", Usage: "`NAME` of the container a bundle is rendered for: web.shop.vm1"},
		&cli.StringFlag{Name: "seal-key", Usage: "`FILE` of the key that opens what is sealed in the data; --set PATH=VALUE puts another value in its place"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE|DIR` to write to instead of stdout"},
		&cli.BoolFlag{Name: "diff", Usage: "print what would change there, and write nothing"},
		&cli.BoolFlag{Name: "check", Usage: "run the checks of a bundle's targets first"},
	}
}

// output says where what was rendered goes.
type output struct {
	// to is a file or directory; "" is stdout.
	to string
	// diff prints what would change instead.
	diff bool
}

func runRender(c *cli.Context) error {
	flags, arguments, done, err := daemon.Interspersed(c, renderFlags())
	if done || err != nil {
		return err
	}
	o := output{to: firstOf(flags.String("output"), flags.String("o")), diff: flags.Bool("diff")}
	if err := checkRenderFlags(flags, arguments); err != nil {
		return daemon.Usage(err)
	}
	err = renderGiven(c, flags, arguments[0], o)
	if o.diff && err != nil && !errors.Is(err, daemon.ErrSaid) {
		return daemon.Usage(err) // as diff(1): 1 is "differs"
	}
	return err
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// checkRenderFlags says what on the command line cannot be.
func checkRenderFlags(flags *cli.Context, arguments []string) error {
	if len(arguments) != 1 {
		return errors.New("give one template, or the directory of a bundle")
	}
	if missing := flags.String("missing"); missing != "error" && missing != "empty" {
		return fmt.Errorf("--missing: must be error or empty, got %q", missing)
	}
	if format := flags.String("escape"); format != "" && !slices.Contains(bundle.Formats(), format) {
		return fmt.Errorf("--escape: must be one of %s, got %q", strings.Join(bundle.Formats(), " "), format)
	}
	inputs := append(slices.Clone(flags.Generic("data").(*daemon.Repeated).Values), arguments[0])
	if inputs = slices.DeleteFunc(inputs, func(name string) bool { return name != fromStdin }); len(inputs) > 1 {
		return errors.New("- stands twice: the standard input can be read once")
	}
	return nil
}

// renderGiven renders the template or the bundle that was named.
func renderGiven(c, flags *cli.Context, name string, o output) error {
	data, err := givenData(c.App.Reader, flags.Generic("data").(*daemon.Repeated).Values, flags.Generic("set").(*daemon.Repeated).Values)
	if err != nil {
		return err
	}
	if name != fromStdin {
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return err
		case info.IsDir():
			object, ok := data.(map[string]any)
			if !ok {
				return errors.New("--data: a bundle's data is a JSON object")
			}
			return renderBundle(c, flags, name, object, o)
		}
	}
	switch {
	case flags.Bool("check"):
		return daemon.Usage(errors.New("--check: checks are a bundle's: give the directory of one"))
	case o.diff && o.to == "":
		return daemon.Usage(errors.New("--diff: say what to compare with: -o FILE"))
	}
	return renderTemplate(c, flags, name, data, o)
}

// partialsOf is the directory of a template's partials.
func partialsOf(flags *cli.Context, name string) string {
	if dir := flags.String("partials"); dir != "" {
		return dir
	}
	return filepath.Dir(name) // of "-" it is where we are
}
