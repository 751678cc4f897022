// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"time"

	"cloud4.internal/hub/internal/otlp"
)

// stampMemo remembers the time that one line begins with: several layouts ask for it.
type stampMemo struct {
	asked bool
	at    int // where in the line it was looked for
	nanos uint64
	size  int
}

// end is how much of the line is known to be a time and what stands in front of it.
func (m *stampMemo) end() int {
	if !m.asked || m.size == 0 {
		return 0
	}
	return m.at + m.size
}

// stamp reads date and time at the beginning of b, a part of line. It returns their size, 0 for none.
func (p *Parser) stamp(line, b []byte, rec *otlp.Record) int {
	at := len(line) - len(b)
	if !p.memo.asked || p.memo.at != at {
		p.memo = stampMemo{asked: true, at: at}
		p.memo.nanos, p.memo.size = p.timestamp(b)
	}
	rec.Time = p.memo.nanos
	return p.memo.size
}

// today is midnight of the present day in the parser's zone.
type today struct {
	hour     uint64 // hours of the present since 1970, +1 so that 0 is none
	midnight int64  // seconds since 1970, as if in UTC
}

// clockToday reads "07:55:42.123" as that of the last twelve hours, or the next twelve. It returns the size, 0 for none.
func (p *Parser) clockToday(b []byte, rec *otlp.Record) int {
	r := reader{b, true}
	secs := r.clock()
	frac := r.fraction()
	if !r.ok {
		return 0
	}
	now := p.present()
	if hour := now/3600e9 + 1; hour != p.today.hour {
		t := time.Unix(0, int64(now)).In(p.loc)
		y, m, d := t.Date()
		midnight, _ := unix(int64(y), int64(m), int64(d), 0)
		p.today = today{hour, midnight}
	}
	const seconds = int64(day / time.Second)
	t := p.local(p.today.midnight + secs)
	switch off := t - int64(now/1e9); {
	case off > seconds/2:
		t = p.local(p.today.midnight - seconds + secs)
	case off < -seconds/2:
		t = p.local(p.today.midnight + seconds + secs)
	}
	rec.Time = uint64(t*1e9 + frac)
	return len(b) - len(r.b)
}

// kitchen is the size of "7:55AM", 0 for none.
func kitchen(b []byte) int {
	r := reader{b, true}
	h := r.number()
	r.byte(':')
	m := r.digits(2)
	if !r.ok || h < 1 || h > 12 || m > 59 || len(r.b) < 2 || r.b[0] != 'A' && r.b[0] != 'P' || r.b[1] != 'M' {
		return 0
	}
	return len(b) - len(r.b) + 2
}

// daytime reads "21-Nov-2026 07:55:42.123", with or without a zone: " UTC" or " Europe/Berlin", of which all but the first are
// taken for the parser's. It returns the size, 0 for none.
func (p *Parser) daytime(b []byte, rec *otlp.Record) int {
	r := reader{b, true}
	d := r.digits(2)
	r.byte('-')
	m := r.month()
	r.byte('-')
	y := r.digits(4)
	r.byte(' ')
	secs := r.clock()
	frac := r.fraction()
	if !r.ok {
		return 0
	}
	secs, ok := unix(y, m, d, secs)
	if !ok {
		return 0
	}
	secs = p.real(&r, secs)
	if n := name(r.b[min(1, len(r.b)):]); n > 0 && r.b[0] == ' ' && r.b[1] >= 'A' && 1+n < len(r.b) && r.b[1+n] == ']' {
		r.b = r.b[1+n:]
	}
	rec.Time = uint64(secs*1e9 + frac)
	return len(b) - len(r.b)
}

// monthDay reads "Nov 21 07:55:42", the day padded by a blank or not, a fraction behind it or not, the last such day.
// It returns what follows.
func (p *Parser) monthDay(b []byte) (nanos uint64, rest []byte, ok bool) {
	r := reader{b, true}
	m := r.month()
	r.byte(' ')
	if len(r.b) > 0 && r.b[0] == ' ' {
		r.b = r.b[1:]
	}
	d := r.number()
	r.byte(' ')
	secs := r.clock()
	frac := r.fraction()
	if !r.ok {
		return 0, nil, false
	}
	t, ok := p.yearless(m, d, secs)
	return uint64(t*1e9 + frac), r.b, ok
}
