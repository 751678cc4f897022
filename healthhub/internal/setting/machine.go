// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"fmt"
	"slices"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// The values of Check.Scope, Check.Resource and Check.Stall.
const (
	ScopeContainer = "container"
	ScopeHost      = "host"

	ResourceCPU    = "cpu"
	ResourceMemory = "memory"
	ResourceIO     = "io"

	StallSome = "some"
	StallFull = "full"
)

// What the kinds that look at files and at the machine do where nobody says.
const (
	DefaultMax      = 10               // log
	DefaultLogSpan  = 5 * time.Minute  // log
	DefaultTold     = 10 * time.Minute // memory, clock, scheduler
	DefaultMaxJump  = 2 * time.Second
	DefaultAverage  = time.Minute // pressure
	DefaultSeverity = "error"
)

// pressureSpans are the averages that the kernel keeps (Documentation/accounting/psi.rst).
var pressureSpans = []time.Duration{10 * time.Second, 60 * time.Second, 300 * time.Second}

// machineKeys are the keys of the kinds that look at files and at the machine.
func (c *Check) machineKeys() []keyUse {
	one := func(kinds ...string) []string { return kinds }
	return []keyUse{
		{"path", c.Path != "", false, one(KindDisk, KindInode, KindReadonly)},
		{"min_age", c.MinAge != 0, false, one(KindFile)},
		{"absent", c.Absent, false, one(KindFile)},
		{"warn", c.Warn != "", false, levelKinds},
		{"fail", c.Fail != "", false, levelKinds},
		{"window", c.Window != 0, false, one(KindLog, KindPressure, KindMemory, KindClock, KindScheduler)},
		{"scope", c.Scope != "", false, one(KindMemory, KindPressure)},
		{"severity", c.Severity != "", false, one(KindLog)},
		{"max", c.Max != nil, false, one(KindLog)},
		{"resource", c.Resource != "", false, one(KindPressure)},
		{"stall", c.Stall != "", false, one(KindPressure)},
		{"max_jump", c.MaxJump != 0, false, one(KindClock)},
	}
}

// checkLevels reports levels that are none, and a warning that comes after the failure.
func (c *Check) checkLevels(report func(key, message string)) {
	if !slices.Contains(levelKinds, c.Kind) {
		return
	}
	warn, err := ParseLevel(c.Kind, c.Warn)
	if err != nil {
		report("warn", err.Error())
	}
	fail, err2 := ParseLevel(c.Kind, c.Fail)
	if err2 != nil {
		report("fail", err2.Error())
	}
	if err == nil && err2 == nil && c.Warn != "" && c.Fail != "" && fail.Before(warn) {
		report("warn", fmt.Sprintf("%q comes after fail %q: it would never be seen", c.Warn, c.Fail))
	}
	if c.Kind == KindPressure && c.Window != 0 && !slices.Contains(pressureSpans, c.Window) {
		report("window", fmt.Sprintf("must be 10s, 60s or 300s, which are what the kernel keeps, got %q", c.Window))
	}
}

// checkFile reports what no file could be.
func (c *Check) checkFile(report func(key, message string)) {
	if c.MinSize != nil && c.MaxSize != nil && *c.MinSize > *c.MaxSize {
		report("max_size", "is below min_size: nothing could pass")
	}
	if c.Kind != KindFile {
		return
	}
	if c.MaxAge != 0 && c.MinAge > c.MaxAge {
		report("max_age", "is below min_age: nothing could pass")
	}
	if c.Absent && (c.MaxAge != 0 || c.MinAge != 0 || c.MinSize != nil || c.MaxSize != nil) {
		report("absent", "goes without ages and sizes: what is not there has none")
	}
	if !doublestar.ValidatePathPattern(c.Path) {
		report("path", fmt.Sprintf("is no pattern: %q", c.Path))
	}
}
