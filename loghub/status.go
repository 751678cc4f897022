// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/terminal"
)

// statusEvery is how often --watch looks.
const statusEvery = time.Second

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "say how logging is in this container: sources, spool, receiver, and what to do",
		Description: `Shows what loghub run says of itself in <run>/log.json, which is at most ten seconds old; older than that it says so. Exit
code 0: it runs, perhaps with a warning; 1: it does not run, or does not work.

   loghub status
   loghub status --watch
   loghub status --json | jq '.log.sources[] | select(.lost > 0)'
   loghub status --metrics`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "watch", Usage: "go on until ^C"},
			&cli.BoolFlag{Name: "json", Usage: "print the file as it is"},
			&cli.BoolFlag{Name: "metrics", Usage: "print the figures in the text form of Prometheus"},
		},
		Action: func(c *cli.Context) error {
			asked := 0
			for _, name := range []string{"watch", "json", "metrics"} {
				if c.Bool(name) {
					asked++
				}
			}
			if asked > 1 {
				return daemon.Usage(errors.New("--watch, --json and --metrics do not go together"))
			}
			if c.Bool("watch") {
				return watchStatus(c.Context, terminal.Of(c.App.Writer), c.App.Writer)
			}
			return showStatus(c)
		},
	}
}

func showStatus(c *cli.Context) error {
	s, err := readStatus(initctl.RunDir())
	if err != nil {
		return err
	}
	switch {
	case c.Bool("json"):
		err = printJSON(c.App.Writer, s.file)
	case c.Bool("metrics"):
		_, err = c.App.Writer.Write(openMetrics(metrics(s.node, s.section), true))
	default:
		term := terminal.Of(c.App.Writer)
		_, err = io.WriteString(c.App.Writer, s.text(term, time.Now()))
	}
	if err == nil && s.node.State > health.Warn {
		return daemon.ErrSaid
	}
	return err
}

// status is what log.json says.
type status struct {
	file    json.RawMessage
	node    health.Node
	section section
	written time.Time
}

// readStatus reads log.json; its error is what to tell when loghub does not run.
func readStatus(runDir string) (*status, error) {
	path := filepath.Join(runDir, health.LogFile+".json")
	f, err := health.ReadFile(runDir, health.LogFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("loghub does not run here: there is no %s; in a container hubinit starts it", path)
	case err != nil:
		return nil, err
	}
	s := &status{node: f.Health, written: f.WrittenAt}
	if err := json.Unmarshal(f.Section, &s.section); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if f.Stale() || s.section.Process.Gone(f.PID) { // a file is believed for a while after a kill
		return nil, fmt.Errorf("loghub does not run any more: it last wrote at %s; init.json and the container's log say why",
			f.WrittenAt.Local().Format(time.DateTime))
	}
	if s.file, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	return s, nil
}

// watchStatus draws the status anew each second, or where there is no terminal prints it whenever it changed.
func watchStatus(ctx context.Context, term terminal.Terminal, out io.Writer) error {
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	before := ""
	for ctx.Err() == nil {
		now := time.Now()
		text := ""
		s, err := readStatus(initctl.RunDir())
		if err != nil {
			text = err.Error() + "\n"
		} else {
			text = s.text(term, now)
		}
		if term.File != nil {
			err = drawStatus(term, text, before == "", now)
		} else if text != before {
			_, err = fmt.Fprintf(out, "%s\n%s", now.Format(time.DateTime), text)
		} else {
			err = nil
		}
		if err != nil {
			return err
		}
		before = text
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-resized:
		}
	}
	if term.File != nil {
		_, err := io.WriteString(out, terminal.FirstScreen+before)
		return err
	}
	return nil
}
