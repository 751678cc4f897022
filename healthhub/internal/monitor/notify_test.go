// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// service is one that hubinit runs, and that speaks.
type service struct {
	t   *testing.T
	dir string
	m   *Monitor
}

// start makes it a new process.
func (s *service) start() {
	s.t.Helper()
	if err := (&initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, PID: 1, StartedAt: time.Now()}}).Write(s.dir); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) says(message string) {
	s.t.Helper()
	if err := s.m.Notify(message); err != nil {
		s.t.Fatal(err)
	}
}

// speaking makes a service that started just now.
func speaking(t *testing.T, dir string, c Config) *service {
	s := &service{t: t, dir: dir}
	s.start()
	c.RunDir, c.Changed = dir, func() {}
	s.m = New(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

func TestReady(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := speaking(t, dir, Config{})
		after(time.Minute)
		want(t, s.m, "") // whether it will speak is not known
		s.says("STATUS=loading\nMAINPID=7\n")
		want(t, s.m, "")
		s.says("READY=1\nSTATUS=serving 3 sites")
		want(t, s.m, "ready=pass[started]")
		if text := s.m.Nodes()[0].Text; text != "the service has said that it is ready: serving 3 sites" {
			t.Errorf("text %q", text)
		}
		after(time.Hour) // said once, for good
		want(t, s.m, "ready=pass[started]")
		if n := s.m.Nodes()[0]; !n.ValidUntil.IsZero() {
			t.Errorf("valid until %s", n.ValidUntil)
		}
		s.start()
		after(2 * time.Second)
		want(t, s.m, "ready=starting[started]")
		after(2 * time.Minute)
		want(t, s.m, "ready=fail[stale started]")
		if text := s.m.Nodes()[0].Text; !strings.Contains(text, "has not said within 2m that it is ready") {
			t.Errorf("text %q", text)
		}
		s.start() // a loop of crashes is no start
		after(2 * time.Second)
		want(t, s.m, "ready=fail[stale started]")
		s.says("READY=1")
		want(t, s.m, "ready=pass[started]")
	})
}

func TestWatchdog(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := speaking(t, dir, Config{Watchdog: 20 * time.Second})
		after(time.Hour)
		want(t, s.m, "") // it has promised nothing
		for range 100 {
			s.says("WATCHDOG=1")
			want(t, s.m, "watchdog=pass[critical live]")
			after(10 * time.Second)
		}
		after(9 * time.Second)
		want(t, s.m, "watchdog=pass[critical live]")
		after(time.Second)
		want(t, s.m, "watchdog=fail[critical live stale]")
		if text := s.m.Nodes()[0].Text; !strings.Contains(text, "has not said for 20s that it lives") {
			t.Errorf("text %q", text)
		}
		s.says("WATCHDOG=1")
		want(t, s.m, "watchdog=pass[critical live]")
		s.says("WATCHDOG=trigger")
		want(t, s.m, "watchdog=fail[critical live]")
		after(time.Hour)
		want(t, s.m, "watchdog=fail[critical live]")
		s.says("WATCHDOG_USEC=60000000\nWATCHDOG=1")
		after(59 * time.Second)
		want(t, s.m, "watchdog=pass[critical live]")
		s.start() // the new process has promised nothing yet, but the one before did
		after(2 * time.Minute)
		want(t, s.m, "watchdog=pass[critical live]")
		after(2 * time.Second)
		want(t, s.m, "watchdog=fail[critical live stale]")
		s.says("WATCHDOG=1")
		after(21 * time.Second)
		want(t, s.m, "watchdog=fail[critical live stale]")
		s.says("STOPPING=1")
		want(t, s.m, "watchdog=pass[critical live]")
		if stopping, _ := s.m.Stopping(); !stopping {
			t.Error("it does not know that the service stops")
		}
		s.says("WATCHDOG=1\nWATCHDOG_USEC=0")
		s.start()
		after(time.Hour)
		want(t, s.m, "watchdog=pass[critical live]")
	})
}

// A healthhub that was restarted arms the watch with the next sign of life; settings say what it counts for.
func TestDeclaredWatchdog(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		c := pushed(watchdogCheck, time.Minute)
		c.Criticality = setting.Info
		th := &thing{}
		th.set(health.Pass)
		s := speaking(t, dir, Config{Checks: []Check{c, polled(readyCheck, th)}})
		after(59 * time.Second)
		want(t, s.m, "ready=pass[] watchdog=pass[info unchecked]")
		after(2 * time.Second) // who declares it wants it said
		want(t, s.m, "ready=pass[] watchdog=fail[info stale unchecked]")
		s.says("WATCHDOG=1\nREADY=1") // ready is looked at here, and stays what is seen
		want(t, s.m, "ready=pass[] watchdog=pass[info]")
		after(defaultWatchdog)
		want(t, s.m, "ready=pass[] watchdog=fail[info stale]")
	})
}

func TestExtendTimeout(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		th := &thing{}
		th.set(health.Fail)
		s := speaking(t, dir, Config{Checks: []Check{polled("page", th)}})
		for range 10 { // a migration of ten minutes, told of each minute
			after(time.Minute)
			s.says("EXTEND_TIMEOUT_USEC=90000000")
			want(t, s.m, "page=starting[]")
		}
		after(91 * time.Second)
		want(t, s.m, "page=fail[]")
		before := th.count()
		th.set(health.Pass)
		s.says("READY=1") // worth a look at once
		after(10 * time.Millisecond)
		want(t, s.m, "page=pass[] ready=pass[started]")
		if th.count() != before+1 {
			t.Errorf("%d looks", th.count()-before)
		}
	})
}

func TestNotifyRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := run(t, "/nowhere")
		err := m.Notify("WATCHDOG_USEC=soon\nEXTEND_TIMEOUT_USEC=-1\nnothing\n=\n\x00\xff\nSTATUS=a\x1b[2Jb\nREADY=1\n")
		if err == nil || !strings.Contains(err.Error(), "WATCHDOG_USEC") || !strings.Contains(err.Error(), "EXTEND_TIMEOUT_USEC") {
			t.Error(err)
		}
		want(t, m, "ready=pass[started]")
		if text := m.Nodes()[0].Text; !strings.HasSuffix(text, ": ab") {
			t.Errorf("text %q", text)
		}
		if err := m.Notify("WATCHDOG_USEC=18446744073709551615\nWATCHDOG=1"); err != nil {
			t.Error(err)
		}
		after(time.Hour)
		want(t, m, "ready=pass[started] watchdog=pass[critical live]")
	})
}
