// SPDX-License-Identifier: AGPL-3.0-or-later

// Package agent is healthhub in a container: it runs the checks (monitor), adds how the hubs themselves are
// (hubs.go), keeps <run>/health.json, answers on <run>/health.sock (socket.go) and reports to the next level (report).
//
// health.json is written when a state changes and every half a minute, and is to be believed for a minute: with
// it hubinit's probe answers Docker without talking to anybody.
//
// Left out: deciding what to do about it. Nothing here touches the service.
package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

const (
	fileValid   = 60 * time.Second
	fileRefresh = fileValid / 2
	hubInterval = 2 * time.Second        // between looks at the files of the other hubs, and at what is told of checks
	viewFresh   = 250 * time.Millisecond // how old an answer on the socket may be
)

// Config says what an agent watches.
type Config struct {
	Name       string // of the container's node
	RunDir     string
	Settings   setting.Settings
	Supervised bool            // hubinit started this: there is a service to watch
	Files      *identity.Files // to report with
	Log        zerolog.Logger
	Ready      func() error // called once, when the socket answers
}

// Agent watches a container.
type Agent struct {
	Config
	monitor *monitor.Monitor
	hubs    *hubs
	sender  *report.Sender // nil: reports to nobody
	page    *page.Page
	changed chan struct{}

	mu   sync.Mutex // guards what follows
	view page.Snapshot
}

// New makes an agent. An error is one of the settings: a file that they name cannot be used.
func New(c Config) (*Agent, error) {
	a := &Agent{Config: c, changed: make(chan struct{}, 1), hubs: newHubs(c.RunDir)}
	checks, err := a.checks()
	if err != nil {
		return nil, err
	}
	a.monitor = monitor.New(c.RunDir, checks, a.poke)
	a.page = page.New(a.snapshot)
	if c.Settings.ReportTo != "" {
		a.sender = report.NewSender(c.Settings.ReportTo, c.Files, func() health.Node { return *a.snapshot().Node }, c.Log)
	}
	return a, nil
}

// checks are those of the settings, or without any the service's process and its ports.
func (a *Agent) checks() ([]monitor.Check, error) {
	var checks []monitor.Check
	for name, s := range a.Settings.Checks {
		if s.Kind == setting.KindPush && s.TTL == 0 {
			s.TTL = setting.DefaultTTL
		}
		look, err := probe.New(s, probe.Place{RunDir: a.RunDir})
		if err != nil {
			return nil, fmt.Errorf("health.checks.%s: %w", name, err)
		}
		checks = append(checks, monitor.Check{Name: name, Check: s, Look: look})
	}
	if len(checks) > 0 || !a.Supervised {
		return checks, nil
	}
	process := setting.DefaultCheck(setting.KindProcess)
	process.Class, process.Criticality = setting.ClassLive, setting.Critical
	ports := setting.DefaultCheck(setting.KindProcess)
	ports.DependsOn = []string{"service"}
	return []monitor.Check{
		{Name: "service", Check: process, Look: probe.Process(a.RunDir)},
		{Name: "ports", Check: ports, Look: probe.Ports(a.RunDir)},
	}, nil
}

func (a *Agent) poke() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Run watches until ctx is done.
func (a *Agent) Run(ctx context.Context) error {
	serve, deaf := a.listen()
	if deaf != nil {
		serve = func(context.Context) {}
	}
	a.hubs.look(time.Now())
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { serve(ctx) })
	parts.Go(func() { a.monitor.Run(ctx) })
	mute := a.write()
	if deaf != nil || mute != nil {
		a.Log.Warn().AnErr("socket", deaf).AnErr("file", mute).
			Msg("the run directory cannot be used: healthhub works on and reports, but programs in this container, hubinit's probe among them, do not learn its health")
	}
	if err := a.Ready(); err != nil {
		a.Log.Warn().Err(err).Msg("hubinit does not know that healthhub is ready")
	}
	if a.sender != nil {
		parts.Go(func() { a.sender.Run(ctx) })
	}
	a.keep(ctx, mute != nil)
	return nil
}

// keep writes health.json and wakes the sender. bad says that the last write failed, which is said once.
func (a *Agent) keep(ctx context.Context, bad bool) {
	look, refresh := time.NewTicker(hubInterval), time.NewTicker(fileRefresh)
	defer look.Stop()
	defer refresh.Stop()
	var told *health.Node
	for {
		due := false
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		case <-look.C:
			a.hubs.look(time.Now())
		case <-refresh.C:
			due = true
		}
		now := a.refresh()
		if told != nil && same(told, now) && !due {
			continue
		}
		if a.sender != nil && (told == nil || !same(told, now)) {
			a.sender.Changed()
		}
		a.say(told, now)
		told = now
		err := a.write()
		if err != nil && !bad {
			a.Log.Warn().Err(err).Msg("hubinit's probe will say that this container is not healthy")
		}
		bad = err != nil
	}
}

// say logs a change of the container's state: hubs' lines reach the fleet's log.
func (a *Agent) say(before, now *health.Node) {
	if before != nil && before.State == now.State {
		return
	}
	e := a.Log.Info()
	if now.State >= health.Warn {
		e = a.Log.Warn()
	}
	if before != nil {
		e.Stringer("was", before.State)
	}
	if now.Text != "" {
		e.Str("reason", now.Text)
	}
	e.Stringer("state", now.State).Msg("health")
}

// same reports whether b tells nothing that a did not: states, flags, and the words for what is not well and what to do
// about it. Numbers in them are no news, or every count and duration would be a report.
func same(a, b *health.Node) bool {
	return a.State == b.State && slices.Equal(a.Flags, b.Flags) && slices.EqualFunc(a.Children, b.Children, func(x, y health.Node) bool {
		return x.Name == y.Name && x.State == y.State && slices.Equal(x.Flags, y.Flags) &&
			(x.State == health.Pass || words(x.Text) == words(y.Text) && words(x.Action) == words(y.Action))
	})
}

// words is a text without its digits.
func words(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, text)
}

// snapshot is the container as of now, or of at most viewFresh ago.
func (a *Agent) snapshot() page.Snapshot {
	a.mu.Lock()
	fresh := a.view.Node != nil && time.Since(a.view.At) < viewFresh
	view := a.view
	a.mu.Unlock()
	if fresh {
		return view
	}
	a.refresh()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.view
}

// refresh sums the checks up anew.
func (a *Agent) refresh() *health.Node {
	nodes := append(a.monitor.Nodes(), a.hubs.nodes()...) // takes the monitor's lock, which calls poke; so not under ours
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	n := rollup.Container(a.Name, nodes)
	rollup.CarrySince(a.view.Node, &n, now.Round(0).UTC())
	n.ValidUntil = now.Round(0).UTC().Add(fileValid)
	a.view = page.Snapshot{Node: &n, Generation: a.view.Generation + 1, At: now}
	return &n
}

// Section is healthhub's own part of health.json.
type Section struct {
	Checks int            `json:"checks"`
	Report *report.Status `json:"report,omitempty"`
}

func (a *Agent) write() error {
	n := a.snapshot().Node
	s := Section{Checks: len(n.Children)}
	if a.sender != nil {
		status := a.sender.Status()
		s.Report = &status
	}
	return health.WriteFile(a.RunDir, health.HealthFile, *n, s, fileValid)
}
