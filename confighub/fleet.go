// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
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
		Description: `Asks confighub serve with the certificate of an operator or of a genesis server. DESIRED and APPLIED are
serials. STATE is what the container said last: applied, pending, rejected or rolled_back; "behind" when it
applied an older version than it is to have, "unseen" when it was never heard of.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "server", Usage: "`URL` of confighub serve", Value: defaultServer},
			&cli.StringFlag{Name: "identity", Usage: "`DIR` of id.pem and roots.pem (default: this container's)"},
			&cli.BoolFlag{Name: "json", Usage: "print the answer as it came"},
			&cli.BoolFlag{Name: "recipients", Usage: "print whom values are sealed for: a file for confighub seal --recipients"},
		},
		Action: func(c *cli.Context) error {
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
	dir := c.String("identity")
	if dir == "" {
		dir = identity.Dir()
	}
	files := identity.Open(dir)
	if _, err := files.ID(); err != nil {
		return fleet, nil, fmt.Errorf("reading the identity in %s: %w: give --identity DIR of an operator or a genesis server", dir, err)
	}
	if raw, err = fetchFleet(c.Context, c.String("server"), files); err != nil {
		return fleet, nil, err
	}
	if err := json.Unmarshal(raw, &fleet); err != nil {
		return fleet, nil, fmt.Errorf("reading the fleet: %w", err)
	}
	return fleet, raw, nil
}

func fetchFleet(ctx context.Context, server string, files *identity.Files) ([]byte, error) {
	own, err := files.ID()
	if err != nil {
		return nil, fmt.Errorf("reading the own identity: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, fleetTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/v1/fleet", nil)
	if err != nil {
		return nil, fmt.Errorf("asking for the fleet: %w", err)
	}
	client := &http.Client{Transport: mtls.Transport(files, mtls.Genesis(own.TrustDomain, spiffe.KindConfig))}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		return nil, errors.New("asking for the fleet: " + mtls.Explain(err))
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxFleetBytes))
	if err != nil {
		return nil, errors.New("reading the fleet: " + mtls.Explain(err))
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking for the fleet: %s: %s", answer.Status, strings.TrimSpace(string(raw[:min(len(raw), 1<<10)])))
	}
	return raw, nil
}

// printFleet writes the table, after what is wrong with the tree.
func printFleet(w io.Writer, fleet serve.Fleet, now time.Time) error {
	for _, problem := range fleet.Tree.Problems {
		if _, err := fmt.Fprintf(w, "the tree is broken: %s\n", problem); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "IDENTITY\tINSTANCE\tDESIRED\tAPPLIED\tSTATE\tSEEN\tERROR")
	for _, container := range fleet.Containers {
		if len(container.Instances) == 0 {
			fmt.Fprintf(table, "%s\t-\t%d\t-\tunseen\t-\t-\n", container.Identity, container.Desired.Serial)
		}
		for _, i := range container.Instances {
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\t%s\n", container.Identity, dash(i.Instance), container.Desired.Serial,
				appliedSerial(i), stateOf(container, i), ago(now, i.Seen), dash(firstLine(i.Errors)))
		}
	}
	return table.Flush()
}

// stateOf is what an instance said, seen beside what it is to have.
func stateOf(container serve.Container, i serve.Instance) string {
	switch {
	case i.State == "":
		return "unknown"
	case i.State == bundle.StateApplied && i.Version.Digest != container.Desired.Digest:
		return "behind"
	}
	return i.State
}

// appliedSerial is the serial of the last report; in brackets when that version is not the one in use.
func appliedSerial(i serve.Instance) string {
	switch {
	case i.State == "":
		return "-"
	case i.State == bundle.StateApplied:
		return fmt.Sprint(i.Version.Serial)
	}
	return fmt.Sprintf("(%d)", i.Version.Serial)
}

func ago(now, then time.Time) string {
	if then.IsZero() {
		return "-"
	}
	return now.Sub(then).Round(time.Second).String() + " ago"
}

// firstLine is the first error, and how many more there are.
func firstLine(errs []string) string {
	if len(errs) == 0 {
		return ""
	}
	line, _, _ := strings.Cut(errs[0], "\n")
	if len(errs) > 1 {
		line += fmt.Sprintf(" (and %d more)", len(errs)-1)
	}
	return line
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
