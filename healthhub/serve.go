// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/collect"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/daemon"
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
			"Containers and hosts report, and operators, hosts and genesis servers read, over mutual TLS on --listen. Everybody who can\n" +
			"reach --dashboard reads without asking; therefore it is on loopback unless --unsafe-open-dashboard is given.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: ":8444", Usage: "`ADDRESS` for reports and readers over mutual TLS"},
			&cli.StringFlag{Name: "dashboard", Value: "127.0.0.1:8480", Usage: "`ADDRESS` of the dashboard over plain HTTP; empty: none"},
			&cli.BoolFlag{Name: "unsafe-open-dashboard", Usage: "let the dashboard be reached from other machines, without asking who they are"},
			&cli.StringFlag{Name: "identity", Value: identity.Dir(), Usage: "`DIR` of id.pem and roots.pem"},
			&cli.StringFlag{Name: "expect", Usage: "`FILE` of what should be there: {\"containers\": [\"web.shop.vm1\"]} on a host, {\"hosts\": [\"vm1\"]} for the fleet; without it, whoever has reported is expected to go on"},
			&cli.StringFlag{Name: "report-to", EnvVars: []string{"HUB_HEALTH_REPORT_TO"}, Usage: "`URL` of the next level, https://genesis.internal:8444"},
			&cli.StringFlag{Name: "state", Value: filepath.Join(initctl.StateDir(), "health"), Usage: "`DIR` that remembers who reported; empty: none"},
		},
		Action: daemon.Service(serve),
	}
}

// serveGCPercent is below Go's 100: reports are short-lived garbage on a heap of a few megabytes, and a small
// machine has better uses for the difference.
const serveGCPercent = 40

func serve(c *cli.Context, log zerolog.Logger) error {
	if err := checkServeFlags(c); err != nil {
		return daemon.Usage(err)
	}
	debug.SetGCPercent(serveGCPercent)
	files := identity.Open(c.String("identity"))
	self, err := waitForIdentity(c.Context, files, c.String("identity"), log)
	if err != nil {
		return nil // told to stop before there was one
	}
	expected, err := readExpected(c.String("expect"), self)
	if err != nil {
		return daemon.Usage(err)
	}
	changed := make(chan struct{}, 1)
	collector, err := collect.New(collect.Config{
		Self: self, Expected: expected, StateDir: c.String("state"), Log: log, Changed: func() { poke(changed) },
	})
	if err != nil {
		return daemon.Usage(err)
	}
	tasks := []daemon.Task{{Name: "collecting reports", Run: collector.Run}}
	if to := c.String("report-to"); to != "" {
		sender := report.NewSender(to, files, collector.Node, log)
		tasks = append(tasks, daemon.Task{Name: "reporting", Run: sender.Run}, daemon.Task{Name: "forwarding changes", Run: func(ctx context.Context) error {
			return forward(ctx, changed, sender)
		}})
	}
	readers := page.New(collector.Snapshot).Handler()
	log.Info().Str("level", collector.Level()).Stringer("identity", self).Int("expected", len(expected)).Msg("serving health")
	tasks = append(tasks, serveReports(files, self, collector, readers, c.String("listen"), log))
	if address := c.String("dashboard"); address != "" {
		tasks = append(tasks, serveDashboard(readers, address, log))
	}
	return daemon.Run(c.Context, tasks...)
}

func poke(c chan struct{}) {
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
	address := c.String("dashboard")
	if address == "" || c.Bool("unsafe-open-dashboard") {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--dashboard must be host:port, got %q", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--dashboard %s can be reached from other machines, and shows everything to whoever asks: give --unsafe-open-dashboard if that is meant, or use a loopback address", address)
	}
	return nil
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

// readExpected reads the list of what should be there: containers on a host, hosts in the fleet.
func readExpected(path string, self spiffe.ID) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading what is expected: %w", err)
	}
	var list struct {
		Containers []string `json:"containers"`
		Hosts      []string `json:"hosts"`
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("reading what is expected: %s: %w", path, err)
	}
	names, other := list.Containers, list.Hosts
	judge := func(name string) error {
		service, _, _ := strings.Cut(name, "/")
		id, err := spiffe.ParseBundleName(self.TrustDomain, service)
		if err == nil && (id.Role != spiffe.Container || id.Host != self.Host) {
			err = fmt.Errorf("%q is no container of host %s: must be <service>.<stack>.%s", name, self.Host, self.Host)
		}
		return err
	}
	if self.Role != spiffe.Host {
		names, other, judge = other, names, spiffe.CheckLabel
	}
	if len(other) > 0 || names == nil {
		return nil, fmt.Errorf("reading what is expected: %s: a host lists \"containers\", the fleet lists \"hosts\"; this is %s", path, self)
	}
	for _, name := range names {
		if err := judge(name); err != nil {
			return nil, fmt.Errorf("reading what is expected: %s: %w", path, err)
		}
	}
	return names, nil
}

// serveReports is the door with mutual TLS.
func serveReports(files *identity.Files, self spiffe.ID, collector *collect.Collector, readers http.Handler, address string, log zerolog.Logger) daemon.Task {
	var refusals mtls.Refusals
	refused := func(r mtls.Refusal) {
		if say, unsaid := refusals.Worth(r); say {
			log.Warn().Str("remote", r.Remote).Str("who", r.Who).Str("what", r.What).Str("why", r.Why).Int("unsaid", unsaid).Msg("refused")
		}
	}
	// What a check saw may be telling: containers do not read of each other.
	mayRead := mtls.AnyOf(mtls.Operator(self.TrustDomain, ""), mtls.Host(self.TrustDomain, ""),
		mtls.Genesis(self.TrustDomain, spiffe.KindHealth), mtls.Genesis(self.TrustDomain, spiffe.KindConfig), mtls.Genesis(self.TrustDomain, spiffe.KindLog))
	mux := http.NewServeMux()
	mux.Handle("POST "+report.Path, collector.Handler(refused))
	mux.Handle("GET /", mtls.Require(mayRead, refused, readers))
	server := mtls.Server(files, mux, refused)
	return daemon.Task{Name: "answering on " + address, Run: func(ctx context.Context) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		log.Info().Stringer("address", l.Addr()).Msg("taking reports over mutual TLS")
		return daemon.Serve(ctx, server, stopLimit, func() error { return server.ServeTLS(l, "", "") })
	}}
}

// serveDashboard is the door for readers without a certificate.
func serveDashboard(readers http.Handler, address string, log zerolog.Logger) daemon.Task {
	server := &http.Server{
		Handler: http.MaxBytesHandler(readers, 1<<10), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	return daemon.Task{Name: "showing the dashboard on " + address, Run: func(ctx context.Context) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		log.Info().Str("url", "http://"+l.Addr().String()+"/").Msg("showing the dashboard")
		return daemon.Serve(ctx, server, stopLimit, func() error { return server.Serve(l) })
	}}
}

// stopLimit is how long answers under way may take when the server is told to stop.
const stopLimit = time.Second
