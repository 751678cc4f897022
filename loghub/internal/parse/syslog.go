// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import (
	"bytes"

	"cloud4.internal/hub/internal/otlp"
)

// syslog reads the forms of syslog messages that reach a container:
//
//	<34>1 2026-11-21T07:55:42.123Z web su 12 ID47 [sd@1 k="v"] message   RFC 5424, with its priority or without
//	<34>Nov 21 07:55:42 web su[12]: message                              RFC 3164
//	<34>Nov 21 07:55:42 su[12]: message                                  as libc writes it to /dev/log
//	<34>message                                                          RFC 3164 §4.3.3; sd-daemon(3)
//	Nov 21 07:55:42 web su[12]: message                                  files of rsyslog
//	2026-11-21T07:55:42.123456+01:00 web su[12]: message                 the same since Debian 12
//
// A line without priority has the level that its message tells, if it does. What stands behind a header of HAProxy is read as
// HAProxy's own.
func (p *Parser) syslog(line []byte, rec *otlp.Record) bool {
	rest, primed := p.priority(line, rec)
	switch {
	case len(rest) > 2 && rest[0] == '1' && rest[1] == ' ' && (rest[2] == '2' || rest[2] == '-'):
		if p.syslog5424(rest[2:], rec) {
			return true
		}
		if !primed {
			return false
		}
		p.priority(line, rec) // what a half read header has left goes
	case !primed:
		return p.syslog3164(line, rest, rec, false)
	}
	if p.syslog3164(line, rest, rec, true) {
		return true
	}
	if rec.Body = otlp.Text(rest); line[2] == '>' {
		rec.Attributes = rec.Attributes[:0] // sd-daemon's prefix is a level alone
	}
	return len(rest) > 0 && rest[0] != ' '
}

// syslogSeverity are words (syslog.h) and numbers (data model, appendix B) of the severities 0 to 7.
var syslogSeverity = [8]struct {
	word   string
	number uint8
}{
	{"emerg", Fatal}, {"alert", Error + 2}, {"crit", Error + 1}, {"err", Error},
	{"warning", Warn}, {"notice", Info + 1}, {"info", Info}, {"debug", Debug},
}

// syslogFacility are the facilities as attributes hold them.
var syslogFacility = func() (values [24]otlp.Value) {
	for i, word := range facilities {
		values[i] = otlp.String(word)
	}
	return values
}()

// facilities are the words of RFC 5424 §6.2.1 as syslog.h has them; what has none there is named after its use.
var facilities = [24]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// priority reads "<34>", alone into a record that is empty otherwise.
func (p *Parser) priority(line []byte, rec *otlp.Record) (rest []byte, ok bool) {
	if len(line) < 3 || line[0] != '<' {
		return line, false
	}
	r := reader{line[1:], true}
	pri := r.number()
	r.byte('>')
	if !r.ok || pri > 191 || len(line)-len(r.b) > len("<191>") {
		return line, false
	}
	clearRecord(rec)
	s := syslogSeverity[pri&7]
	rec.Severity, rec.SeverityText = s.number, s.word
	p.put(rec, "syslog.facility", syslogFacility[pri>>3])
	return r.b, true
}

// syslog3164 reads what follows the priority. Without one, and without what only a syslog daemon writes, a line is prose.
func (p *Parser) syslog3164(line, b []byte, rec *otlp.Record, primed bool) bool {
	nanos, rest, ok := p.monthDay(b)
	daemons := true
	if !ok {
		n := p.stamp(line, b, rec)
		if n == 0 || b[10] != 'T' {
			return false
		}
		nanos, rest = rec.Time, b[n:]
		daemons = n == len("2026-11-21T07:55:42.123456+01:00")
	}
	if len(rest) == 0 || rest[0] != ' ' {
		return false
	}
	rest = rest[1:]
	var host []byte
	tag, pid, message, ok := syslogTag(rest)
	if !ok {
		var behind []byte
		if host, behind, ok = cutByte(rest, ' '); ok && name(host) == len(host) {
			tag, pid, message, _ = syslogTag(behind)
		}
	}
	if tag == nil {
		if !primed {
			return false
		}
		host, message = nil, rest // no tag: nothing tells a host from the first word of the message
	}
	if !primed && (pid == nil && !daemons || severity(tag) != 0) {
		return false
	}
	rec.Time = nanos
	if host != nil {
		p.put(rec, "syslog.hostname", otlp.Text(host))
	}
	if tag != nil {
		p.put(rec, "syslog.appname", otlp.Text(tag))
	}
	if pid != nil {
		p.put(rec, "syslog.procid", otlp.Text(pid))
	}
	p.syslogMessage(tag, message, rec)
	return true
}

// syslogTag reads "su[12]: " or "su: ". RFC 3164 wants a tag of 32 letters and digits; programs use more of both.
func syslogTag(b []byte) (tag, pid, message []byte, ok bool) {
	n := name(b)
	if n == 0 || n > 48 || n == len(b) {
		return nil, nil, nil, false
	}
	tag, b = b[:n], b[n:]
	if b[0] == '[' {
		end := bytes.IndexByte(b[:min(len(b), 48)], ']')
		if end < 2 {
			return nil, nil, nil, false
		}
		pid, b = b[1:end], b[end+1:]
	}
	if len(b) == 0 || b[0] != ':' {
		return nil, nil, nil, false
	}
	b = b[1:]
	if len(b) > 0 && b[0] != ' ' {
		return nil, nil, nil, false
	}
	return tag, pid, bytes.TrimPrefix(b, []byte(" ")), true
}

// syslogMessage takes the message, which a program may have put a form of its own on.
func (p *Parser) syslogMessage(tag, message []byte, rec *otlp.Record) {
	if bytes.HasPrefix(tag, []byte("haproxy")) && p.haproxyLine(message, rec) {
		return
	}
	rec.Body = otlp.Text(message)
	p.levelWithin(message, rec)
}

// syslog5424 reads what follows the version (RFC 5424 §6).
func (p *Parser) syslog5424(b []byte, rec *otlp.Record) bool {
	stamp, b, ok := cutByte(b, ' ')
	if !ok || len(stamp) > len("2026-11-21T07:55:42.123456789+01:00") {
		return false
	}
	if string(stamp) != "-" {
		t, n := p.timestamp(stamp)
		if t == 0 || n != len(stamp) || stamp[10] != 'T' {
			return false
		}
		rec.Time = t
	}
	var app []byte
	for i, key := range [...]string{"syslog.hostname", "syslog.appname", "syslog.procid", "syslog.msgid"} {
		var v []byte
		if v, b, ok = cutByte(b, ' '); !ok || len(v) == 0 || len(v) > 255 {
			return false
		}
		if string(v) == "-" {
			continue
		}
		p.put(rec, key, otlp.Text(v))
		if i == 1 {
			app = v
		}
	}
	if b, ok = p.structured(b, rec); !ok {
		return false
	}
	b = bytes.TrimPrefix(b, []byte(" "))
	p.syslogMessage(app, bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), rec)
	return true
}

// structured reads structured data (RFC 5424 §6.3) and makes `[id name="value"]` the attribute syslog.<id>.<name>.
func (p *Parser) structured(b []byte, rec *otlp.Record) (rest []byte, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		return b[1:], len(b) == 1 || b[1] == ' '
	}
	if len(b) == 0 || b[0] != '[' {
		return nil, false
	}
	for len(b) > 0 && b[0] == '[' {
		n := sdName(b[1:])
		if n == 0 {
			return nil, false
		}
		id := b[1 : 1+n]
		b = b[1+n:]
		for len(b) > 0 && b[0] == ' ' {
			if b, ok = p.sdParam(id, b[1:], rec); !ok {
				return nil, false
			}
		}
		if len(b) == 0 || b[0] != ']' {
			return nil, false
		}
		b = b[1:]
	}
	return b, len(b) == 0 || b[0] == ' '
}

func (p *Parser) sdParam(id, b []byte, rec *otlp.Record) (rest []byte, ok bool) {
	n := sdName(b)
	if n == 0 || len(b) < n+2 || b[n] != '=' || b[n+1] != '"' {
		return nil, false
	}
	value, rest, ok := quoted(b[n+2:])
	if !ok {
		return nil, false
	}
	from := len(p.arena)
	p.arena = append(append(append(append(p.arena, "syslog."...), id...), '.'), b[:n]...)
	key := p.intern(p.arena[from:])
	if bytes.IndexByte(value, '\\') >= 0 {
		value = p.sdUnescape(value)
	}
	p.add(rec, key, otlp.Text(value))
	return rest, true
}

// sdUnescape undoes \" \\ and \]; any other backslash is one (RFC 5424 §6.3.3).
func (p *Parser) sdUnescape(b []byte) []byte {
	from := len(p.arena)
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) && (b[i+1] == '"' || b[i+1] == '\\' || b[i+1] == ']') {
			i++
		}
		p.arena = append(p.arena, b[i])
	}
	return p.arena[from:len(p.arena):len(p.arena)]
}

// sdName is the size of an SD-NAME.
func sdName(b []byte) int {
	n := 0
	for n < len(b) && n < 64 && b[n] > ' ' && b[n] != '=' && b[n] != ']' && b[n] != '"' && b[n] < 0x7f {
		n++
	}
	return n
}
