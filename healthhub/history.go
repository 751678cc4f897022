// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/moment"
	"cloud4.internal/hub/internal/terminal"
)

func historyCommand() *cli.Command {
	return withArguments(cli.Command{
		Name:      "history",
		Usage:     "show what changed, and why it was not well at 03:12",
		ArgsUsage: "[PATH]",
		Description: `Shows the last 1,000 changes that the flight recorder keeps, of everything or of what PATH names and what is below it, newest
last: each state that became another one, with what was seen, what was muted or forced, and restarts of healthhub itself.

   healthhub history --since 2h
   healthhub history page --follow
   healthhub history --at 03:12            what was not well then, and since when

Times are those of this terminal's time zone: 03:12, "2026-03-01 03:12", 2026-03-01T03:12:00Z, or how long ago: 2h, 3d.` + whereWords,
	}, historyFlags, 0, 1, historyAction)
}

func historyFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "since", Usage: "from that `TIME` on"},
		&cli.StringFlag{Name: "at", Usage: "what was not well at that `TIME`"},
		&cli.IntFlag{Name: "limit", Usage: "the last `N` changes"},
		&cli.BoolFlag{Name: "follow", Usage: "go on with what changes from now on, until ^C"},
		&cli.BoolFlag{Name: "json", Usage: "print the changes as JSON, with --follow one a line"},
	}, reading()...)
}

func historyAction(c *cli.Context, arguments []string) error {
	now := time.Now()
	since, err := parseTime("since", c.String("since"), now)
	if err != nil {
		return err
	}
	at, err := parseTime("at", c.String("at"), now)
	if err != nil {
		return err
	}
	if !at.IsZero() && (!since.IsZero() || c.Bool("follow") || c.Bool("json") || c.IsSet("limit")) {
		return daemon.Usage(errors.New("--at stands without --since, --limit, --follow and --json"))
	}
	if n := c.Int("limit"); c.IsSet("limit") && (n < 1 || n > record.Size) {
		return daemon.Usage(fmt.Errorf("--limit must be between 1 and %d, got %d", record.Size, n))
	}
	s, err := newServer(c)
	if err != nil {
		return err
	}
	h := &history{server: s, path: argument(arguments), since: since, limit: c.Int("limit"), json: c.Bool("json"), term: terminal.Of(c.App.Writer)}
	switch {
	case !at.IsZero():
		return h.asOf(c.Context, c.App.Writer, at)
	case c.Bool("follow"):
		return h.follow(c.Context, c.App.Writer)
	}
	return h.show(c.Context, c.App.Writer)
}

// history is what is asked of a server's history.
type history struct {
	server *server
	path   string
	since  time.Time
	limit  int // 0: all
	json   bool
	term   terminal.Terminal
}

func (h *history) ask(ctx context.Context) (list ledger.History, body []byte, err error) {
	q := url.Values{}
	if h.path != "" {
		q.Set("path", h.path)
	}
	if !h.since.IsZero() {
		q.Set("since", h.since.UTC().Format(time.RFC3339))
	}
	if h.limit > 0 {
		q.Set("limit", strconv.Itoa(h.limit))
	}
	body, err = h.server.get(ctx, "/v1/history?"+q.Encode(), &list)
	return list, body, err
}

func (h *history) show(ctx context.Context, out io.Writer) error {
	list, body, err := h.ask(ctx)
	if err != nil {
		return err
	}
	if h.json {
		_, err = out.Write(body)
		return err
	}
	if len(list.Events) == 0 {
		_, err = io.WriteString(out, "nothing changed"+unless(h.since.IsZero(), " since "+h.since.Local().Format(time.DateTime))+"\n")
		return err
	}
	return h.print(out, list.Events)
}

// follow prints what there is, and then what comes.
func (h *history) follow(ctx context.Context, out io.Writer) error {
	if h.since.IsZero() && h.limit == 0 {
		h.limit = 10 // to see where it goes on from
	}
	var last uint64
	trouble := ""
	return h.server.follow(ctx, func() (bool, error) {
		list, _, err := h.ask(ctx)
		if refused, ok := errors.AsType[*refusedError](err); ok && refused.status/100 == 4 {
			return true, err
		}
		if err != nil {
			if err.Error() == trouble || h.json {
				return false, nil
			}
			trouble = err.Error()
			_, err = fmt.Fprintf(out, "%s  %s\n", time.Now().Format(time.DateTime), trouble)
			return false, err
		}
		trouble, h.limit = "", 0
		events := list.Events
		if n := len(events); n > 0 && events[n-1].Seq >= last { // else it began anew
			events = slices.DeleteFunc(events, func(e record.Event) bool { return e.Seq <= last })
		}
		if n := len(list.Events); n > 0 {
			last = list.Events[n-1].Seq
		}
		return false, h.print(out, events)
	})
}

func (h *history) print(out io.Writer, events []record.Event) error {
	width := 0
	for _, e := range events {
		width = max(width, len(e.Path))
	}
	for _, e := range events {
		line := eventLine(e, "", width, h.term)
		if h.json {
			encoded, err := json.Marshal(e)
			if err != nil {
				return err
			}
			line = string(encoded)
		}
		if _, err := io.WriteString(out, line+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// eventLine is one change, for people. root is what an event of the root is called, width that of the paths. On a terminal what
// does not fit its line is cut.
func eventLine(e record.Event, root string, width int, term terminal.Terminal) string {
	path := e.Path
	if path == "" && e.Kind != record.KindMark {
		path = root
		if path == "" {
			path = e.Kind
		}
	}
	head := fmt.Sprintf("%s  %-*s  ", e.At.Local().Format(time.DateTime), min(max(width, 9), 60), path)
	change, painted := changeWords(e, term)
	const widest = len("unknown > unknown")
	line := head + painted + strings.Repeat(" ", max(widest-utf8.RuneCountInString(change), 0)+2)
	flags := slices.DeleteFunc(slices.Clone(e.Flags), func(f string) bool {
		return f == health.FlagCritical || f == health.FlagDegrading || f == health.FlagInfo
	})
	if words := flagWords(&health.Node{Flags: flags}); words != "" {
		line += "[" + words + "] "
	}
	line += e.Text
	if e.Action != "" && e.To != nil && *e.To != health.Pass {
		line += " → " + e.Action
	}
	all, _ := term.Size()
	return strings.TrimRight(terminal.Cut(line, all), " ")
}

// changeWords says what a change was, plainly and painted.
func changeWords(e record.Event, term terminal.Terminal) (words, painted string) {
	switch {
	case e.Kind == record.KindMark:
		return "·", "·"
	case e.To == nil:
		return "gone", "gone"
	case e.From == nil:
		words = "new: "
	case *e.From != *e.To:
		words = e.From.String() + " → "
	}
	return words + e.To.String(), words + term.PaintState(*e.To, e.To.String())
}

// parseTime reads a time or how long ago; "" is none.
func parseTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := moment.Parse(text, now)
	if err != nil {
		return time.Time{}, daemon.Usage(fmt.Errorf("--%s: %w", flag, err))
	}
	return at, nil
}
