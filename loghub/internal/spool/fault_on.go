// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build faults

package spool

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// FaultPoints are the places where HUB_LOG_FAULT=<point>[:n] ends a process built
// with -tags faults, by SIGKILL to itself at the n-th time it passes (default 1).
// They stand in the order of a record's life.
var FaultPoints = []string{
	"batch-written",   // frames are in the segment, the source does not know yet
	"segment-full",    // the next segment is to begin
	"segment-created", // it exists, and is empty
	"sync-done",       // everything committed was forced to the disk
	"spill-written",   // a piece of a segment in memory was copied to the disk
	"spill-synced",    // and forced there; the segment still is in memory
	"memory-dropped",  // it is on the disk alone
	"cursor-written",  // an acknowledgement is in the cursor
	"cursor-synced",   // and forced to the disk
	"before-unlink",   // a segment is wholly acknowledged
	"after-unlink",    // and gone
}

var faultAt, faultLeft = func() (string, *atomic.Int64) {
	left := new(atomic.Int64)
	point, times, counted := strings.Cut(os.Getenv("HUB_LOG_FAULT"), ":")
	os.Unsetenv("HUB_LOG_FAULT")
	n := int64(1)
	if counted {
		var err error
		if n, err = strconv.ParseInt(times, 10, 64); err != nil {
			panic(fmt.Sprintf("HUB_LOG_FAULT: %v", err))
		}
	}
	left.Store(n)
	return point, left
}()

// fault ends the process here if it was asked to.
func fault(point string) {
	if point == faultAt && faultLeft.Add(-1) == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // not a step further
	}
}
