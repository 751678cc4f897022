// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/collect"
	"cloud4.internal/hub/healthhub/internal/dashboard"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "make host health of containers' reports, or fleet health of hosts'",
		Description: "Which of the two follows from the identity: host/<name> or genesis/health. It is waited for when it is not there yet.\n" +
			"Containers and hosts report, and operators, hosts and genesis servers read, over mutual TLS on --listen. People without a\n" +
			"certificate read on --dashboard-tls, with the read token that healthhub token makes. Everybody who can reach --dashboard\n" +
			"reads without asking; therefore it is on loopback unless --unsafe-open-dashboard is given. What is expected, groups and the\n" +
			"machine's own checks can also be set in the section health of the settings: expect, groups, classes, host_checks, report_to,\n" +
			"and who is told what is wrong: notify, deadman.\n\n" +
			"   healthhub serve --expect /etc/hub/expect.json --report-to https://genesis.internal:8444",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "listen", Value: ":8444", Usage: "`ADDRESS` for reports and readers over mutual TLS"},
			&cli.StringFlag{Name: "identity", Value: identity.Dir(), Usage: "`DIR` of id.pem and roots.pem"},
			&cli.StringFlag{Name: "expect", Usage: "`FILE` of what should be there, see healthhub manifest, or the root of the configuration tree; read again when it changes; without it, whoever has reported is expected to go on"},
			&cli.StringFlag{Name: "report-to", EnvVars: []string{"HUB_HEALTH_REPORT_TO"}, Usage: "`URL` of the next level, https://genesis.internal:8444"},
			&cli.StringFlag{Name: "state", Value: filepath.Join(initctl.StateDir(), "health"), Usage: "`DIR` that remembers who reported; empty: none"},
		}, dashboardFlags()...),
		Action: daemon.Service(serve),
	}
}

// serveGCPercent is below Go's 100: reports are short-lived garbage on a heap of a few megabytes, and a small
// machine has better uses for the difference.
const serveGCPercent = 40

func serve(c *cli.Context, log zerolog.Logger) error {
	s, sections := newSettings()
	if _, err := daemon.Settings(c, log, sections...); err != nil {
		return err
	}
	if err := checkServeFlags(c); err != nil {
		return daemon.Usage(err)
	}
	defer daemon.Small(runtime.GOMAXPROCS(0), serveGCPercent)()
	files := identity.Open(c.String("identity"))
	self, err := waitForIdentity(c.Context, files, c.String("identity"), log)
	if err != nil {
		return nil // told to stop before there was one
	}
	return serveAs(c, self, files, s.health, log)
}

// serveAs puts the parts together, for a docker host or the fleet.
func serveAs(c *cli.Context, self spiffe.ID, files *identity.Files, s setting.Settings, log zerolog.Logger) error {
	expect, err := openExpectation(firstOf(c.String("expect"), s.Expect), self, log)
	if err != nil {
		return daemon.Usage(err)
	}
	var collector *collect.Collector // Poke is called by what it is made of
	machine, err := newMachineChecks(s, files, func() { collector.Poke() }, log)
	if err != nil {
		return daemon.Usage(err)
	}
	changed := make(chan struct{}, 1)
	own := machine.Nodes
	var tasks []daemon.Task
	if to := reportTo(c, s, self, log); to != "" {
		sender := report.NewSender(to, files, func() health.Node { return collector.Node() }, log)
		own = func() []health.Node { return append(machine.Nodes(), unreported(sender.Status(), time.Now())...) }
		tasks = append(tasks, daemon.Task{Name: "reporting", Run: sender.Run}, daemon.Task{Name: "forwarding changes", Run: func(ctx context.Context) error {
			return forward(ctx, changed, sender)
		}})
	}
	notices, err := newNotices(s, files, func() page.Snapshot { return collector.Snapshot() }, c.String("state"), func() { collector.Poke() }, log)
	if err != nil {
		return daemon.Usage(err)
	}
	own = notices.with(own)
	collector, err = collect.New(collect.Config{
		Self: self, Expected: expect.first, Rules: s.Rules(), StateDir: c.String("state"), Own: own, Log: log,
		Changed: func() { poke(changed) },
	})
	if err != nil {
		return daemon.Usage(err)
	}
	pages := page.New(collector.Snapshot)
	collector.OnSum(pages.Tell)
	readers := http.NewServeMux()
	readers.Handle("GET /", pages.Handler())
	readers.Handle("GET /{$}", dashboard.New(dashboard.Config{Source: collector.Snapshot, Events: collector.History, Mutes: collector.Mutes}))
	collector.Reads(readers)
	log.Info().Str("level", collector.Level()).Stringer("identity", self).Int("expected", expect.count()).Msg("serving health")
	tasks = append(append(tasks, expect.tasks(collector)...), notices.tasks()...)
	tasks = append(tasks, daemon.Task{Name: "collecting reports", Run: collector.Run}, daemon.Task{Name: "checking this machine", Run: machine.Run},
		serveReports(files, self, collector, readers, c.String("listen"), log))
	tasks = append(tasks, serveDashboards(c, readers, files, log)...)
	return daemon.Run(c.Context, tasks...)
}

// reportTo is the next level: of the flag, its variable, or the settings. The settings of a container in which serve runs
// may be those of its own healthhub too, which reports to this one.
func reportTo(c *cli.Context, s setting.Settings, self spiffe.ID, log zerolog.Logger) string {
	if to := c.String("report-to"); to != "" || s.ReportTo == "" {
		return to
	}
	u, err := url.Parse(s.ReportTo) // checked with the settings
	if self.Role == spiffe.Genesis || err == nil && slices.Contains(self.DNSNames(), u.Hostname()) {
		log.Info().Str("report_to", s.ReportTo).Msg("health.report_to is this server itself: it is left to the container's own healthhub")
		return ""
	}
	return s.ReportTo
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// forward tells the sender of changes.
func forward(ctx context.Context, changed <-chan struct{}, sender *report.Sender) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			sender.Changed()
		}
	}
}

func checkServeFlags(c *cli.Context) error {
	if to := c.String("report-to"); to != "" {
		if u, err := url.Parse(to); err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("--report-to (or HUB_HEALTH_REPORT_TO) must be https://<host>[:port], got %q", to)
		}
	}
	return checkDashboardFlags(c)
}

// waitForIdentity waits for the identity's files, which confighub may only be about to write. An error means that ctx is done.
func waitForIdentity(ctx context.Context, files *identity.Files, dir string, log zerolog.Logger) (spiffe.ID, error) {
	for {
		id, err := files.ID()
		if err == nil || ctx.Err() != nil {
			return id, err
		}
		words := "no identity there yet"
		if !errors.Is(err, identity.ErrNone) {
			words = err.Error()
		}
		log.Warn().Str("dir", dir).Str("reason", words).Msg("waiting for the identity")
		limited, cancel := context.WithTimeout(ctx, time.Minute)
		_ = files.Wait(limited) // what is still missing is said at the next round
		cancel()
	}
}

// serveReports is the door with mutual TLS.
func serveReports(files *identity.Files, self spiffe.ID, collector *collect.Collector, readers http.Handler, address string, log zerolog.Logger) daemon.Task {
	refused := refusals(log)
	// What a check saw may be telling: containers do not read of each other.
	mayRead := mtls.AnyOf(mtls.Operator(self.TrustDomain, ""), mtls.Host(self.TrustDomain, ""),
		mtls.Genesis(self.TrustDomain, spiffe.KindHealth), mtls.Genesis(self.TrustDomain, spiffe.KindConfig), mtls.Genesis(self.TrustDomain, spiffe.KindLog))
	mux := http.NewServeMux()
	mux.Handle("POST "+report.Path, collector.Handler(refused))
	collector.Operate(mux, refused)
	mux.Handle("GET /", mtls.Require(mayRead, refused, readers))
	server := mtls.HTTP1Server(files, mux, refused)
	return daemon.Task{Name: "answering on " + address, Run: func(ctx context.Context) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		log.Info().Stringer("address", l.Addr()).Msg("taking reports over mutual TLS")
		return daemon.Serve(ctx, server, stopLimit, func() error { return server.ServeTLS(l, "", "") })
	}}
}

// stopLimit is how long answers under way may take when the server is told to stop.
const stopLimit = time.Second
