// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/door"
	"cloud4.internal/hub/healthhub/internal/repeat"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/terminal"
)

// dashboardFlags are those of serve for readers without a certificate.
func dashboardFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "dashboard", Value: "127.0.0.1:8480",
			Usage: "`ADDRESS` of the dashboard over plain HTTP; empty: none"},
		&cli.BoolFlag{Name: "dashboard-token", Usage: "ask for the read token on --dashboard too, as behind a proxy that ends TLS"},
		&cli.StringFlag{Name: "dashboard-tls",
			Usage: "`ADDRESS` of the dashboard over TLS, for whoever has the read token, such as :8443; empty: none"},
		&cli.StringSliceFlag{Name: "dashboard-name",
			Usage: "a `NAME` under which browsers reach the dashboard, besides localhost, addresses as numbers and the names of the identity"},
		&cli.BoolFlag{Name: "unsafe-open-dashboard",
			Usage: "let --dashboard be reached from other machines, over plain HTTP, without asking who they are"},
	}
}

func checkDashboardFlags(c *cli.Context) error {
	for _, flag := range []string{"dashboard", "dashboard-tls"} {
		if address := c.String(flag); address != "" {
			if _, _, err := net.SplitHostPort(address); err != nil {
				return fmt.Errorf("--%s must be host:port, got %q", flag, address)
			}
		}
	}
	for _, name := range c.StringSlice("dashboard-name") {
		if strings.ContainsAny(name, ":/ ") {
			return fmt.Errorf("--dashboard-name must be a name alone, without scheme and port, got %q", name)
		}
	}
	if c.String("state") == "" && asksForToken(c) {
		return errors.New("the read token is kept in --state, which is empty")
	}
	address := c.String("dashboard")
	if address == "" || c.Bool("unsafe-open-dashboard") {
		return nil
	}
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--dashboard %s can be reached from other machines, in plain text: give --unsafe-open-dashboard if that is meant, "+
			"or use a loopback address and --dashboard-tls for the others", address)
	}
	return nil
}

func asksForToken(c *cli.Context) bool {
	return c.String("dashboard-tls") != "" || c.Bool("dashboard-token")
}

// serveDashboards opens the doors for readers without a certificate.
func serveDashboards(c *cli.Context, readers http.Handler, files *identity.Files, log zerolog.Logger) (tasks []daemon.Task) {
	names := c.StringSlice("dashboard-name")
	var tokens *door.Tokens
	if asksForToken(c) {
		tokens = door.OpenTokens(c.String("state"))
		firstToken(tokens, c.App.ErrWriter, log)
	}
	conf := door.Config{Next: readers, Refused: refusals(log), Names: func() []string {
		if own, err := files.Certificate(); err == nil && own.Leaf != nil {
			return append(slices.Clone(names), own.Leaf.DNSNames...)
		}
		return names
	}}
	if address := c.String("dashboard"); address != "" {
		plain := conf
		if c.Bool("dashboard-token") {
			plain.Tokens = tokens
		}
		server := dashboardServer(door.New(plain), conf.Refused)
		serve := server.Serve
		if plain.Tokens == nil { // a token's end is to be known at once
			serve = func(l net.Listener) error { return repeat.Serve(server, l) }
		}
		tasks = append(tasks, serveDashboard("http", address, log, serve, server))
	}
	if address := c.String("dashboard-tls"); address != "" {
		conf.Tokens = tokens
		server := dashboardServer(door.New(conf), conf.Refused)
		server.TLSConfig = &tls.Config{
			MinVersion:     tls.VersionTLS13,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.Certificate() },
		}
		tasks = append(tasks, serveDashboard("https", address, log, func(l net.Listener) error {
			return server.ServeTLS(l, "", "")
		}, server))
	}
	return tasks
}

// firstToken sees to it that there is a read token, or says how to come by one. It is shown on a terminal alone: what
// goes elsewhere is a log, which is kept.
func firstToken(tokens *door.Tokens, out io.Writer, log zerolog.Logger) {
	if err := tokens.Err(); err != nil {
		log.Warn().Err(err).Msg("nobody can log in to the dashboard")
	}
	if tokens.Made() {
		return
	}
	if terminal.Of(out).File == nil {
		log.Warn().Msg("nobody can log in to the dashboard: there is no read token yet; healthhub token makes and shows one")
		return
	}
	token, err := tokens.Make()
	if err != nil {
		log.Warn().Err(err).Msg("nobody can log in to the dashboard")
		return
	}
	fmt.Fprintf(out, "read token of the dashboard, shown this once: %s\n", token)
}

// maxDashboardConnections bounds browsers and widgets: each may hold a stream of events.
const maxDashboardConnections = 512

func dashboardServer(handler http.Handler, refused func(mtls.Refusal)) *http.Server {
	return &http.Server{
		Handler: http.MaxBytesHandler(handler, 4<<10), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ConnState: daemon.Bound(maxDashboardConnections),
		ErrorLog: stdlog.New(lines(func(line string) { refused(mtls.Refusal{What: "dashboard", Why: line}) }), "", 0),
	}
}

// lines takes what net/http has to say: above all of browsers that do not know the authority of the fleet.
type lines func(string)

// Write takes one line.
func (l lines) Write(line []byte) (int, error) {
	l(strings.TrimSpace(string(line)))
	return len(line), nil
}

func serveDashboard(scheme, address string, log zerolog.Logger, serve func(net.Listener) error, server *http.Server) daemon.Task {
	return daemon.Task{Name: "showing the dashboard on " + address, Run: func(ctx context.Context) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		log.Info().Str("url", scheme+"://"+l.Addr().String()+"/").Msg("showing the dashboard")
		return daemon.Serve(ctx, server, stopLimit, func() error { return serve(l) })
	}}
}

// refusals logs who was turned away, as often as is worth it.
func refusals(log zerolog.Logger) func(mtls.Refusal) {
	var refusals mtls.Refusals
	return func(r mtls.Refusal) {
		if say, unsaid := refusals.Worth(r); say {
			log.Warn().Str("remote", r.Remote).Str("who", r.Who).Str("what", r.What).Str("why", r.Why).
				Int("unsaid", unsaid).Msg("refused")
		}
	}
}

func tokenCommand() *cli.Command {
	return &cli.Command{
		Name:  "token",
		Usage: "make a new read token for the dashboard of serve, and show it this once",
		Description: "The one before ends, and whoever logged in with it has to log in again. A server that runs takes it at once;\n" +
			"only its hash is kept.\n\n   healthhub token",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "state", Value: filepath.Join(initctl.StateDir(), "health"),
				Usage: "`DIR` that serve keeps its state in"},
		},
		Action: func(c *cli.Context) error {
			token, err := door.OpenTokens(c.String("state")).Make()
			if err != nil {
				return err
			}
			fmt.Fprintln(c.App.Writer, token)
			return nil
		},
	}
}
