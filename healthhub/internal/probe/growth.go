// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import "time"

// growthSteps is how finely growth tells its window apart.
const growthSteps = 60

// growth says by how much a counter that only grows has grown within a window. It keeps at most growthSteps
// samples and a few. A counter that is smaller than before began anew at zero.
type growth struct {
	window  time.Duration
	offset  uint64 // what was counted before the counter last began anew
	last    uint64 // as read
	samples []sample
}

type sample struct {
	at    time.Time
	total uint64
}

// add takes a reading and says what was added since the window began; or, while the first reading is younger, since that.
func (g *growth) add(now time.Time, reading uint64) uint64 {
	if reading < g.last {
		g.restart()
	}
	g.last = reading
	total := g.offset + reading
	for len(g.samples) > 1 && now.Sub(g.samples[1].at) >= g.window {
		g.samples = g.samples[:copy(g.samples, g.samples[1:])]
	}
	if n := len(g.samples); n == 0 || now.Sub(g.samples[n-1].at) >= g.window/growthSteps {
		g.samples = append(g.samples, sample{now, total})
	}
	return total - g.samples[0].total
}

// restart says that who counts began anew at zero, however much is counted since.
func (g *growth) restart() { g.offset, g.last = g.offset+g.last, 0 }

// since says how far back add reaches.
func (g *growth) since(now time.Time) time.Duration {
	if len(g.samples) == 0 {
		return 0
	}
	return min(g.window, now.Sub(g.samples[0].at))
}
