// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"runtime"
	"runtime/debug"
	"time"
)

// started is when the work of a start is over: settings, enrolment, first connections.
const started = 10 * time.Second

// Small is for hubs, of which every container has some: it trades CPU time, of which they need next to none, for memory.
// Go code runs on at most procs threads at a time; each has its own store of half-used pages. Garbage is collected when
// the heap has grown by gcPercent since the last time. What starting took and nobody uses goes back to the machine once it
// is over, unless done is called before.
func Small(procs, gcPercent int) (done func()) {
	runtime.GOMAXPROCS(min(procs, runtime.GOMAXPROCS(0)))
	debug.SetGCPercent(gcPercent)
	timer := time.AfterFunc(started, debug.FreeOSMemory)
	return func() { timer.Stop() }
}
