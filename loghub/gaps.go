// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/loghub/internal/receive"
	"github.com/urfave/cli/v2"
)

func gapsCommand() *cli.Command {
	return &cli.Command{
		Name:      "gaps",
		Usage:     "say what is missing in the files of loghub receive; 1 if nothing explains it",
		ArgsUsage: "DIR|FILE…",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "one JSON object a line"}},
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return daemon.Usage(fmt.Errorf("gaps: name the directory of loghub receive, or files of it"))
			}
			var g receive.Gaps
			for _, path := range c.Args().Slice() {
				if err := g.Read(path); err != nil {
					return err
				}
			}
			if g.Files == 0 {
				return fmt.Errorf("no files of loghub receive in %s: they end in .jsonl, .jsonl.1 or .jsonl.1.gz", strings.Join(c.Args().Slice(), ", "))
			}
			all := g.All()
			write := writeGaps
			if c.Bool("json") {
				write = writeGapsJSON
			}
			if err := write(c.App.Writer, all); err != nil {
				return err
			}
			if n := receive.Unexplained(all); n > 0 {
				return fmt.Errorf("%d records are missing, and no loss record tells of them", n)
			}
			return nil
		},
	}
}

func writeGaps(w io.Writer, all []receive.Gap) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PEER\tINSTANCE\tSOURCE\tOF\tFROM\tTO\tRECORDS\tDUPLICATES\tCOMPLETE TO\tMISSING\tTOLD\tWHICH")
	for _, g := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", strings.TrimPrefix(g.Peer, "spiffe://"), g.Instance, g.Source, cmp.Or(health.CleanText(g.Of), "-"),
			g.From, g.To, g.Records, g.Duplicates, g.Complete, g.Missing, g.Told, strings.Join(g.Stretches, " "))
	}
	return t.Flush()
}

func writeGapsJSON(w io.Writer, all []receive.Gap) error {
	e := json.NewEncoder(w)
	for _, g := range all {
		if err := e.Encode(g); err != nil {
			return err
		}
	}
	return nil
}
