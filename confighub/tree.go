// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// treeCommand is `confighub tree`.
func treeCommand() *cli.Command {
	return &cli.Command{
		Name:      "tree",
		Usage:     "show what a container gets of a configuration tree, and from which layer each part comes",
		ArgsUsage: "IDENTITY",
		Description: `IDENTITY is the container's name in the tree: web.shop.vm1. Layers stand in the order in which they are laid over each
other; OVER is what a value, target or template prevailed over. Sealed values are shown as "sealed". A container that is
not placed is shown as it would be, with the line that places it.

   confighub tree web.shop.vm1 --root ./tree
   confighub tree web.shop.vm1 --root /srv/git/fleet.git --ref main --json`,
		Flags:           treeFlags(),
		SkipFlagParsing: true, // flags may stand behind the argument, which the library's parser does not know
		Action:          runTree,
	}
}

func treeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "root", Usage: "`DIR` that holds the tree, or with --ref the git repository", Value: "."},
		&cli.StringFlag{Name: "ref", Usage: "`BRANCH` or tag of the git repository to read the tree from"},
		&cli.BoolFlag{Name: "json", Usage: "print it as an object"},
	}
}

func runTree(c *cli.Context) error {
	flags, arguments, done, err := daemon.Interspersed(c, treeFlags())
	if done || err != nil {
		return err
	}
	if len(arguments) != 1 {
		return daemon.Usage(errors.New("give the name of one container: web.shop.vm1"))
	}
	if id, err := spiffe.ParseBundleName(identity.DefaultTrustDomain, arguments[0]); err != nil || id.Role != spiffe.Container {
		return daemon.Usage(fmt.Errorf("%q is not the name of a container: <service>.<stack>.<host>, such as web.shop.vm1", arguments[0]))
	}
	read, err := readTree(c.Context, flags.String("root"), flags.String("ref"))
	if err != nil {
		return err
	}
	view, err := read.View(arguments[0])
	if err != nil {
		return err
	}
	if flags.Bool("json") {
		return printJSON(c.App.Writer, view)
	}
	return printView(c.App.Writer, view)
}

// readTree reads the tree of --root and --ref once.
func readTree(ctx context.Context, path, ref string) (*tree.Tree, error) {
	root, err := tree.Open(path, ref)
	if err != nil {
		return nil, err
	}
	read, err := root.Read(ctx)
	if errors.Is(err, tree.ErrChanging) {
		return nil, fmt.Errorf("%w: try again", err)
	}
	return read, err
}

// printView writes the tables, which share no columns but the first one's left edge.
func printView(w io.Writer, v *tree.View) error {
	placed := "placed"
	if !v.Placed {
		placed = "not placed, so that it is refused: " + v.Remedy
	}
	if _, err := fmt.Fprintf(w, "%s  revision %s  %s\n", v.Identity, v.Revision, placed); err != nil {
		return err
	}
	layers := [][]string{{"LAYER", "HOLDS"}}
	for _, layer := range v.Layers {
		layers = append(layers, []string{layer.Dir, layer.Holds})
	}
	targets := [][]string{{"TARGET", "FROM", "OVER", "DECLARED", "OVER"}}
	for _, t := range v.Targets {
		from := t.Template
		if t.Identity != "" {
			from = "identity " + t.Identity
		}
		targets = append(targets, []string{t.Name, from, strings.Join(t.Hidden, ", "), t.From, strings.Join(t.Replaced, ", ")})
	}
	partials := [][]string{{"PARTIAL", "FROM", "OVER"}}
	for _, p := range v.Partials {
		partials = append(partials, []string{p.Name, p.From, strings.Join(p.Replaced, ", ")})
	}
	data := [][]string{{"DATA", "VALUE", "FROM", "OVER"}}
	for _, value := range v.Data {
		data = append(data, []string{value.Name, shortValue(value), value.From, strings.Join(value.Replaced, ", ")})
	}
	for _, rows := range [][][]string{layers, targets, partials, data} {
		if err := printRows(w, rows); err != nil {
			return err
		}
	}
	return nil
}

// printRows writes a table after an empty line; one of a header alone is left out.
func printRows(w io.Writer, rows [][]string) error {
	if len(rows) == 1 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = strings.Map(showable, dash(cell))
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// maxShown is how many characters of a value a table holds.
const maxShown = 60

// shortValue is a value as JSON on one line, its end cut off when it is long.
func shortValue(v tree.ValueView) string {
	if v.Sealed {
		return "sealed"
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v.Value); err != nil {
		return err.Error()
	}
	line := []rune(strings.TrimSpace(text.String()))
	if len(line) > maxShown {
		return string(line[:maxShown-1]) + "…"
	}
	return string(line)
}

// showable keeps what a tree holds from writing control sequences to a terminal.
func showable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '\uFFFD'
}
