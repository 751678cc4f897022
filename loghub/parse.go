// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"cloud4.internal/hub/loghub/internal/lines"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/show"
)

func parseCommand() *cli.Command {
	return daemon.WithArguments(cli.Command{
		Name:      "parse",
		Usage:     "say what event a line becomes, as JSON or explained",
		ArgsUsage: "[FILE…]",
		Description: `Reads lines of files, or of stdin, and prints the events that loghub run would make of them, a JSON line for each:
without what comes from the container (resource, uid) and unmasked. A time is there if the line has one.

   tail -3 /var/log/nginx/access.log | loghub parse --explain
   loghub parse app.log --as json | jq -r .message
   loghub parse app.log --explain --pattern '^(?P<time>\S+) (?P<level>\w+) (?P<message>.*)$'
   loghub parse --formats`,
	}, parseFlags, 0, -1, nil, parseAction)
}

func parseFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "as", Usage: "`FORMAT` of the lines: auto, or one that --formats lists", Value: formatAuto},
		&cli.StringFlag{Name: "pattern", Usage: "regular `EXPRESSION` (RE2) with named groups, tried before the format"},
		&cli.BoolFlag{Name: "explain", Usage: "say for each line which format it has, where each value stands in it, and with --as and --pattern where it is not of that format"},
		&cli.BoolFlag{Name: "formats", Usage: "list the formats and the attributes they make"},
		&cli.BoolFlag{Name: "json", Usage: "with --formats: as JSON"},
	}
}

func parseAction(c *cli.Context, files []string) error {
	if c.Bool("formats") {
		return listFormats(c.App.Writer, c.Bool("json"))
	}
	p := &parsing{
		options: parse.Options{Format: c.String("as")}, explain: c.Bool("explain"),
		out: bufio.NewWriterSize(c.App.Writer, outBytes),
	}
	if err := checkFormat(p.options.Format); err != nil {
		return daemon.Usage(fmt.Errorf("--as: %w", err))
	}
	if text := c.String("pattern"); text != "" {
		pattern, err := parse.NewPattern(text)
		if err != nil {
			return daemon.Usage(fmt.Errorf("--pattern: %w", err))
		}
		p.options.Pattern = pattern
	}
	if len(files) == 0 {
		files = []string{"-"}
	}
	done := make(chan error, 1)
	go func() { done <- p.files(c.Context, files) }() // a read of stdin ends with the process alone
	select {
	case err := <-done:
		return err
	case <-c.Context.Done():
		return nil
	}
}

// parsing is one `loghub parse`.
type parsing struct {
	options parse.Options
	explain bool
	out     *bufio.Writer

	text []byte
	buf  []byte
}

func (p *parsing) files(ctx context.Context, names []string) error {
	for _, name := range names {
		r := lines.Stream(os.Stdin)
		if name != "-" {
			var err error
			if r, err = lines.Open(name); err != nil {
				return err
			}
		}
		if r.Blocks() {
			r.BeforeRead(func() { p.out.Flush() }) // an error comes again at the next write
		}
		prefix := ""
		if len(names) > 1 {
			prefix = name + ":"
		}
		if err := p.file(ctx, r, prefix); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return p.out.Flush()
}

// file reads one file, as a source of its own.
func (p *parsing) file(ctx context.Context, r *lines.Reader, prefix string) error {
	defer r.Close() // it was read alone
	in := &reading{lines: r, raws: newRaws(p.options, p.explain)}
	for ctx.Err() == nil {
		err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.explain {
			p.buf = p.explained(p.buf[:0], prefix, in.raws)
		} else {
			p.buf = jsonline.Append(p.buf[:0], nil, nil, &in.rec)
		}
		if _, err := p.out.Write(p.buf); err != nil {
			return err
		}
	}
	return nil
}

// explained appends what is to be said of an event.
func (p *parsing) explained(dst []byte, prefix string, r *raws) []byte {
	at := strconv.Itoa(r.first)
	if r.next > r.first+1 {
		at += "-" + strconv.Itoa(r.next-1)
	}
	format, _ := r.builder.Format()
	p.text, _, _ = frame.Text(r.text, p.text)
	return explained(dst, prefix+at, format, p.text, &r.rec, misfits(p.options, p.text))
}

// misfits says why a text is not of the format and the pattern that were asked for.
func misfits(o parse.Options, text []byte) (rows []row) {
	for _, m := range parse.Misfits(o, text) {
		words := "the line is of another form"
		if m.At >= 0 && m.At <= len(text) {
			words = fmt.Sprintf("column %d: %s was expected", utf8.RuneCount(text[:m.At])+1, m.Want)
		}
		rows = append(rows, row{"not " + m.Name, words, ""})
	}
	return rows
}

// row is one thing that explained says: a name, its value, and where that is from.
type row struct{ name, value, from string }

const wholeLine = "the whole line"

// explained appends what is to be said of a line and its event.
func explained(dst []byte, at, format string, line []byte, rec *otlp.Record, misfits []row) []byte {
	rows := slices.Insert(rowsOf(format, line, rec), 1, misfits...)
	width := 0
	for _, r := range rows {
		width = max(width, utf8.RuneCountInString(r.name))
	}
	first, _, more := bytes.Cut(line, []byte{'\n'})
	dst = show.Clean(append(append(dst, at...), "  "...), first)
	if more {
		dst = append(dst, " …"...)
	}
	for _, r := range rows {
		dst = show.Clean(append(dst, "\n    "...), []byte(r.name))
		dst = append(dst, strings.Repeat(" ", width-utf8.RuneCountInString(r.name)+2)...)
		if r.from != wholeLine {
			dst = show.Clean(dst, []byte(strings.ReplaceAll(r.value, "\n", "⏎")))
		}
		if r.from != "" && r.from != wholeLine {
			dst = append(dst, "  "...)
		}
		dst = append(dst, r.from...)
	}
	return append(dst, '\n')
}

func rowsOf(format string, line []byte, rec *otlp.Record) []row {
	when := row{"time", "-", "the line says none: it gets the time at which it is read"}
	if rec.Time != 0 {
		when.value, when.from = time.Unix(0, int64(rec.Time)).UTC().Format(time.RFC3339Nano), ""
	}
	level := row{"level", "-", "the line says none"}
	if rec.Severity != 0 {
		level.value, level.from = parse.Level(rec.Severity), ""
		if from, _ := column(line, []byte(rec.SeverityText), 0); from != "" {
			level.from = fmt.Sprintf("%s: %q", from, rec.SeverityText)
		}
	}
	rows := []row{{"format", format, ""}, when, level}
	next := 0 // values mostly stand in the order of the line
	show.EachField(rec, func(key string, value []byte) {
		r := row{name: key, value: string(value)}
		switch {
		case key == "severity_text":
			return
		case key == "message" && bytes.Equal(value, line):
			r.from = wholeLine
		case key == "message":
			r.from, _ = column(line, value, 0)
		default:
			r.from, next = column(line, value, next)
		}
		rows = append(rows, r)
	})
	return rows
}

// column says where a value stands in a line, at or behind an offset if it can be; "" where it does not stand as it is. next is
// the offset behind it.
func column(line, value []byte, offset int) (text string, next int) {
	i := bytes.Index(line[offset:], value)
	if i >= 0 {
		i += offset
	} else {
		i = bytes.Index(line, value)
	}
	if len(value) == 0 || i < 0 {
		return "", offset
	}
	before := line[:i]
	if n := bytes.Count(before, []byte{'\n'}); n > 0 {
		text = fmt.Sprintf("line %d, ", n+1)
	}
	before = before[bytes.LastIndexByte(before, '\n')+1:]
	return text + fmt.Sprintf("column %d", utf8.RuneCount(before)+1), i + len(value)
}

// listFormats prints what formats there are.
func listFormats(w io.Writer, asJSON bool) error {
	type format struct {
		Name       string   `json:"name"`
		Text       string   `json:"text"`
		Attributes []string `json:"attributes"`
		Open       bool     `json:"open"` // lines name further attributes themselves
	}
	list := []format{}
	for _, d := range parse.Describe() {
		list = append(list, format{d.Name, d.Doc, append([]string{}, d.Names...), d.Open})
	}
	if asJSON {
		return printJSON(w, list)
	}
	var b strings.Builder
	for _, f := range list {
		names := strings.Join(f.Attributes, " ")
		if f.Open {
			names = strings.TrimSpace(names + " and what the line names")
		}
		fmt.Fprintf(&b, "%-12s  %s\n", f.Name, f.Text)
		if names != "" {
			fmt.Fprintf(&b, "%-12s  %s\n", "", names)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
