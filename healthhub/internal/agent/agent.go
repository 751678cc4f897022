// SPDX-License-Identifier: AGPL-3.0-or-later

// Package agent is healthhub in a container: it runs the checks (monitor), adds how the hubs themselves are
// (hubs.go), keeps <run>/health.json, answers on <run>/health.sock (socket.go), reports to the next level (report), and
// keeps the service from starting until what it needs is there (gate.go). A service may say itself how it is (notify.go), and one
// that is a job is reported as it ended, until its next time (job.go).
//
// health.json is written when a state changes and every half a minute, and is to be believed for a minute: with
// it hubinit's probe answers Docker without talking to anybody.
//
// What changed is kept (record), what somebody muted does not count (mute), and what somebody forces for a while to try out
// the way to an alarm is shown so (chaos.go). With health.restart, off by default, hubinit is asked to restart a service that
// hangs (restart.go); nothing else here touches the service, and nothing here signals it.
//
// Left out: how checks are looked at (probe) and what several looks mean (monitor); what hubinit does (initctl).
package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/record"
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
	muteFile    = "mutes.json"           // in the state directory
)

// Config says what an agent watches.
type Config struct {
	Name     string // of the container's node
	RunDir   string
	StateDir string // for mutes and history; "": in memory alone
	Settings setting.Settings
	Files    *identity.Files // to report with
	Log      zerolog.Logger
	Init     Hubinit
	Notify   bool // the service speaks sd_notify(3) (HUB_NOTIFY)
}

// Hubinit is what an agent asks of hubinit: *initctl.Hub.
type Hubinit interface {
	Supervised() bool // false: nobody answers, and there is no service to watch
	GateOpen() bool   // the start of the service has gone on
	Ready() error     // let it go on; called once
	Wait(d time.Duration, what string) error
	Restart(ctx context.Context) error
}

// Agent watches a container.
type Agent struct {
	Config
	monitor   *monitor.Monitor
	hubs      *hubs
	self      *self
	gate      *gate
	restarter *restarter
	chaos     *chaos
	mutes     *mute.List
	recorder  *record.Recorder
	sender    *report.Sender // nil: reports to nobody
	page      *page.Page
	changed   chan struct{}
	looked    map[string]bool // the names of the checks that are looked at
	settling  atomic.Int64    // settles under way

	refreshing sync.Mutex // held from a look at the checks until it is told: one seen earlier is never told later

	mu    sync.Mutex // guards what follows
	view  page.Snapshot
	ready health.State // whether the view, without what is forced, is ready
}

// New makes an agent. An error is one of the settings: a file that they name cannot be used.
func New(c Config) (*Agent, error) {
	a := &Agent{
		Config: c, changed: make(chan struct{}, 1), hubs: newHubs(c.RunDir, c.Init.Supervised(), c.Files),
		self: &self{declared: c.Settings.Checks}, recorder: record.New(c.StateDir, record.Size),
	}
	a.hubs.job = c.Settings.Job.Every > 0
	a.hubs.ends = earlierEnds(a.recorder, time.Now())
	a.chaos = newChaos(a.poke)
	a.looked = map[string]bool{}
	a.restarter = newRestarter(c, func() bool { return a.settling.Load() > 0 }, func(text string) { a.recorder.Mark(text, time.Now()) })
	a.openMutes()
	checks, err := a.checks()
	if err != nil {
		return nil, err
	}
	for _, c := range checks {
		a.looked[c.Name] = c.Look != nil
	}
	a.monitor = monitor.New(monitor.Config{
		RunDir: c.RunDir, Checks: checks, Changed: a.poke, Log: c.Log, Job: c.Settings.Job, StateDir: c.StateDir, Watchdog: watchdog(),
	})
	if a.gate, err = newGate(c.Settings, a.place(), checks, a.monitor.Nodes); err != nil {
		return nil, err
	}
	a.page = page.New(a.snapshot)
	if c.Settings.ReportTo != "" {
		a.sender = report.NewSender(c.Settings.ReportTo, c.Files, func() health.Node { return *a.snapshot().Node }, c.Log)
		a.sender.Last = a.lastWord
	}
	return a, nil
}

// openMutes reads what was muted before. What cannot be read or kept is said, and counts as not muted.
func (a *Agent) openMutes() {
	file := ""
	if a.StateDir != "" {
		file = filepath.Join(a.StateDir, muteFile)
	}
	var err error
	a.mutes, err = mute.Open(file, func(err error) { a.Log.Warn().Err(err).Msg("mutes end when healthhub does: they cannot be kept") })
	if err != nil {
		a.Log.Warn().Err(err).Msg("what was muted counts again")
	}
}

// checks are those of the settings, or without any the service's process and its ports.
func (a *Agent) checks() ([]monitor.Check, error) {
	var checks []monitor.Check
	for name, s := range a.Settings.Checks {
		if s.Kind == setting.KindPush && s.TTL == 0 {
			s.TTL = setting.DefaultTTL
		}
		look, err := probe.New(s, a.place())
		if err != nil {
			return nil, fmt.Errorf("health.checks.%s: %w", name, err)
		}
		checks = append(checks, monitor.Check{Name: name, Check: s, Look: look})
	}
	if len(checks) > 0 || !a.Init.Supervised() {
		return checks, nil
	}
	for name, s := range DefaultChecks() {
		look, err := probe.New(s, a.place())
		if err != nil {
			return nil, err
		}
		checks = append(checks, monitor.Check{Name: name, Check: s, Look: look})
	}
	return checks, nil
}

// DefaultChecks are what a container without settings gets, where hubinit says which process the service is.
func DefaultChecks() map[string]setting.Check {
	process := setting.DefaultCheck(setting.KindProcess)
	process.Class, process.Criticality = setting.ClassLive, setting.Critical
	ports := setting.DefaultCheck(setting.KindPorts)
	ports.DependsOn = []string{"service"}
	return map[string]setting.Check{"service": process, "ports": ports}
}

func (a *Agent) place() probe.Place { return probe.Place{RunDir: a.RunDir, Files: a.Files} }

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
	recording, recorded := context.WithCancel(context.WithoutCancel(ctx)) // until the last word is noted
	defer recorded()
	parts.Go(func() { a.recorder.Run(recording, a.Log) })
	defer a.mutes.Wait()
	defer a.restarter.parts.Wait()
	unwritten := a.write()
	a.self.wrote(unwritten)
	if deaf != nil || unwritten != nil {
		a.Log.Warn().AnErr("socket", deaf).AnErr("file", unwritten).
			Msg("the run directory cannot be used: healthhub works on and reports, but programs in this container, hubinit's probe among them, do not learn its health")
	}
	if a.Notify && a.Init.Supervised() {
		socket, err := openNotify(a.RunDir, a.monitor.Notify, a.Log)
		if err != nil {
			a.Log.Warn().Err(err).Msg("what the service says of itself is not heard")
		} else {
			parts.Go(func() { socket.run(ctx) })
		}
	}
	parts.Go(func() { a.awaitStart(ctx) })
	if a.sender != nil {
		parts.Go(func() { a.sender.Run(ctx) })
	}
	a.keep(ctx, unwritten != nil)
	a.done() // without a receiver too: the next healthhub knows it
	a.noteEnd()
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
		a.restarter.judge(ctx, now.Children, time.Now())
		if told != nil && same(told, now) && !due && !bad {
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
		a.self.wrote(err)
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
	a.refreshing.Lock()
	defer a.refreshing.Unlock()
	now := time.Now()
	n, ready := a.sum(a.nodes(now), now)
	a.mu.Lock()
	defer a.mu.Unlock()
	rollup.CarrySince(a.view.Node, &n, now.Round(0).UTC())
	n.ValidUntil = now.Round(0).UTC().Add(fileValid)
	transitions := a.recorder.Note(a.view.Node, &n, now)
	a.view, a.ready = page.Snapshot{Node: &n, Generation: a.view.Generation + 1, At: now}, ready
	a.page.Tell(a.view, transitions)
	return &n
}

// sum makes the container of its checks, which are its own from then on. What is muted does not count; what is forced
// does, and ends no mute: it is not what really is. Nor does it count for ready, which Docker and who acts for it go by.
func (a *Agent) sum(checks []health.Node, now time.Time) (n health.Node, ready health.State) {
	n = rollup.Container(a.Name, checks)
	for _, end := range a.mutes.Look(&n) {
		a.noted("%s is not muted any more: %s", end.Mute.Path, end.Why)
	}
	if len(a.mutes.Apply(&n)) > 0 {
		n = rollup.Container(a.Name, n.Children)
	}
	ready = rollup.Judge(&n, rollup.Ready)
	if a.chaos.apply(n.Children, now) {
		n = rollup.Container(a.Name, n.Children)
	}
	return n, ready
}

// nodes are all checks as of now: those of the container, and those in which the hubs tell of themselves.
func (a *Agent) nodes(now time.Time) []health.Node {
	nodes := append(a.monitor.Nodes(), a.hubs.nodes()...)
	nodes = append(nodes, a.restarter.node(now)...)
	var to *report.Status
	if a.sender != nil {
		status := a.sender.Status()
		to = &status
	}
	return append(nodes, a.self.node(nodes, a.monitor.Lag(), to, now))
}

// Section is healthhub's own part of health.json.
type Section struct {
	Checks int            `json:"checks"`
	Ready  health.State   `json:"ready"` // rollup's view of that name, without what is forced: what hubinit's probe tells Docker
	Report *report.Status `json:"report,omitempty"`
}

func (a *Agent) write() error {
	a.snapshot()
	a.mu.Lock()
	n, ready := a.view.Node, a.ready
	a.mu.Unlock()
	s := Section{Checks: len(n.Children), Ready: ready}
	if a.sender != nil {
		status := a.sender.Status()
		s.Report = &status
	}
	return health.WriteFile(a.RunDir, health.HealthFile, *n, s, fileValid)
}
