// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/moment"
	"cloud4.internal/hub/internal/terminal"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"cloud4.internal/hub/loghub/internal/lines"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/show"
	"cloud4.internal/hub/loghub/internal/where"
)

const (
	followEvery = 250 * time.Millisecond // between two looks at files that are followed
	followLast  = 10                     // events shown before what comes
	outBytes    = 64 << 10               // written at once, at most
)

func tailCommand() *cli.Command {
	return daemon.WithArguments(cli.Command{
		Name:      "tail",
		Usage:     "show events of files, of several files by time, as they come with --follow",
		ArgsUsage: "FILE…",
		Description: `Reads what loghub receive keeps, dead letters, or any other log, whose format it finds out; - is stdin. Events of
several files stand by their time. On a terminal levels have colours, and nothing that was logged can steer it.

   loghub tail /srv/logs/*.jsonl --where 'severity>=warn' --since 1h
   loghub tail /srv/logs/web.shop.vm1.jsonl --follow --where 'service.name=web and not url.path=/healthz'
   docker logs -f web 2>&1 | loghub tail - --where 'http.response.status_code>=500'
   loghub tail /var/log/syslog --as syslog --format json | jq .message

Expressions are name, operator and value, joined by and, or, not and parentheses. Names are attributes, or message, severity,
time; operators = != < <= > >=, ~ and !~ for a part of a text, =~ for a regular expression. A name alone: there is one.`,
	}, tailFlags, 1, -1, nil, tailAction)
}

func tailFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with what comes, until ^C; also when a file is rotated"},
		&cli.StringFlag{Name: "where", Usage: "show events that match the `EXPRESSION`"},
		&cli.StringFlag{Name: "since", Usage: "show events since a `TIME`: 10m, 03:12, \"2026-03-01 03:12\""},
		&cli.IntFlag{Name: "last", Aliases: []string{"n"}, Usage: "show the last `N` events", DefaultText: "all, with --follow 10"},
		&cli.StringFlag{Name: "format", Usage: "`FORMAT` to show events in: pretty, json or logfmt", Value: "pretty"},
		&cli.StringFlag{Name: "as", Usage: "`FORMAT` of the lines: auto, or one that loghub parse --formats lists", Value: formatAuto},
		&cli.BoolFlag{Name: "all", Usage: "pretty shows every attribute"},
	}
}

func tailAction(c *cli.Context, files []string) error {
	t, err := newTail(c, time.Now())
	if err != nil {
		return daemon.Usage(err)
	}
	if err := t.open(files); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- t.run(c.Context) }() // a read of stdin ends with the process alone
	select {
	case err := <-done:
		return err
	case <-c.Context.Done():
		return nil
	}
}

// tail is one `loghub tail`.
type tail struct {
	follow bool
	last   int // events; 0: all
	filter *where.Filter
	as     string
	append func(dst []byte, e *entry) []byte
	out    *bufio.Writer
	notes  io.Writer

	readings []*reading
	buf      []byte
	kept     [][]byte // the last events, shown at the end of the files
	oldest   int      // of them
}

// newTail reads the flags; its errors are of usage.
func newTail(c *cli.Context, now time.Time) (*tail, error) {
	t := &tail{
		follow: c.Bool("follow"), last: c.Int("last"), as: c.String("as"),
		out: bufio.NewWriterSize(c.App.Writer, outBytes), notes: c.App.ErrWriter,
	}
	switch {
	case c.IsSet("last") && t.last < 1:
		return nil, fmt.Errorf("--last: must be at least 1, got %d", t.last)
	case !c.IsSet("last") && t.follow && !c.IsSet("since"):
		t.last = followLast
	}
	if err := checkFormat(t.as); err != nil {
		return nil, fmt.Errorf("--as: %w", err)
	}
	if text := c.String("where"); text != "" {
		f, err := where.Compile(text, now)
		if err != nil {
			return nil, fmt.Errorf("--where: %w", err)
		}
		t.filter = f
	}
	if text := c.String("since"); text != "" {
		at, err := moment.Parse(text, now)
		if err != nil {
			return nil, fmt.Errorf("--since: %w", err)
		}
		t.filter = where.Since(t.filter, at)
	}
	term := terminal.Of(c.App.Writer)
	switch format := c.String("format"); format {
	case "pretty":
		p := &show.Pretty{Term: term, All: c.Bool("all"), Loc: time.Local, Now: now}
		t.append = func(dst []byte, e *entry) []byte { return p.Append(dst, &e.rec) }
	case "logfmt":
		t.append = func(dst []byte, e *entry) []byte { return show.AppendLogfmt(dst, &e.rec) }
	case "json":
		t.append = func(dst []byte, e *entry) []byte {
			if e.isJSON && term.File == nil {
				return append(append(dst, e.line...), '\n')
			}
			return jsonline.Append(dst, nil, nil, &e.rec)
		}
	default:
		return nil, fmt.Errorf("--format: must be pretty, json or logfmt, got %q", format)
	}
	return t, nil
}

func (t *tail) open(files []string) error {
	for _, name := range files {
		r := &reading{
			name: name, follow: t.follow, filter: t.filter, auto: t.as == formatAuto,
			events: jsonline.NewReader(), raws: newRaws(parse.Options{Format: t.as}, false),
		}
		if name == "-" {
			r.lines = lines.Stream(os.Stdin)
		} else {
			var err error
			if r.lines, err = lines.Open(name); err != nil {
				return err
			}
		}
		if len(files) > 1 {
			r.from = filepath.Base(name)
		}
		if t.follow {
			r.lines.Follow()
		}
		if r.lines.Blocks() {
			if t.follow && len(files) > 1 {
				return daemon.Usage(fmt.Errorf("%s is no file, and cannot be followed beside others", name))
			}
			r.lines.BeforeRead(func() { t.out.Flush() }) // an error comes again at the next write
			if t.follow {                                // until it ends; before that there are no last ones
				t.follow, r.follow, t.last = false, false, 0
			}
		} else if t.last > 0 && t.filter == nil {
			if err := r.lines.Last(t.last); err != nil {
				return err
			}
		}
		t.readings = append(t.readings, r)
	}
	return nil
}

// run shows what there is, and with --follow what comes, until ctx is done.
func (t *tail) run(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		if err := t.merge(ctx); err != nil {
			return err
		}
		if err := t.showKept(); err != nil || !t.follow || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, r := range t.readings {
			news, err := r.lines.Again()
			if err != nil {
				return err
			}
			if news != lines.Same {
				fmt.Fprintf(t.notes, "loghub: %s was %s\n", r.name, news)
			}
		}
	}
}

// merge shows the events of all files to their ends, the earliest first.
func (t *tail) merge(ctx context.Context) error {
	waiting := make([]*reading, 0, len(t.readings))
	advance := func(r *reading) (more bool, err error) {
		err = r.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("reading %s: %w", r.name, err)
		}
		return true, nil
	}
	for _, r := range t.readings {
		more, err := advance(r)
		if err != nil {
			return err
		}
		if more {
			waiting = append(waiting, r)
		}
	}
	for len(waiting) > 0 && ctx.Err() == nil {
		first := 0
		for i, r := range waiting {
			if r.at < waiting[first].at {
				first = i
			}
		}
		r := waiting[first]
		if err := t.show(&r.entry); err != nil {
			return err
		}
		more, err := advance(r)
		if err != nil {
			return err
		}
		if !more {
			waiting = append(waiting[:first], waiting[first+1:]...)
		}
	}
	return nil
}

// show writes an event, or keeps it for the end.
func (t *tail) show(e *entry) error {
	t.buf = t.append(t.buf[:0], e)
	if t.last == 0 {
		_, err := t.out.Write(t.buf)
		return err
	}
	if len(t.kept) < t.last {
		t.kept = append(t.kept, append([]byte(nil), t.buf...))
		return nil
	}
	t.kept[t.oldest] = append(t.kept[t.oldest][:0], t.buf...)
	t.oldest = (t.oldest + 1) % t.last
	return nil
}

// showKept writes what was kept. What comes from now on is shown as it comes.
func (t *tail) showKept() error {
	for i := range t.kept {
		if _, err := t.out.Write(t.kept[(t.oldest+i)%len(t.kept)]); err != nil {
			return err
		}
	}
	t.kept, t.last = nil, 0
	return t.out.Flush()
}
