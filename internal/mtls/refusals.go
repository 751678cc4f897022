// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls

import (
	"net"
	"strings"
	"sync"
	"time"
)

// The lines of a log that refusals are worth in refusalsTime.
const (
	refusalsTime   = time.Minute
	maxOfOneSource = 20
	maxOfAll       = 200
)

// Refusals judges which refusals are worth a line of the log, so that nobody fills it who only has to knock: within
// a minute each kind of one source once, 20 kinds of one source, 200 in all. A source is an identity, or an address
// whatever its ports. The zero value is ready; for several goroutines.
type Refusals struct {
	mu      sync.Mutex
	began   time.Time
	kinds   map[kind]struct{}
	sources map[string]int
	unsaid  int
}

// kind is what refusals have in common that one line stands for.
type kind struct{ source, what, why string }

// Worth says whether to log r, and then how many were not since the last one that was.
func (rs *Refusals) Worth(r Refusal) (say bool, unsaid int) {
	k := kind{source: r.Who, what: r.What, why: strings.Map(noDigit, r.Why)}
	if k.source == "" {
		k.source = r.Remote
		if host, _, err := net.SplitHostPort(r.Remote); err == nil {
			k.source = host
		}
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if now := time.Now(); now.Sub(rs.began) >= refusalsTime {
		rs.began, rs.kinds, rs.sources = now, map[kind]struct{}{}, map[string]int{}
	}
	if _, known := rs.kinds[k]; known || rs.sources[k.source] >= maxOfOneSource || len(rs.kinds) >= maxOfAll {
		rs.unsaid++
		return false, 0
	}
	rs.kinds[k] = struct{}{}
	rs.sources[k.source]++
	unsaid, rs.unsaid = rs.unsaid, 0
	return true, unsaid
}

// noDigit drops what makes each reason a new one: ports and times.
func noDigit(r rune) rune {
	if r >= '0' && r <= '9' {
		return -1
	}
	return r
}
