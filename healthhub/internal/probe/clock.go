// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// notBefore is when this was written: a clock that shows less was never set. Machines without a battery start in 1970, or
// where they were switched off.
var notBefore = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// staUnsync is STA_UNSYNC of adjtimex(2): nothing keeps the clock right.
const staUnsync = 0x40

// clock looks at the wall clock: whether the kernel is told that something keeps it right, whether it was set
// since the last look, against the clock of this boot, which runs on through suspend, and whether it shows a date that cannot be.
type clock struct {
	maxJump, window time.Duration
	wall            func() time.Time
	boot            func() (time.Duration, error)
	kept            func() (ok bool, off time.Duration, err error)

	lastWall time.Time // zero: not looked yet
	lastBoot time.Duration
	jump     time.Duration // the last one
	jumpAt   time.Duration // of boot; 0: none
}

func newClock(s setting.Check) *clock {
	return &clock{
		maxJump: cmp.Or(s.MaxJump, setting.DefaultMaxJump), window: cmp.Or(s.Window, setting.DefaultTold),
		wall: func() time.Time { return time.Now().Round(0) }, boot: sinceBoot, kept: clockKept,
	}
}

func (c *clock) look(context.Context) Result {
	now, boot, err := c.read()
	if err != nil {
		return blind("the clock of this boot cannot be read: %v", err)
	}
	if !c.lastWall.IsZero() {
		if by := now.Sub(c.lastWall) - (boot - c.lastBoot); by.Abs() > c.maxJump {
			c.jump, c.jumpAt = by, boot
		}
	}
	c.lastWall, c.lastBoot = now, boot

	state, said, action := health.Pass, []string(nil), ""
	var values []health.Value
	if now.Before(notBefore) {
		state = health.Fail
		said = append(said, "it shows "+now.UTC().Format(time.DateOnly)+", which cannot be")
	}
	ok, off, err := c.kept()
	switch {
	case err != nil:
		said = append(said, "whether something keeps it right cannot be read here")
	case !ok:
		state = max(state, health.Warn)
		said = append(said, "nothing keeps it right")
		action = "let an NTP service run on the machine: systemd-timesyncd, or chrony with rtcsync"
		values = append(values, value("synchronised", "1", 0))
	default:
		said = append(said, "kept right to "+span(off))
		values = append(values, value("synchronised", "1", 1), value("max_error", "s", off.Seconds()))
	}
	if c.jumpAt > 0 && boot-c.jumpAt < c.window {
		state = max(state, health.Warn)
		said = append(said, fmt.Sprintf("it was set %s %s ago", direction(c.jump), span(boot-c.jumpAt)))
		values = append(values, value("jump", "s", c.jump.Seconds()))
	}
	return Result{State: state, Text: "the clock: " + strings.Join(said, "; "), Action: action, Values: values}
}

// read reads both clocks at one time: a pause in between would look like a jump.
func (c *clock) read() (wall time.Time, boot time.Duration, err error) {
	for range 5 {
		before, err := c.boot()
		if err != nil {
			return time.Time{}, 0, err
		}
		wall = c.wall()
		if boot, err = c.boot(); err != nil || boot-before < c.maxJump/10 {
			return wall, boot, err
		}
	}
	return wall, boot, errors.New("this machine is too busy to compare clocks")
}

func direction(d time.Duration) string {
	if d < 0 {
		return "back by " + span(-d)
	}
	return "forward by " + span(d)
}

// sinceBoot reads CLOCK_BOOTTIME.
func sinceBoot() (time.Duration, error) {
	var ts unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano()), err
}

// clockKept asks the kernel whether something keeps the clock right, and how far off it may be.
func clockKept() (ok bool, off time.Duration, err error) {
	var t syscall.Timex // Modes 0: read only, for which nobody needs a right
	if _, err := syscall.Adjtimex(&t); err != nil {
		return false, 0, err
	}
	return t.Status&staUnsync == 0, time.Duration(t.Maxerror) * time.Microsecond, nil
}
