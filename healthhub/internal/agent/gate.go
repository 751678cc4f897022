// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

const (
	gateEvery   = time.Second      // between looks at one thing the start waits for
	gateTimeout = 3 * time.Second  // for a look; a check has its own
	gateLease   = 30 * time.Second // asked of hubinit each time, so that a healthhub that hangs opens the gate
	gateRenew   = 10 * time.Second
)

// gate keeps hubinit from starting the service until everything that health.wait_for names is there at one time.
// Dependencies that compose honours at "up" are not honoured after a reboot; this is.
//
// healthhub waits, since hubinit knows no settings; hubinit stops waiting when nobody renews (see hubinit's gate).
type gate struct {
	items []*gateItem
	news  chan struct{} // an item's answer is another one; holds one
}

// gateItem is one thing that must be there.
type gateItem struct {
	name    string // as the settings have it, but for secrets: hubinit logs it
	look    probe.Func
	timeout time.Duration

	mu    sync.Mutex // guards what follows
	there bool
	why   string // not; "": not looked at yet
}

// newGate makes the gate of the settings. checks are the container's, for check:<name>; reported gives those that
// are reported by others.
func newGate(s setting.Settings, place probe.Place, checks []monitor.Check, reported func() []health.Node) (*gate, error) {
	g := &gate{news: make(chan struct{}, 1)}
	for i, text := range s.WaitFor {
		w, err := setting.ParseWait(text)
		if err != nil {
			return nil, fmt.Errorf("health.wait_for[%d]: %w", i, err)
		}
		item := &gateItem{name: setting.Shown(text), timeout: gateTimeout}
		switch w.Kind {
		case setting.WaitDNS:
			item.look = resolves(w.Target)
		case setting.WaitCheck:
			item.look = reports(w.Target, reported)
			for _, c := range checks {
				if c.Name != w.Target || c.Look == nil {
					continue
				}
				// Its own look: the monitor's, of which there is but one at a time, may begin when the service was started without waiting.
				if item.look, err = probe.New(c.Check, place); err != nil {
					return nil, fmt.Errorf("health.wait_for[%d]: %w", i, err)
				}
				item.timeout = c.Timeout
			}
		default:
			c := setting.DefaultCheck(w.Kind)
			switch w.Kind {
			case setting.KindHTTP:
				c.URL = w.Target
			case setting.KindTCP:
				c.Address = w.Target
			default:
				c.Path = w.Target
			}
			if item.look, err = probe.New(c, place); err != nil {
				return nil, fmt.Errorf("health.wait_for[%d]: %w", i, err)
			}
		}
		g.items = append(g.items, item)
	}
	return g, nil
}

// resolves makes a look at whether a name has an address.
func resolves(host string) probe.Func {
	return func(ctx context.Context) probe.Result {
		_, err := net.DefaultResolver.LookupHost(ctx, host)
		switch dns, ok := errors.AsType[*net.DNSError](err); {
		case err == nil:
			return probe.Result{State: health.Pass}
		case ok && dns.IsNotFound:
			return probe.Result{State: health.Fail, Text: "no such host"}
		}
		return probe.Result{State: health.Fail, Text: health.CleanText(err.Error())}
	}
}

// reports makes a look at what was reported of a push check.
func reports(name string, nodes func() []health.Node) probe.Func {
	return func(context.Context) probe.Result {
		for _, n := range nodes() {
			if n.Name == name && !n.HasFlag(health.FlagUnchecked) {
				return probe.Result{State: n.State, Text: n.Text}
			}
		}
		return probe.Result{State: health.Fail, Text: "nobody has reported on it yet"}
	}
}

// keep returns when everything is there, the service was started without, or ctx is done. It tells hubinit what is missing. Looks that
// hang (a file system that is gone) are left behind: they hold up neither this nor the end of healthhub.
func (g *gate) keep(ctx context.Context, init Hubinit, runDir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, item := range g.items {
		go item.watch(ctx, g.news)
	}
	renew, poll := time.NewTicker(gateRenew), time.NewTicker(gateEvery)
	defer renew.Stop()
	defer poll.Stop()
	told, due := "", true
	for {
		missing := g.missing()
		if missing == "" {
			return nil
		}
		if due || missing != told {
			if err := init.Wait(gateLease, missing); err != nil {
				return err
			}
			told, due = missing, false
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.news:
		case <-renew.C:
			due = true
		case <-poll.C:
			if s, err := initctl.ReadState(runDir); err == nil && s.Service.State != initctl.ServiceWaiting {
				return errStarted
			}
		}
	}
}

// errStarted says that nobody waits any more.
var errStarted = errors.New("hubinit has started the service without waiting for it")

// missing puts into words what is not there; "" when everything is.
func (g *gate) missing() string {
	var out []string
	for _, item := range g.items {
		item.mu.Lock()
		switch {
		case item.there:
		case item.why == "":
			out = append(out, item.name)
		default:
			out = append(out, item.name+" ("+item.why+")")
		}
		item.mu.Unlock()
	}
	return strings.Join(out, ", ")
}

// watch looks at the item until ctx is done, and again when it was there: another may take so long that this one has gone.
func (i *gateItem) watch(ctx context.Context, news chan<- struct{}) {
	for {
		limited, cancel := context.WithTimeout(ctx, i.timeout)
		r := i.look(limited)
		cancel()
		if ctx.Err() != nil {
			return
		}
		why := strings.TrimPrefix(r.Text, i.target()+": ")
		i.mu.Lock()
		changed := i.there != (r.State <= health.Warn) || i.why != why
		i.there, i.why = r.State <= health.Warn, why
		i.mu.Unlock()
		if changed {
			select {
			case news <- struct{}{}:
			default:
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gateEvery):
		}
	}
}

// target is the item without its scheme, with which the texts of looks begin.
func (i *gateItem) target() string {
	_, target, _ := strings.Cut(i.name, "://")
	return target
}

// awaitStart tells hubinit that the service may start: at once where nothing is waited for.
func (a *Agent) awaitStart(ctx context.Context) {
	if len(a.gate.items) > 0 && a.Init.Supervised() && !a.Init.GateOpen() {
		begin := time.Now()
		a.Log.Info().Str("wait_for", a.gate.missing()).Msg("the start of the service waits")
		err := a.gate.keep(ctx, a.Init, a.RunDir)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.Log.Warn().Err(err).Str("missing", a.gate.missing()).Msg("the start of the service is not waited with any more")
		default:
			a.Log.Info().Stringer("after", time.Since(begin).Round(time.Millisecond)).Msg("what the start of the service waits for is there")
		}
	}
	if err := a.Init.Ready(); err != nil {
		a.Log.Warn().Err(err).Msg("hubinit does not know that healthhub is ready")
	}
}
