// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// patient is a service with a restarter, on a clock of the test's.
type patient struct {
	t        *testing.T
	state    *initctl.State
	init     *hubinit
	log      bytes.Buffer
	notes    []string
	settling bool
	r        *restarter
}

func newPatient(t *testing.T, s setting.Restart) *patient {
	t.Helper()
	p := &patient{t: t, init: newHubinit(true), state: &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, StartedAt: time.Now()}}}
	live := setting.DefaultCheck(setting.KindTCP)
	live.Class, live.StartDeadline = setting.ClassLive, time.Minute
	p.r = newRestarter(Config{
		RunDir: t.TempDir(), Init: p.init, Log: zerolog.New(&p.log),
		Settings: setting.Settings{Restart: s, Checks: map[string]setting.Check{"alive": live}},
	}, func() bool { return p.settling }, func(text string) { p.notes = append(p.notes, text) })
	p.write()
	return p
}

func (p *patient) write() {
	p.t.Helper()
	if err := p.state.Write(p.r.dir); err != nil {
		p.t.Fatal(err)
	}
}

// pass lets time go by, with looks as often as the agent takes them, and gives how many restarts there were; each is one for
// the service too.
func (p *patient) pass(d time.Duration, checks ...health.Node) (restarts int) {
	p.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(hubInterval) {
		p.r.judge(p.t.Context(), checks, time.Now())
		synctest.Wait()
		if len(p.init.restarts) > 0 {
			<-p.init.restarts
			restarts++
			p.state.Service.StartedAt = time.Now()
			p.state.Service.Restarts++
			p.write()
		}
	}
	return restarts
}

func (p *patient) told() string {
	nodes := p.r.node(time.Now())
	if len(nodes) != 1 {
		return ""
	}
	return nodes[0].State.String() + " " + nodes[0].Text
}

func live(s health.State, flags ...string) health.Node {
	n := health.Node{Kind: health.KindCheck, Name: "alive", State: s, Text: "connection refused"}
	n.SetFlag(health.FlagLive, true)
	for _, f := range flags {
		n.SetFlag(f, true)
	}
	return n
}

func TestRestart(t *testing.T) {
	set := setting.Restart{After: 30 * time.Second, Max: 3, Per: time.Hour}
	for name, test := range map[string]struct {
		check  health.Node
		change func(p *patient)
		want   int // within five minutes
		told   string
	}{
		// The first after 30 s, then whenever the time to start is over, up to three.
		"hangs":           {live(health.Fail), nil, 3, "warn alive fails, and the service was restarted 3 times in 1h: the next restart is not before"},
		"passes":          {live(health.Pass), nil, 0, "pass the service is restarted when a check of class live fails for 30s"},
		"is unknown":      {live(health.Unknown), nil, 0, "pass"},
		"is info":         {live(health.Fail, health.FlagInfo), nil, 0, "pass"},
		"is muted":        {live(health.Fail, health.FlagMuted), nil, 0, "pass"},
		"is forced":       {live(health.Fail, health.FlagForced), nil, 0, "pass"},
		"another's fault": {live(health.Fail, health.FlagSuppressedBy+"db"), nil, 0, "pass"},
		"is not live":     {health.Node{Kind: health.KindCheck, Name: "page", State: health.Fail}, nil, 0, "pass"},
		"off":             {live(health.Fail), func(p *patient) { p.r.After = 0 }, 0, ""},
		"no hubinit":      {live(health.Fail), func(p *patient) { p.init.supervised = false }, 0, ""},
		"held": {live(health.Fail), func(p *patient) { p.state.Hold = &initctl.HoldState{By: "confighub"} }, 0,
			"warn a restart of the service waits: confighub holds the service"},
		"settling": {live(health.Fail), func(p *patient) { p.settling = true }, 0, "warn a restart of the service waits: a change is being watched (settle)"},
		"stops":    {live(health.Fail), func(p *patient) { p.state.Service.State = initctl.ServiceStopping }, 0, "pass"},
		"refused":  {live(health.Fail), func(p *patient) { p.init.refuse = errors.New("asking hubinit to restart: refused: no") }, 0, "warn"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPatient(t, set)
				if test.change != nil {
					test.change(p)
					p.write()
				}
				if got := p.pass(5*time.Minute, test.check); got != test.want {
					t.Errorf("restarted %d times, want %d", got, test.want)
				}
				if told := p.told(); !strings.HasPrefix(told, test.told) || (told == "") != (test.told == "") {
					t.Errorf("told %q, want %q", told, test.told)
				}
			})
		})
	}
}

// When a restart helped, the next failure counts from its own beginning; what was done is remembered by the next healthhub.
func TestRestartHelps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatient(t, setting.Restart{After: 30 * time.Second, Max: 2, Per: time.Hour})
		if n := p.pass(28*time.Second, live(health.Fail)); n != 0 {
			t.Error("restarted too early")
		}
		if n := p.pass(6*time.Second, live(health.Fail)); n != 1 {
			t.Errorf("restarted %d times after 34 s", n)
		}
		if told := p.told(); !strings.HasPrefix(told, "warn the service is restarted (1 of 2 in 1h): alive failed for 30s: connection refused") {
			t.Error(told)
		}
		if n := p.pass(50*time.Second, live(health.Fail)); n != 0 {
			t.Error("restarted while the service starts")
		}
		p.pass(4*time.Second, live(health.Pass))
		if n := p.pass(28*time.Second, live(health.Fail)); n != 0 {
			t.Error("the second failure was not counted from its beginning")
		}
		if n := p.pass(6*time.Second, live(health.Fail)); n != 1 {
			t.Errorf("restarted %d times in the second failure", n)
		}
		p.pass(4*time.Second, live(health.Pass))
		p.pass(time.Minute, live(health.Fail))
		if len(p.notes) != 3 || !strings.Contains(p.notes[2], "it is not restarted again for now") || strings.Count(p.log.String(), "again for now") != 1 {
			t.Errorf("history %q, log %s", p.notes, &p.log)
		}
		next := newRestarter(Config{RunDir: p.r.dir, Init: p.init, Log: zerolog.New(&p.log), Settings: setting.Settings{Restart: p.r.Restart}}, nil, nil)
		if len(next.done) != 2 {
			t.Errorf("the next healthhub knows of %d restarts", len(next.done))
		}
	})
}

func TestRestartFileBroken(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, restartFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	newRestarter(Config{RunDir: dir, Init: newHubinit(true), Log: zerolog.New(&log)}, nil, nil)
	if !strings.Contains(log.String(), "not counted") {
		t.Errorf("log: %s", &log)
	}
}
