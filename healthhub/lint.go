// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/healthhub/internal/lint"
	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/terminal"
)

func lintCommand() *cli.Command {
	return &cli.Command{
		Name:  "lint",
		Usage: "find what is likely wrong with the checks of this container, and what they cost",
		Description: `Takes each look of the settings once, for real and one after the other, and shows what came of it, how long it took, what it used of a
processor and how many processes it started (at most: what else starts in the container meanwhile counts). Run it in the
container, beside its healthhub, which it leaves alone.

   docker exec web healthhub lint

It finds timeouts above the interval, looks that take long or much, more looks than can be taken at one time, Nagios plugins whose
warning would be a failure, checks that pass whatever happens, by a redirection or with any certificate, live checks of what is elsewhere, ports on
which the service listens and nothing looks, what cannot be looked at here, and that nothing is looked at, or nothing critical.

Exit code: 0 no error, 1 errors, with --strict anything, 2 the settings cannot be read: healthhub --check says all of that.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print looks and findings as JSON"},
			&cli.BoolFlag{Name: "strict", Usage: "end with 1 for warnings too"},
		},
		Action: lintAction,
	}
}

func lintAction(c *cli.Context) error {
	s, sections := newSettings()
	if _, err := daemon.Settings(c, daemon.Logger(c.App.Name, c.App.ErrWriter), sections...); err != nil {
		return err
	}
	runDir := initctl.RunDir()
	container := lint.Container{
		Checks: s.health.Checks, Place: probe.Place{RunDir: runDir, Files: identity.Open(identity.Dir())}, Own: ownNames(s.identity),
	}
	if _, err := initctl.ReadState(runDir); err == nil && len(container.Checks) == 0 {
		container.Checks = agent.DefaultChecks()
	}
	container.Ports, _ = probe.Listening(runDir) // where nobody can see them, nothing is said of them
	progress := terminal.Of(os.Stderr)
	report, err := lint.Run(c.Context, container, func(check string) {
		if progress.File != nil {
			io.WriteString(progress.File, "\r"+check+" …"+terminal.RestOfLine) // progress that cannot be shown is none
		}
	})
	if progress.File != nil {
		io.WriteString(progress.File, "\r"+terminal.RestOfLine)
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = printJSON(c.App.Writer, report)
	} else {
		err = writeReport(c.App.Writer, report)
	}
	if err == nil && (report.Errors() > 0 || c.Bool("strict") && len(report.Findings) > 0) {
		err = daemon.ErrSaid
	}
	return err
}

// ownNames are those under which this container may be reached from inside.
func ownNames(s identity.Settings) (names []string) {
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	if id, err := s.ID(identity.Slot()); err == nil {
		names = append(names, id.DNSNames()...)
	}
	addresses, _ := net.InterfaceAddrs() // none: the loopback is known all the same
	for _, a := range addresses {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil {
			names = append(names, ip.String())
		}
	}
	return names
}

func writeReport(out io.Writer, report lint.Report) error {
	term := terminal.Of(out)
	width, _ := term.Size()
	var b strings.Builder
	if len(report.Looks) > 0 {
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "CHECK\tKIND\tEVERY\tSTATE\tTOOK\tCPU\tPROCESSES\tWHAT WAS SEEN")
		for _, l := range report.Looks {
			fmt.Fprintln(t, strings.Join(lookCells(l), "\t"))
		}
		t.Flush() // to memory
	}
	var table strings.Builder
	for line := range strings.Lines(b.String()) {
		table.WriteString(terminal.Cut(strings.TrimRight(line, " \n"), width) + "\n")
	}
	b.Reset()
	for _, f := range report.Findings {
		where := unless(f.Check == "", f.Check+": ")
		state := map[string]health.State{lint.Error: health.Fail, lint.Warning: health.Warn}[f.Level]
		for i, line := range terminal.Wrap(f.Level+": "+where+f.Text, width) {
			if i == 0 {
				line = term.PaintState(state, f.Level) + strings.TrimPrefix(line, f.Level)
			}
			b.WriteString(line + "\n")
		}
		for i, line := range terminal.Wrap(f.Action, max(width-5, 0)) {
			b.WriteString([]string{"   → ", "     "}[min(i, 1)] + line + "\n")
		}
	}
	errs := report.Errors()
	fmt.Fprintf(&b, "errors: %d, warnings: %d\n", errs, len(report.Findings)-errs)
	if len(report.Looks) > 0 {
		table.WriteString("\n")
	}
	_, err := io.WriteString(out, table.String()+b.String())
	return err
}

func lookCells(l lint.Look) []string {
	if l.Interval == 0 {
		return []string{l.Check, l.Kind, "-", "-", "-", "-", "-", l.Text}
	}
	started := strconv.Itoa(l.Started)
	if l.Started < 0 {
		started = "?"
	}
	return []string{l.Check, l.Kind, terminal.Seconds(l.Interval), l.State.String(), terminal.Seconds(l.Took), terminal.Seconds(l.CPU), started, l.Text}
}
