// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"
	"time"

	"cloud4.internal/hub/internal/otlp"
)

// dayCache remembers the zone offset of one hour, since looking it up costs more
// than reading the rest of the time.
type dayCache struct {
	hour   int64  // local hours since 1970, +1 so that 0 is none
	offset int64  // seconds
	zone   string // its abbreviation
}

// reader takes a time apart.
type reader struct {
	b  []byte
	ok bool
}

func (r *reader) digits(n int) int64 {
	if len(r.b) < n {
		r.ok = false
		return 0
	}
	v := int64(0)
	for _, c := range r.b[:n] {
		if c < '0' || c > '9' {
			r.ok = false
			return 0
		}
		v = v*10 + int64(c-'0')
	}
	r.b = r.b[n:]
	return v
}

// number reads digits, at least one and at most 18.
func (r *reader) number() int64 {
	i := 0
	for i < len(r.b) && i < 18 && r.b[i] >= '0' && r.b[i] <= '9' {
		i++
	}
	if i == 0 {
		r.ok = false
	}
	return r.digits(i)
}

func (r *reader) byte(c byte) {
	if len(r.b) == 0 || r.b[0] != c {
		r.ok = false
		return
	}
	r.b = r.b[1:]
}

// fraction reads ".123" or ",123" as nanoseconds, if it is there.
func (r *reader) fraction() int64 {
	if len(r.b) < 2 || r.b[0] != '.' && r.b[0] != ',' || r.b[1] < '0' || r.b[1] > '9' {
		return 0
	}
	v, scale := int64(0), int64(1e9)
	i := 1
	for ; i < len(r.b) && r.b[i] >= '0' && r.b[i] <= '9'; i++ {
		if scale > 1 {
			scale /= 10
			v += int64(r.b[i]-'0') * scale
		}
	}
	r.b = r.b[i:]
	return v
}

// zone reads "Z", "UTC", "GMT", "GMT+0100", "+0100", "+01:00" or "+01", with or without a blank before it.
func (r *reader) zone() (seconds int64, ok bool) {
	b := r.b
	if len(b) > 0 && b[0] == ' ' {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	switch b[0] {
	case 'Z':
		if len(b) > 1 && (letter(b[1]) || digitByte(b[1])) { // "07:55:42 Zookeeper"
			return 0, false
		}
		r.b = b[1:]
		return 0, true
	case 'U', 'G':
		if len(b) < 3 || string(b[:3]) != "UTC" && string(b[:3]) != "GMT" || len(b) > 3 && (letter(b[3]) || digitByte(b[3])) {
			return 0, false
		}
		r.b = b[3:]
		if len(r.b) >= 5 && (r.b[0] == '+' || r.b[0] == '-') { // JavaScript's "GMT+0100"
			if seconds, ok = r.zone(); ok {
				return seconds, true
			}
		}
		return 0, true
	case '+', '-':
	default:
		return 0, false
	}
	z := reader{b[1:], true}
	h, m := z.digits(2), int64(0)
	if len(z.b) > 2 && z.b[0] == ':' {
		z.b = z.b[1:]
		m = z.digits(2)
	} else if len(b) < len(r.b) || len(z.b) > 0 && digitByte(z.b[0]) { // behind a blank two digits are any number
		m = z.digits(2)
	}
	if !z.ok || h > 14 || m > 59 || len(z.b) > 0 && digitByte(z.b[0]) {
		return 0, false
	}
	r.b = z.b
	seconds = h*3600 + m*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func (r *reader) month() int64 {
	if len(r.b) < 3 {
		r.ok = false
		return 0
	}
	m := int64(0)
	switch string(r.b[:3]) {
	case "Jan":
		m = 1
	case "Feb":
		m = 2
	case "Mar":
		m = 3
	case "Apr":
		m = 4
	case "May":
		m = 5
	case "Jun":
		m = 6
	case "Jul":
		m = 7
	case "Aug":
		m = 8
	case "Sep":
		m = 9
	case "Oct":
		m = 10
	case "Nov":
		m = 11
	case "Dec":
		m = 12
	default:
		r.ok = false
		return 0
	}
	r.b = r.b[3:]
	return m
}

// clock reads "15:04:05".
func (r *reader) clock() int64 {
	h := r.digits(2)
	r.byte(':')
	m := r.digits(2)
	r.byte(':')
	s := r.digits(2)
	if h > 23 || m > 59 || s > 60 {
		r.ok = false
	}
	return h*3600 + m*60 + s
}

// unix gives seconds since 1970 of a date and seconds of the day, as if in UTC
// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
func unix(y, m, d, secs int64) (int64, bool) {
	if m < 1 || m > 12 || d < 1 || d > daysIn(y, m) || y < 1971 || y > 2261 {
		return 0, false
	}
	if m <= 2 {
		y--
	}
	era := y / 400
	yoe := y - era*400
	mp := (m + 9) % 12
	doy := (153*mp+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return (era*146097+doe-719468)*86400 + secs, true
}

func daysIn(y, m int64) int64 {
	if m == 2 && (y%4 != 0 || y%100 == 0 && y%400 != 0) {
		return 28
	}
	return int64("\x1f\x1d\x1f\x1e\x1f\x1e\x1f\x1f\x1e\x1f\x1e\x1f"[m-1])
}

// How far from the present a time may be and still be the event's.
const (
	maxAhead = 48 * time.Hour // a zone misread, a clock that is off
	day      = 24 * time.Hour
	oldest   = 946684800 * 1e9 // 2000-01-01: earlier, a machine had no clock yet
)

// present is when the current line was read, in nanoseconds since 1970.
func (p *Parser) present() uint64 {
	if p.now == 0 {
		p.now = uint64(time.Now().UnixNano())
	}
	return p.now
}

// yearless gives seconds since 1970 of a local date without a year: that of the year which makes it the nearest to the
// present, and at most two days ahead of it, so that on New Year's Day December is the last one.
func (p *Parser) yearless(m, d, secs int64) (int64, bool) {
	now := int64(p.present() / 1e9)
	year := int64(time.Unix(now, 0).UTC().Year())
	for y := year + 1; y >= year-8; y-- { // eight: 29 February, around a century
		t, ok := unix(y, m, d, secs)
		if !ok || t > now+int64((maxAhead+day)/time.Second) { // whatever the zone; asking for it costs more than all the rest
			continue
		}
		if t = p.local(t); t <= now+int64(maxAhead/time.Second) {
			return t, true
		}
	}
	return 0, false
}

// judgeTime takes a time that cannot be off the event, whose own time then is when it was read. It stays as attribute.
func (p *Parser) judgeTime(rec *otlp.Record) {
	if rec.Time == 0 || rec.Observed == 0 || rec.Time >= oldest && rec.Time <= rec.Observed+uint64(maxAhead) {
		return
	}
	from := len(p.arena)
	p.arena = time.Unix(0, int64(rec.Time)).UTC().AppendFormat(p.arena, time.RFC3339Nano)
	rec.Time = 0
	p.add(rec, "time", otlp.Text(p.arena[from:]))
}

// local turns seconds read in the parser's zone into real ones.
func (p *Parser) local(secs int64) int64 {
	if hour := secs/3600 + 1; hour != p.day.hour {
		p.day = p.offsetOf(secs)
	}
	return secs - p.day.offset
}

// offsetOf finds the zone's offset at a local time. Of an hour that the change of clocks has twice it is the second, unless that
// is still to come; in one that is skipped the clocks have not changed yet.
func (p *Parser) offsetOf(secs int64) dayCache {
	const aDay = 24 * 3600
	before, zone := offsetAt(secs-aDay, p.loc)
	after, later := offsetAt(secs+aDay, p.loc)
	hour := secs/3600 + 1
	if before == after {
		return dayCache{hour, before, zone}
	}
	first, _ := offsetAt(secs-before, p.loc)
	second, _ := offsetAt(secs-after, p.loc)
	switch {
	case second != after:
		return dayCache{hour, before, zone}
	case first == before: // twice: nothing to remember, as the present goes on
		if secs-after > int64(p.present()/1e9)+ahead {
			return dayCache{0, before, zone}
		}
		return dayCache{0, after, later}
	}
	return dayCache{hour, after, later}
}

// ahead is how many seconds a clock may be so.
const ahead = 120

func offsetAt(secs int64, loc *time.Location) (offset int64, zone string) {
	zone, seconds := time.Unix(secs, 0).In(loc).Zone()
	return int64(seconds), zone
}

// timestamp reads a time at the beginning of b: RFC 3339, the same with a blank
// for the T, or with slashes in the date; fraction and zone may lack. It returns
// nanoseconds since 1970, 0 for none, and how many bytes it took.
func (p *Parser) timestamp(b []byte) (nanos uint64, n int) {
	if len(b) < 19 {
		return 0, 0
	}
	sep := b[4]
	if sep != '-' && sep != '/' {
		return 0, 0
	}
	r := reader{b, true}
	y := r.digits(4)
	r.byte(sep)
	m := r.digits(2)
	r.byte(sep)
	d := r.digits(2)
	if !r.ok || len(r.b) == 0 || r.b[0] != 'T' && r.b[0] != ' ' && r.b[0] != 't' {
		return 0, 0
	}
	r.b = r.b[1:]
	secs := r.clock()
	frac := r.fraction()
	if !r.ok {
		return 0, 0
	}
	secs, ok := unix(y, m, d, secs)
	if !ok {
		return 0, 0
	}
	secs = p.real(&r, secs)
	return uint64(secs*1e9 + frac), len(b) - len(r.b)
}

// wholeTime reads a text that is a time from its first to its last byte, 0 if it is none.
func (p *Parser) wholeTime(b []byte) uint64 {
	b = bytes.TrimSpace(b)
	if t, n := p.anyTime(b); n == len(b) && n > 0 {
		return t
	}
	return 0
}

// epoch reads a number as time since 1970, in the unit its size suggests.
func epoch(f float64) uint64 {
	switch {
	case !(f >= 1e8):
		return 0
	case f < lastSecond:
		return uint64(f*1e6) * 1000
	case f >= 1e11 && f < lastSecond*1e3:
		return uint64(f*1e3) * 1000
	case f >= 1e14 && f < lastSecond*1e6:
		return uint64(f) * 1000
	case f >= 1e17 && f < lastSecond*1e9:
		return uint64(f)
	}
	return 0
}

// lastSecond is the last that nanoseconds in an int64 can tell, in 2262.
const lastSecond = 9.2e9
