// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

import "cloud4.internal/hub/internal/otlp"

// redis reads `12:M 21 Nov 2026 07:55:42.123 * message`, and what its signal handlers write, whose time is in seconds:
// `12:signal-handler (1795247742) message`.
func (p *Parser) redis(line []byte, rec *otlp.Record) bool {
	r := reader{line, true}
	pid := r.number()
	r.byte(':')
	if !r.ok || len(r.b) < 28 {
		return false
	}
	if r.b[0] == 's' {
		return p.redisSignal(pid, r.b, rec)
	}
	role := redisRole(r.b[0])
	r.b = r.b[1:]
	r.byte(' ')
	d := r.digits(2)
	r.byte(' ')
	m := r.month()
	r.byte(' ')
	y := r.digits(4)
	r.byte(' ')
	secs := r.clock()
	frac := r.fraction()
	r.byte(' ')
	if !r.ok || role.Kind == otlp.KindEmpty || len(r.b) < 2 || r.b[1] != ' ' {
		return false
	}
	secs, ok := unix(y, m, d, secs)
	level, word := redisLevel(r.b[0])
	if !ok || level == 0 {
		return false
	}
	rec.Time = uint64(p.local(secs)*1e9 + frac)
	rec.Severity, rec.SeverityText = level, word
	rec.Body = otlp.Text(r.b[2:])
	p.put(rec, "process.pid", otlp.Int(pid))
	p.put(rec, "redis.role", role)
	return true
}

func (p *Parser) redisSignal(pid int64, b []byte, rec *otlp.Record) bool {
	const begin = "signal-handler ("
	if len(b) < len(begin) || string(b[:len(begin)]) != begin {
		return false
	}
	r := reader{b[len(begin):], true}
	secs := r.number()
	r.byte(')')
	r.byte(' ')
	if !r.ok {
		return false
	}
	rec.Time, rec.Severity, rec.SeverityText = epoch(float64(secs)), Warn, "warning"
	rec.Body = otlp.Text(r.b)
	p.put(rec, "process.pid", otlp.Int(pid))
	return true
}

// Roles as attributes hold them.
var (
	redisMaster   = otlp.String("master")
	redisReplica  = otlp.String("replica")
	redisChild    = otlp.String("child")
	redisSentinel = otlp.String("sentinel")
)

func redisRole(c byte) otlp.Value {
	switch c {
	case 'M':
		return redisMaster
	case 'S':
		return redisReplica
	case 'C':
		return redisChild
	case 'X':
		return redisSentinel
	}
	return otlp.Value{}
}

func redisLevel(c byte) (uint8, string) {
	switch c {
	case '.':
		return Debug, "debug"
	case '-':
		return Debug + 3, "verbose"
	case '*':
		return Info + 1, "notice"
	case '#':
		return Warn, "warning"
	}
	return 0, ""
}
