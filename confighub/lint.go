// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/lint"
	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
	"cloud4.internal/hub/internal/terminal"
)

// lintCommand is `confighub lint`.
func lintCommand() *cli.Command {
	return &cli.Command{
		Name:      "lint",
		Usage:     "find what is likely wrong with a bundle, or with a tree for any of its containers",
		ArgsUsage: "DIR",
		Description: `Looks for data that no template uses, names that stand nowhere in the data, templates that no target needs, raw
tags, values that go unescaped into a file of nginx, secrets in files that others may read, files of known programs
without a check, output that is not of its format, and targets outside of what images allow. With --user, owners that
this user cannot give files to; with --config, the settings file of the image, actions, secrets and variables that it
does not have.

   confighub lint ./tree
   confighub --config image/hub.json lint ./bundle --user 101 --as web.shop.vm1

Each finding is a line: file:line:column: error|warning: what is wrong (what to do). Exit codes: 0 no error,
1 errors, or with --strict anything, 2 usage. --schema prints the JSON Schema of bundle.json, for editors.`,
		Flags:           lintFlags(),
		SkipFlagParsing: true, // flags may stand behind the argument, which the library's parser does not know
		Action:          runLint,
	}
}

func lintFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "ref", Usage: "`BRANCH` or tag, of a git repository that holds a tree"},
		&cli.StringFlag{Name: "as", Usage: "`NAME` of the container a bundle is for: web.shop.vm1", Value: "service.stack.host"},
		&cli.StringFlag{Name: "user", Usage: "`USER` of the image, as its Dockerfile says (default: root)"},
		&cli.BoolFlag{Name: "strict", Usage: "end with 1 for warnings too"},
		&cli.BoolFlag{Name: "json", Usage: "print a list of objects"},
		&cli.BoolFlag{Name: "schema", Usage: "print the JSON Schema of bundle.json, and exit"},
	}
}

func runLint(c *cli.Context) error {
	flags, arguments, done, err := daemon.Interspersed(c, lintFlags())
	if done || err != nil {
		return err
	}
	if flags.Bool("schema") {
		schema, err := bundle.ManifestSchema()
		if err == nil {
			_, err = c.App.Writer.Write(schema)
		}
		return err
	}
	if len(arguments) != 1 {
		return daemon.Usage(errors.New("give the directory of one bundle, or of a tree"))
	}
	options, err := lintOptions(c, flags)
	if err != nil {
		return err
	}
	findings, err := lintGiven(c.Context, arguments[0], flags, options)
	if err != nil {
		return err
	}
	for i := range findings {
		findings[i].File = filepath.Join(arguments[0], findings[i].File)
	}
	if err := writeFindings(c.App.Writer, findings, flags.Bool("json")); err != nil {
		return err
	}
	errs := len(slices.DeleteFunc(slices.Clone(findings), func(f lint.Finding) bool { return f.Level != lint.Error }))
	if len(findings) > 0 {
		fmt.Fprintf(c.App.ErrWriter, "errors: %d, warnings: %d\n", errs, len(findings)-errs)
	}
	if errs > 0 || flags.Bool("strict") && len(findings) > 0 {
		return daemon.ErrSaid
	}
	return nil
}

// lintOptions is what the command line says of the image. Settings count when somebody named them, on the command line:
// those of the machine where a tree is linted are not those of its containers.
func lintOptions(c, flags *cli.Context) (lint.Options, error) {
	o := lint.Options{User: flags.String("user")}
	file := daemon.Source(c).Path
	if !c.IsSet("config") || os.Getenv(initctl.EnvConfig) == file {
		return o, nil
	}
	if _, err := os.Stat(file); err != nil {
		return o, daemon.Usage(fmt.Errorf("--config: %w", err))
	}
	s := new(allSettings)
	if _, err := daemon.Settings(c, daemon.Logger(c.App.Name, c.App.ErrWriter), s.sections()...); err != nil {
		return o, err
	}
	o.Image = &lint.Image{Policy: s.Config.policy(), Secrets: slices.Collect(maps.Keys(s.Config.Secrets)), Env: s.Config.Env}
	return o, nil
}

// lintGiven lints what lies in dir.
func lintGiven(ctx context.Context, dir string, flags *cli.Context, o lint.Options) ([]lint.Finding, error) {
	source := func(file string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, file)) }
	var findings []lint.Finding
	var err error
	switch ref := flags.String("ref"); {
	case ref != "" || holds(dir, "hosts", "services", "stacks", "defaults"):
		var t *tree.Tree
		if t, err = readTree(ctx, dir, ref); err == nil {
			findings, err = lint.Tree(t, o, source)
		}
	case bundle.Present(os.DirFS(dir)):
		id, idErr := spiffe.ParseBundleName(identity.DefaultTrustDomain, flags.String("as"))
		if idErr != nil {
			return nil, daemon.Usage(fmt.Errorf("--as: %w", idErr))
		}
		var b *bundle.Bundle
		if b, err = bundle.Read(os.DirFS(dir)); err == nil {
			findings = lint.One(b, id, o, source)
		}
	default:
		return nil, daemon.Usage(fmt.Errorf("%s holds neither a bundle (bundle.json, templates/, data/) nor a tree (hosts/, services/, stacks/, defaults/)", dir))
	}
	if broken, ok := lint.Broken(err); ok {
		return broken, nil
	}
	return findings, err
}

// holds reports whether one of the names is in dir.
func holds(dir string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
}

func writeFindings(w io.Writer, findings []lint.Finding, asJSON bool) error {
	switch {
	case asJSON:
		if findings == nil {
			findings = []lint.Finding{}
		}
		return printJSON(w, findings)
	case terminal.Of(w).Colour:
		return writeAligned(w, findings)
	}
	for _, f := range findings {
		if _, err := fmt.Fprintln(w, f); err != nil {
			return err
		}
	}
	return nil
}

// writeAligned writes findings in columns and colours.
func writeAligned(w io.Writer, findings []lint.Finding) error {
	const red, yellow, faint, end = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		colour := yellow
		if f.Level == lint.Error {
			colour = red
		}
		fix := ""
		if f.Fix != "" {
			fix = faint + " (" + f.Fix + ")" + end
		}
		fmt.Fprintf(t, "%s\t%s%s%s\t%s%s\n", f.Place, colour, f.Level, end, f.Message, fix)
	}
	return t.Flush()
}
