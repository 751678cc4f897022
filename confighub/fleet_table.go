// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

// fleetTitles are the heads of the columns; ERROR is last, as it is the longest.
var fleetTitles = []string{"IDENTITY", "INSTANCE", "DESIRED", "APPLIED", "TRIED", "STATE", "SEEN", "CERTIFICATE", "ERROR"}

// stateColumn is that of STATE.
const stateColumn = 5

// fleetRow is a line of the table.
type fleetRow struct {
	identity, instance      string
	desired, applied, tried string
	state                   string
	seen, certificate       string
	err                     string
}

// cells are in the order of fleetTitles.
func (r fleetRow) cells() []string {
	return []string{r.identity, r.instance, r.desired, r.applied, r.tried, r.state, r.seen, r.certificate, r.err}
}

// fleetRows are the lines of the table, one for each replica.
func fleetRows(fleet serve.Fleet, now time.Time) (rows []fleetRow) {
	for _, container := range fleet.Containers {
		row := fleetRow{
			identity: container.Identity, instance: "-", desired: fmt.Sprint(container.Desired.Serial), applied: "-", tried: "-",
			state: serve.StatusUnseen, seen: "-", certificate: "-", err: "-",
		}
		if len(container.Instances) == 0 {
			rows = append(rows, row)
		}
		for _, i := range container.Instances {
			rows = append(rows, rowOf(row, i, now))
		}
	}
	return rows
}

// rowOf fills in what is known of a replica.
func rowOf(row fleetRow, i serve.Instance, now time.Time) fleetRow {
	row.instance = dash(i.Instance)
	if !i.Applied.IsZero() {
		row.applied = fmt.Sprint(i.Applied.Serial)
	}
	if i.Failed != nil {
		row.tried = fmt.Sprint(i.Failed.Version.Serial)
		row.err = health.CleanText(firstError(i.Failed.Errors))
	}
	if i.State == bundle.StatePending {
		row.tried = fmt.Sprint(i.Version.Serial)
		if i.Failed != nil && i.Failed.Version.Serial != i.Version.Serial {
			row.err = fmt.Sprint(i.Failed.Version.Serial) + ": " + row.err
		}
	}
	row.state, row.seen = health.CleanText(i.Status), ago(now, i.Seen)
	switch left := i.NotAfter.Sub(now); {
	case i.NotAfter.IsZero():
	case left > 0:
		row.certificate = short(left)
	default:
		row.certificate = "expired"
	}
	return row
}

// printFleet writes the table, after what is wrong with the tree.
func printFleet(w io.Writer, fleet serve.Fleet, now time.Time) error {
	text := fleetTable(fleet, now, terminal.Of(w).Colour)
	_, err := io.WriteString(w, strings.Join(text, "\n")+"\n")
	return err
}

// fleetTable is the lines of printFleet.
func fleetTable(fleet serve.Fleet, now time.Time, colour bool) (lines []string) {
	for _, problem := range fleet.Tree.Problems {
		lines = append(lines, "the newest tree is not served: "+health.CleanText(problem))
	}
	table := [][]string{fleetTitles}
	widths := make([]int, len(fleetTitles)-1) // the last one is as wide as it is
	for _, row := range fleetRows(fleet, now) {
		table = append(table, row.cells())
	}
	for _, cells := range table {
		for i := range widths {
			widths[i] = max(widths[i], utf8.RuneCountInString(cells[i]))
		}
	}
	for number, cells := range table {
		var line strings.Builder
		for i, width := range widths {
			cell := cells[i]
			space := strings.Repeat(" ", width-utf8.RuneCountInString(cell)+2)
			if colour && number > 0 && i == stateColumn {
				cell = stateColour(cell) + cell + "\x1b[0m"
			}
			line.WriteString(cell + space)
		}
		line.WriteString(cells[len(widths)])
		lines = append(lines, line.String())
	}
	return lines
}

// stateColour is the sequence of ECMA-48 that the state's word is shown in.
func stateColour(state string) string {
	switch state {
	case bundle.StateApplied:
		return "\x1b[32m" // green
	case bundle.StateRejected, bundle.StateRolledBack:
		return "\x1b[31m" // red
	}
	return "\x1b[33m" // yellow
}

func ago(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return short(now.Sub(then)) + " ago"
}

// short is a duration in the largest unit of which there are at least two, for people: 90s, 24h.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d.Round(unit.length) >= 2*unit.length {
			return fmt.Sprint(int64(d.Round(unit.length)/unit.length)) + unit.name
		}
	}
	return fmt.Sprint(int64(d.Round(time.Second)/time.Second)) + "s"
}

// firstError is the first line of the first error, and how many more there are.
func firstError(errs []string) string {
	if len(errs) == 0 {
		return "no reason was given"
	}
	line, _, _ := strings.Cut(errs[0], "\n")
	if len(errs) > 1 {
		line += fmt.Sprintf(" (and %d more)", len(errs)-1)
	}
	return line
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
