// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

func probeCommand(verdict *int) *cli.Command {
	return &cli.Command{
		Name:  "probe",
		Usage: "say whether this container is well",
		Description: "Reads <run>/health.json. Exit code 0: pass or warn; 1: starting, unknown, fail, or nothing valid there.\n" +
			"It is what hubinit probe tells Docker, with words. As a Nagios plugin: 0 pass, 1 warn, 2 fail, 3 unknown or starting.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "nagios", Usage: "exit codes and output of a Nagios plugin"},
		},
		Action: func(c *cli.Context) error {
			n := readHealth(initctl.RunDir())
			score := 0
			if n.Score != nil {
				score = *n.Score
			}
			if c.Bool("nagios") {
				words := map[health.State]string{health.Pass: "OK", health.Warn: "WARNING", health.Fail: "CRITICAL"}
				codes := map[health.State]int{health.Pass: 0, health.Warn: 1, health.Fail: 2}
				word, known := words[n.State]
				if *verdict = codes[n.State]; !known {
					word, *verdict = "UNKNOWN", 3
				}
				_, err := fmt.Fprintf(c.App.Writer, "%s - %s%s | score=%d;60:;30:;0;100\n", word, n.Name, colon(n.Text), score)
				return err
			}
			if n.State != health.Pass && n.State != health.Warn {
				*verdict = 1
			}
			_, err := fmt.Fprintf(c.App.Writer, "%v%s\n", n.State, colon(n.Text))
			return err
		},
	}
}

// readHealth is this container's node, unknown where nothing valid says how it is.
func readHealth(runDir string) health.Node {
	f, err := health.ReadFile(runDir, health.HealthFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return health.Node{State: health.Unknown, Name: "container", Text: "healthhub does not run here: " + runDir + "/health.json is missing"}
	case err != nil:
		return health.Node{State: health.Unknown, Name: "container", Text: err.Error()}
	case f.Stale():
		return health.Node{State: health.Unknown, Name: f.Health.Name, Text: "healthhub is silent since " + f.WrittenAt.UTC().Format("2006-01-02 15:04:05 UTC")}
	}
	return f.Health
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
