// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
)

// statusCommand is `confighub status`.
func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show identity and configuration of this container",
		Description: `Reads config.json and identity.json in the run directory; it asks nobody. It says which version is in place, which
waits and what for, which was refused or taken back and why, what is held, whether the source is signed, what somebody
changed in the targets by hand, and what the service has not taken up. Exit codes: 0 done, 1 confighub is not running
here or its state is old, 2 usage.`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print the two files as one object"}},
		Action: func(c *cli.Context) error { return showStatus(c.App.Writer, initctl.RunDir(), c.Bool("json")) },
	}
}

func showStatus(w io.Writer, runDir string, asJSON bool) error {
	file, err := health.ReadFile(runDir, health.ConfigFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("confighub does not run here: there is no %s/config.json", runDir)
	}
	if err != nil {
		return err
	}
	who, err := identity.ReadStatus(runDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if asJSON {
		err = printJSON(w, map[string]any{"health": file.Health, "config": file.Section, "identity": who, "stale": file.Stale()})
	} else {
		err = writeStatus(w, file, who)
	}
	if err == nil && file.Stale() {
		err = fmt.Errorf("confighub is not running: its state is of %s", file.WrittenAt.Local().Format(time.DateTime))
	}
	return err
}

func writeStatus(w io.Writer, file *health.File, who identity.Status) error {
	var s section
	if len(file.Section) > 0 {
		if err := json.Unmarshal(file.Section, &s); err != nil {
			return fmt.Errorf("reading config.json: %w", err)
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		lines := strings.Split(fmt.Sprintf(format, args...), "\n")
		fmt.Fprintf(t, "%s\t%s\n", name, lines[0])
		for _, line := range lines[1:] {
			fmt.Fprintf(t, "\t%s\n", line)
		}
	}
	row("health", "%s  %s", file.Health.State, file.Health.Text)
	row("identity", "%s", identityLine(who))
	if who.Error != "" {
		row("", "%s", who.Error)
	}
	switch {
	case s.Recipient != "":
		row("recipient", "%s", s.Recipient)
	case s.RecipientError != "":
		row("recipient", "none: %s", s.RecipientError)
	}
	row("source", "%s", sourceLine(s))
	switch {
	case s.Applied == nil:
		row("applied", "nothing")
	default:
		row("applied", "%s", appliedLine(s))
	}
	if s.Hold != nil {
		row("hold", "%s", holdText(s.Hold))
	}
	if s.Pending != nil {
		why := s.Pending.Error
		switch {
		case s.Pending.Held:
			why = "held, confighub resume takes it"
		case why == "":
			why = "is being put in place: checked, swapped, and watched for config.settle"
		}
		row("pending", "%s", s.Pending.Version.String()+": "+why)
	}
	if s.Source.Refused != "" {
		row("refused", "%s", s.Source.Refused)
	}
	if s.Accepted != nil {
		row("accepted", "%s, and not yet taken", s.Accepted)
	}
	if s.Rejected != nil {
		row("rejected", "%s at %s (%s)\n%s", s.Rejected.Version, s.Rejected.At.Local().Format(time.DateTime), s.Rejected.State, strings.Join(s.Rejected.Errors, "\n"))
	}
	if s.Owed != nil {
		row("owed", "%s", s.Owed.text())
	}
	if s.Drift != nil {
		row("drift", "%s", strings.Join(append([]string{s.Drift.summary()}, s.Drift.lines()...), "\n"))
	}
	if len(s.Targets) > 0 {
		row("targets", "%s", strings.Join(s.Targets, "\n"))
	}
	if s.Settings != "" {
		row("settings", "wrong, the last good ones are used:\n%s", s.Settings)
	}
	return t.Flush()
}

func identityLine(who identity.Status) string {
	if who.State == "" {
		return "unknown"
	}
	line := who.State
	if who.ID != "" {
		line += "  " + who.ID
	}
	if !who.NotAfter.IsZero() {
		line += "  until " + who.NotAfter.Local().Format(time.DateTime)
	}
	return line
}

func sourceLine(s section) string {
	line := s.Source.Address
	switch {
	case line == "":
		return "none: identity alone"
	case s.Source.Unsigned:
		line += "  unsigned"
	case s.Source.SignedBy != "":
		line += "  signed by " + s.Source.SignedBy
	}
	switch {
	case s.Source.Reached:
		return line + "  answers"
	case s.Source.Error != "":
		return line + "  " + s.Source.Error
	}
	return line + "  not asked yet"
}

func appliedLine(s section) string {
	line := s.Applied.Version.String()
	if s.Applied.Revision != "" {
		line += "  revision " + s.Applied.Revision
	}
	line += "  at " + s.Applied.At.Local().Format(time.DateTime)
	if s.Trial {
		line += "  on trial"
	}
	if s.Stale {
		line += "  stale"
	}
	return line
}
