// SPDX-License-Identifier: AGPL-3.0-or-later

package event

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/parse"
)

// NamePostmortem is the event name of a postmortem record.
const NamePostmortem = "hub.postmortem"

// Attributes of a postmortem record. Those that do not apply are absent.
const (
	AttrExitCode     = "process.exit.code"  // of the semantic conventions; 128+n where signal n killed it
	AttrExitSignal   = "hub.exit.signal"    // its name, KILL
	AttrExitOOM      = "hub.exit.oom"       // true: the kernel killed it for memory
	AttrExitUptime   = "hub.exit.uptime"    // seconds
	AttrExitRestarts = "hub.exit.restarts"  // in place, before this end
	AttrExitAsked    = "hub.exit.asked"     // who had asked for it: "signal TERM", "restart by confighub"
	AttrExitLines    = "hub.exit.lines"     // how many last lines the body holds
	AttrLastRecord   = "hub.exit.last_seen" // of a container that ended without a word: RFC 3339
)

// Bounds of the last lines in a body.
const (
	PostmortemLines     = 20
	postmortemBytes     = 8 << 10
	postmortemLineBytes = 2 << 10 // of one line; what is beyond is left out
)

// Death is how a service ended.
type Death struct {
	At       time.Time
	Code     int    // 128+n when killed by signal n
	Signal   string // name of the signal that killed it, without SIG
	OOM      bool
	Uptime   time.Duration
	Restarts int
	Asked    string // who had asked for it: "signal TERM", "restart by confighub"; "": nobody
	Success  bool   // the container counts the code as success (HUB_SUCCESS_CODES)
}

// severity is that of the record: a death that nobody asked for is as bad as it gets, one that was asked for is not, unless
// the service had to be killed or failed while it stopped.
func (d *Death) severity() uint8 {
	byRequest := d.Signal != "" && d.Signal != "KILL" || d.Signal == "" && d.Code > 128
	switch {
	case d.Code == 0 || d.Success && d.Signal == "" || d.Asked != "" && byRequest && !d.OOM:
		return parse.Info
	case d.Asked != "":
		return parse.Warn
	}
	return parse.Fatal
}

// headline says it in a line.
func (d *Death) headline() string {
	var b strings.Builder
	switch {
	case d.OOM:
		b.WriteString("the service was killed for memory (OOM)")
	case d.Signal != "":
		fmt.Fprintf(&b, "the service was killed by SIG%s", d.Signal)
	default:
		fmt.Fprintf(&b, "the service exited with code %d", d.Code)
	}
	if d.Uptime > 0 {
		b.WriteString(" after " + rounded(d.Uptime).String())
	}
	if d.Restarts > 0 {
		fmt.Fprintf(&b, ", restarted in place %d times before", d.Restarts)
	}
	if d.Asked != "" {
		b.WriteString(" (asked: " + d.Asked + ")")
	}
	return b.String()
}

// rounded leaves out the digits that nobody reads.
func rounded(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond)
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// Postmortem makes the record of a death at place. lines are the service's last ones, raw; they are masked and cleaned like
// any other and stand in the body below a headline.
func (b *Builder) Postmortem(d *Death, lines [][]byte, place uint64) *otlp.Record {
	attrs := []otlp.KeyValue{{Key: AttrExitCode, Value: otlp.Int(int64(d.Code))}}
	if d.Signal != "" {
		attrs = append(attrs, otlp.KeyValue{Key: AttrExitSignal, Value: otlp.String(d.Signal)})
	}
	if d.OOM {
		attrs = append(attrs, otlp.KeyValue{Key: AttrExitOOM, Value: otlp.Bool(true)})
	}
	attrs = append(attrs,
		otlp.KeyValue{Key: AttrExitUptime, Value: otlp.Double(d.Uptime.Seconds())},
		otlp.KeyValue{Key: AttrExitRestarts, Value: otlp.Int(int64(d.Restarts))})
	if d.Asked != "" {
		attrs = append(attrs, otlp.KeyValue{Key: AttrExitAsked, Value: otlp.String(d.Asked)})
	}
	body, n := d.headline(), 0
	for _, line := range b.shown(lines) {
		body += "\n" + line
		n++
	}
	attrs = append(attrs, otlp.KeyValue{Key: AttrExitLines, Value: otlp.Int(int64(n))})
	b.own(NamePostmortem, d.severity(), body, attrs, d.At, place)
	return &b.rec
}

// Silent makes the record of a container that ended, at last or after seen, without anybody saying so: process 1 itself was
// killed, or the machine went down.
func (b *Builder) Silent(seen time.Time, place uint64) *otlp.Record {
	at := seen.UTC().Format(time.RFC3339)
	b.own(NamePostmortem, parse.Error, "the container's last life ended without a word, at or after "+at+
		": process 1 was killed, or the machine went down; what stood in its pipes then is lost",
		[]otlp.KeyValue{{Key: AttrLastRecord, Value: otlp.String(at)}}, time.Time{}, place)
	return &b.rec
}

// own makes a record of our own; a zero time is now.
func (b *Builder) own(name string, severity uint8, body string, attrs []otlp.KeyValue, at time.Time, place uint64) {
	b.rec = otlp.Record{Severity: severity, SeverityText: parse.Level(severity), Body: otlp.String(body), Attributes: attrs, EventName: name}
	if !at.IsZero() {
		b.rec.Time = uint64(at.UnixNano())
	}
	b.finish(place)
}

// shown are the newest lines that fit, masked and cleaned; blank ones are left out.
func (b *Builder) shown(lines [][]byte) (out []string) {
	left := postmortemBytes
	first := len(lines)
	texts := make([]string, len(lines))
	for i := len(lines) - 1; i >= 0; i-- {
		text := string(b.text(lines[i]))
		if len(text) > postmortemLineBytes {
			cut := postmortemLineBytes
			for cut > 0 && !utf8.RuneStart(text[cut]) {
				cut--
			}
			text = text[:cut] + "…"
		}
		if left -= len(text) + 1; left < 0 {
			break
		}
		texts[i], first = text, i
	}
	for _, text := range texts[first:] {
		if !blank([]byte(text)) {
			out = append(out, text)
		}
	}
	return out
}
