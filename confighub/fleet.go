// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	fleetTimeout  = 15 * time.Second
	maxFleetBytes = 64 << 20
)

// fleetCommand is `confighub fleet`.
func fleetCommand() *cli.Command {
	return &cli.Command{
		Name:  "fleet",
		Usage: "show which configuration every container is to have, and which it has",
		Description: `Asks confighub serve with the certificate of an operator or of a genesis server. A line for each replica:

   DESIRED      serial of the version it is to have
   APPLIED      serial of the one it has
   TRIED        serial of a newer one that it is at, or that it rejected or rolled back
   STATE        what became of the desired one: applied; pending; rejected or rolled_back, and ERROR says why;
                behind: it has said nothing of it yet; unknown: it never said anything; unseen: it was never heard of
   SEEN         when it was last heard of
   CERTIFICATE  how long the certificate that it used last is still good for
   ERROR        the first reason of what it refused last, until it has something newer; with its serial where TRIED is another

--watch shows changes as they come: on a terminal by drawing the table anew, else by a line for each. It ends when it is
interrupted. GET /metrics of the same server counts the states for a monitoring system.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "server", Usage: "`URL` of confighub serve", Value: defaultServer},
			&cli.StringFlag{Name: "identity", Usage: "`DIR` of id.pem and roots.pem (default: this container's)"},
			&cli.BoolFlag{Name: "json", Usage: "print the answer as it came"},
			&cli.BoolFlag{Name: "watch", Usage: "go on, and show what changes"},
			&cli.BoolFlag{Name: "recipients", Usage: "print whom values are sealed for: a file for confighub seal --recipients"},
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("watch") && (c.Bool("json") || c.Bool("recipients")):
				return daemon.Usage(errors.New("--watch is for the table: give neither --json nor --recipients with it"))
			case c.Bool("json") && c.Bool("recipients"):
				return daemon.Usage(errors.New("--json and --recipients exclude each other: the answer of --json holds the recipients"))
			case c.Bool("watch"):
				return watchFleet(c)
			}
			fleet, raw, err := askFleet(c)
			switch {
			case err != nil:
				return err
			case c.Bool("json"):
				_, err = c.App.Writer.Write(raw)
				return err
			case c.Bool("recipients"):
				return printRecipients(c.App.Writer, fleet, time.Now())
			}
			return printFleet(c.App.Writer, fleet, time.Now())
		},
	}
}

// askFleet asks the server of the command line for the fleet, and returns the answer as it came too.
func askFleet(c *cli.Context) (fleet serve.Fleet, raw []byte, err error) {
	files, err := fleetIdentity(c)
	if err != nil {
		return fleet, nil, err
	}
	ask, err := newFleetClient(c.String("server"), files)
	if err != nil {
		return fleet, nil, err
	}
	defer ask.close()
	return ask.fleet(c.Context)
}

// fleetIdentity is the one that the command line names, or this container's.
func fleetIdentity(c *cli.Context) (*identity.Files, error) {
	dir := c.String("identity")
	if dir == "" {
		dir = identity.Dir()
	}
	files := identity.Open(dir)
	if _, err := files.ID(); err != nil {
		return nil, fmt.Errorf("reading the identity in %s: %w: give --identity DIR of an operator or a genesis server", dir, err)
	}
	return files, nil
}

// fleetClient asks one server, over a connection that it keeps.
type fleetClient struct {
	url    string
	client *http.Client
}

func newFleetClient(server string, files *identity.Files) (*fleetClient, error) {
	if u, err := url.Parse(server); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, daemon.Usage(fmt.Errorf("--server: must be https://<host>[:<port>], got %q", server))
	}
	own, err := files.ID()
	if err != nil {
		return nil, fmt.Errorf("reading the own identity: %w", err)
	}
	return &fleetClient{
		url:    strings.TrimSuffix(server, "/") + "/v1/fleet",
		client: &http.Client{Transport: mtls.Transport(files, mtls.Genesis(own.TrustDomain, spiffe.KindConfig)), Timeout: fleetTimeout},
	}, nil
}

func (f *fleetClient) close() { f.client.CloseIdleConnections() }

// fleet asks once. It returns the answer as it came too.
func (f *fleetClient) fleet(ctx context.Context) (fleet serve.Fleet, raw []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return fleet, nil, fmt.Errorf("asking for the fleet: %w", err)
	}
	answer, err := f.client.Do(request)
	if err != nil {
		return fleet, nil, errors.New("asking for the fleet: " + mtls.Explain(err))
	}
	defer answer.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(answer.Body, maxFleetBytes))
	if err != nil {
		return fleet, nil, errors.New("reading the fleet: " + mtls.Explain(err))
	}
	if answer.StatusCode != http.StatusOK {
		return fleet, nil, fmt.Errorf("asking for the fleet: %s: %s", answer.Status, strings.TrimSpace(string(raw[:min(len(raw), 1<<10)])))
	}
	if err := json.Unmarshal(raw, &fleet); err != nil {
		return fleet, nil, fmt.Errorf("reading the fleet: %w", err)
	}
	return fleet, raw, nil
}
