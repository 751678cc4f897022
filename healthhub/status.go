// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// maxTree bounds what is read of a snapshot.
const maxTree = 64 << 20

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show the health of this container, a host or the fleet",
		Description: "Asks the healthhub of this container or, where the settings name a docker host or genesis/health, the dashboard beside it;\n" +
			"--level says which. --dashboard asks another dashboard, --host a server by mutual TLS, which wants the identity of\n" +
			"an operator, a host or a genesis server.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "level", Usage: "container, host or fleet; without it what this machine is by its settings"},
			&cli.StringFlag{Name: "dashboard", Usage: "`URL` of a dashboard, http://127.0.0.1:8480"},
			&cli.StringFlag{Name: "host", Usage: "`URL` of a healthhub serve, https://vm1.internal:8444"},
			&cli.StringFlag{Name: "identity", Usage: "`DIR` of id.pem and roots.pem, for --host", Value: identity.Dir()},
			&cli.BoolFlag{Name: "all", Usage: "show the checks of containers that are well, too"},
			&cli.BoolFlag{Name: "json", Usage: "print the snapshot as it came"},
		},
		Action: statusAction,
	}
}

func statusAction(c *cli.Context) error {
	client, base, err := statusServer(c)
	if err != nil {
		return daemon.Usage(err)
	}
	body, err := fetchTree(c.Context, client, base)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		_, err := c.App.Writer.Write(body)
		return err
	}
	var tree page.Tree
	if err := json.Unmarshal(body, &tree); err != nil || tree.Node == nil {
		return fmt.Errorf("reading the snapshot of %s: it is none (%v)", base, err)
	}
	t := table{now: time.Now(), all: c.Bool("all")}
	if f, ok := c.App.Writer.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		t.width, _, _ = term.GetSize(int(f.Fd())) // 0 when nobody knows: then nothing is cut
	}
	out := t.draw(tree.Node)
	if tree.Node.Kind == health.KindContainer {
		out += reporting(initctl.RunDir(), t.now)
	}
	_, err = io.WriteString(c.App.Writer, out)
	return err
}

// reporting is a line on how this container's reports fare, which may be half a minute old; empty if it reports to nobody.
func reporting(runDir string, now time.Time) string {
	f, err := health.ReadFile(runDir, health.HealthFile)
	if err != nil {
		return ""
	}
	var s agent.Section
	switch err := json.Unmarshal(f.Section, &s); {
	case err != nil || s.Report == nil:
		return ""
	case s.Report.Error != "":
		return fmt.Sprintf("\nreports to %s do not arrive: %s\n", s.Report.To, s.Report.Error)
	case s.Report.LastOK.IsZero():
		return fmt.Sprintf("\nreports to %s: none yet\n", s.Report.To)
	}
	return fmt.Sprintf("\nreports to %s; one was taken %s ago\n", s.Report.To, page.Age(now, s.Report.LastOK))
}

// statusServer says whom to ask, and how.
func statusServer(c *cli.Context) (*http.Client, string, error) {
	level, dashboard, host := c.String("level"), c.String("dashboard"), c.String("host")
	if level == "" {
		level = ownLevel(daemon.Source(c))
	}
	switch {
	case dashboard != "" && host != "":
		return nil, "", errors.New("--dashboard and --host are two ways to ask: give one")
	case dashboard != "":
		return &http.Client{Transport: &http.Transport{}}, dashboard, nil
	case host != "":
		files := identity.Open(c.String("identity"))
		server := func(id spiffe.ID) error {
			own, err := files.ID()
			if err != nil {
				return err
			}
			return mtls.AnyOf(mtls.Host(own.TrustDomain, ""), mtls.Genesis(own.TrustDomain, spiffe.KindHealth))(id)
		}
		return &http.Client{Transport: mtls.Transport(files, server)}, host, nil
	case level == health.KindContainer:
		return agent.Client(initctl.RunDir()), "http://healthhub", nil
	case level == health.KindHost || level == health.KindFleet:
		return &http.Client{Transport: &http.Transport{}}, "http://127.0.0.1:8480", nil
	}
	return nil, "", fmt.Errorf("--level must be container, host or fleet, got %q", level)
}

// ownLevel is what this machine has to show by its settings; those that cannot be read are for others to complain of.
func ownLevel(src hubfile.Source) string {
	s, sections := newSettings()
	hubfile.Load(src, sections...)
	switch id, err := s.identity.ID(0); {
	case err == nil && id.Role == spiffe.Host:
		return health.KindHost
	case err == nil && id.Role == spiffe.Genesis && id.Name == spiffe.KindHealth:
		return health.KindFleet
	}
	return health.KindContainer
}

func fetchTree(ctx context.Context, client *http.Client, base string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+"/v1/snapshot", nil)
	if err != nil {
		return nil, daemon.Usage(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking healthhub: %s", mtls.Explain(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTree))
	if err != nil {
		return nil, fmt.Errorf("asking healthhub: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking healthhub: %s: %s", resp.Status, strings.TrimSpace(string(body[:min(len(body), 1024)])))
	}
	return body, nil
}
