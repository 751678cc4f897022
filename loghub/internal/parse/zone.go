// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

// zoneOf gives what a zone's abbreviation means, as minutes east of UTC. Of those that have several meanings (IST is India's,
// Israel's and Ireland's time) it only says that they are zones; words that sentences have in capitals too (EAT, MET) are
// none.
func zoneOf(word []byte) (minutes int64, clear, known bool) {
	hours := int64(0)
	switch string(word) {
	case "UTC", "GMT", "WET":
	case "WEST", "CET":
		hours = 1
	case "CEST", "EET", "SAST":
		hours = 2
	case "EEST", "MSK", "TRT":
		hours = 3
	case "PKT":
		hours = 5
	case "WIB":
		hours = 7
	case "AWST", "HKT", "SGT":
		hours = 8
	case "JST", "KST":
		hours = 9
	case "AEST":
		hours = 10
	case "AEDT":
		hours = 11
	case "NZST":
		hours = 12
	case "NZDT":
		hours = 13
	case "BRT":
		hours = -3
	case "EDT":
		hours = -4
	case "EST":
		hours = -5
	case "MDT":
		hours = -6
	case "PDT":
		hours = -7
	case "PST", "AKDT":
		hours = -8
	case "AKST":
		hours = -9
	case "ACST":
		return 9*60 + 30, true, true
	case "ACDT":
		return 10*60 + 30, true, true
	case "AST", "ADT", "AMT", "BST", "CDT", "CST", "IST", "MST", "NST", "PYT", "SST":
		return 0, false, true
	default:
		return 0, false, false
	}
	return hours * 60, true, true
}

// real turns seconds of a day that a zone may follow into real ones, and passes over the zone. Without one, and where its name
// has several meanings, they are read in the parser's zone.
func (p *Parser) real(r *reader, secs int64) int64 {
	if offset, zoned := r.zone(); zoned {
		return secs - offset
	}
	if word := r.zoneName(); word != nil {
		if secs, ok := p.inZone(word, secs); ok {
			r.b = r.b[1+len(word):]
			return secs
		}
	}
	return p.local(secs)
}

// zoneName is what may be the abbreviation of a zone behind a blank: capitals that nothing of a word or number follows.
func (r *reader) zoneName() []byte {
	if len(r.b) < 4 || r.b[0] != ' ' {
		return nil
	}
	n := 1
	for n < len(r.b) && n < 7 && r.b[n] >= 'A' && r.b[n] <= 'Z' {
		n++
	}
	if n < 4 || n == 7 || n < len(r.b) && (letter(r.b[n]) || digitByte(r.b[n]) || r.b[n] == '_') {
		return nil
	}
	return r.b[1:n]
}

// inZone turns seconds of a day in a named zone into real ones: the parser's own before any other of the name.
func (p *Parser) inZone(word []byte, secs int64) (real int64, ok bool) {
	minutes, clear, known := zoneOf(word)
	if local := p.local(secs); !clear || string(word) == p.day.zone {
		return local, known || string(word) == p.day.zone
	}
	return secs - minutes*60, true
}
