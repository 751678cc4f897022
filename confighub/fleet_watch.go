// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/terminal"
)

// watchEvery is the pause between two looks at the fleet.
const watchEvery = 2 * time.Second

// watchFleet is `confighub fleet --watch`, until it is interrupted.
func watchFleet(c *cli.Context) error {
	files, err := fleetIdentity(c)
	if err != nil {
		return err
	}
	ask, err := newFleetClient(c.String("server"), files)
	if err != nil {
		return err
	}
	defer ask.close()
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	var shown view = &journal{out: c.App.Writer}
	if term := terminal.Of(c.App.Writer); term.File != nil {
		shown = &screen{out: term.File, server: c.String("server"), colour: term.Colour, size: term.Size}
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		fleet, _, err := ask.fleet(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := shown.show(fleet, err, time.Now()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// view shows what became of one look at the fleet: it, or why it could not be had.
type view interface {
	show(fleet serve.Fleet, trouble error, now time.Time) error
}

// screen draws the table over the one before.
type screen struct {
	out    io.Writer
	server string
	colour bool
	size   func() (width, height int)
	// table is the last one; it stays when the server does not answer.
	table []string
	drawn bool
}

func (s *screen) show(fleet serve.Fleet, trouble error, now time.Time) error {
	head := s.server + "  " + now.Format(time.TimeOnly) + "  "
	if trouble == nil {
		s.table = fleetTable(fleet, now, s.colour)
		head += summary(fleet, now)
	} else {
		head += trouble.Error()
	}
	width, height := s.size()
	lines := append([]string{head, ""}, s.table...)
	picture := terminal.Picture(lines, width, height)
	if !s.drawn {
		s.drawn = true
		picture = "\x1b[2J" + picture // erase all
	}
	_, err := io.WriteString(s.out, picture)
	return err
}

// summary is how many containers are in which state.
func summary(fleet serve.Fleet, now time.Time) string {
	counts, all := map[string]int{}, 0
	for _, row := range fleetRows(fleet, now) {
		counts[row.state]++
		all++
	}
	var parts []string
	for _, state := range serve.Statuses() {
		if counts[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
		}
	}
	return counted(all, "container") + ": " + strings.Join(parts, ", ")
}

// journal writes the table once, and then a line for each change.
type journal struct {
	out io.Writer
	// rows: identity and instance → the last line, without what changes by itself.
	rows map[[2]string]fleetRow
	// problems of the tree, and why there was no answer, at the last look.
	problems []string
	trouble  string
}

func (j *journal) show(fleet serve.Fleet, trouble error, now time.Time) error {
	at := now.UTC().Format(time.RFC3339) + "  "
	if trouble != nil {
		if j.trouble == trouble.Error() {
			return nil
		}
		j.trouble = trouble.Error()
		_, err := fmt.Fprintln(j.out, at+j.trouble)
		return err
	}
	j.trouble = ""
	rows := map[[2]string]fleetRow{}
	var lines []string
	for _, row := range fleetRows(fleet, now) {
		row.seen, row.certificate = "", ""
		key := [2]string{row.identity, row.instance}
		rows[key] = row
		if before, there := j.rows[key]; !there || before != row {
			lines = append(lines, at+fmt.Sprintf("%s  instance %s  desired %s  applied %s  tried %s  %s  %s",
				row.identity, row.instance, row.desired, row.applied, row.tried, row.state, row.err))
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(j.rows), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		if _, there := rows[key]; !there {
			lines = append(lines, at+fmt.Sprintf("%s  instance %s  gone", key[0], key[1]))
		}
	}
	if !slices.Equal(fleet.Tree.Problems, j.problems) {
		lines = append(lines, at+"the tree is good again")
		if len(fleet.Tree.Problems) > 0 {
			lines[len(lines)-1] = at + "the newest tree is not served: " + health.CleanText(firstError(fleet.Tree.Problems))
		}
	}
	if j.rows == nil {
		lines = fleetTable(fleet, now, false)
	}
	j.rows, j.problems = rows, fleet.Tree.Problems
	if len(lines) == 0 {
		return nil
	}
	_, err := io.WriteString(j.out, strings.Join(lines, "\n")+"\n")
	return err
}
