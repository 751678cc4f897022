// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

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

const (
	maxTree   = 64 << 20         // bounds what is read of an answer
	maxReason = 1 << 10          // and of a refusal
	askLimit  = 10 * time.Second // how long an answer may take

	ownDashboard = "http://127.0.0.1:8480" // of the serve on this machine, where nobody says
)

// server is a healthhub that is asked: this container's, by its socket, or a serve, at its dashboard or over mutual TLS.
type server struct {
	client *http.Client
	base   string
	name   string // for people
	socket bool   // it is this container's
}

// ownServer is this container's.
func ownServer() *server {
	return &server{agent.Client(initctl.RunDir()), "http://healthhub", "the healthhub of this container", true}
}

// writing are the flags of commands that a dashboard does not take; reading, of those that it does.
func writing() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "host", Usage: "`URL` of a healthhub serve, of a host or the fleet, https://vm1.internal:8444; without it this container's"},
		&cli.StringFlag{Name: "identity", Usage: "`DIR` of id.pem and roots.pem, for --host", Value: identity.Dir()},
	}
}

func reading() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "level", Usage: "container, host or fleet; without it what this machine is by its settings"},
		&cli.StringFlag{Name: "dashboard", Usage: "`URL` of a dashboard without token, " + ownDashboard},
	}, writing()...)
}

// whereWords end the descriptions of commands with the flags of reading.
const whereWords = `

Without flags the healthhub of this container is asked or, where the settings name a docker host or genesis/health, the dashboard
of serve on this machine. --host asks a server by mutual TLS, with the identity of an operator, a host or a genesis server.

A PATH names a part: page in a container, web.shop.vm1/page on a host, vm1/web.shop.vm1/page in the fleet, where the
host may be left out while only one has it.`

// newServer says whom to ask, by the flags of reading or writing. An error is one of usage.
func newServer(c *cli.Context) (*server, error) {
	level, dashboard, host := c.String("level"), c.String("dashboard"), c.String("host")
	if level == "" {
		level = ownLevel(daemon.Source(c))
	}
	switch {
	case dashboard != "" && host != "":
		return nil, daemon.Usage(errors.New("--dashboard and --host are two ways to ask: give one"))
	case dashboard != "":
		return webServer(&http.Transport{}, dashboard, "--dashboard")
	case host != "":
		return webServer(mtls.Transport(identity.Open(c.String("identity")), serverRule(c.String("identity"))), host, "--host")
	case level == health.KindContainer:
		return ownServer(), nil
	case level == health.KindHost || level == health.KindFleet:
		return webServer(&http.Transport{}, ownDashboard, "--dashboard")
	}
	return nil, daemon.Usage(fmt.Errorf("--level must be container, host or fleet, got %q", level))
}

// newWriter is newServer for what changes something, which no dashboard does.
func newWriter(c *cli.Context) (*server, error) {
	s, err := newServer(c)
	if err == nil && !s.socket && c.String("host") == "" {
		return nil, daemon.Usage(errors.New("a dashboard changes nothing: give --host https://<host>.internal:8444 and, with --identity, the identity of an operator"))
	}
	return s, err
}

func webServer(transport http.RoundTripper, base, flag string) (*server, error) {
	base = strings.TrimSuffix(base, "/")
	if !strings.HasPrefix(base, "http://") && !strings.HasPrefix(base, "https://") {
		return nil, daemon.Usage(fmt.Errorf("%s must be a URL such as https://vm1.internal:8444, got %q", flag, base))
	}
	return &server{client: &http.Client{Transport: transport}, base: base, name: base}, nil
}

// serverRule is who may answer: a host or the fleet, of the trust domain that the identity in dir is of.
func serverRule(dir string) mtls.Rule {
	files := identity.Open(dir)
	return func(id spiffe.ID) error {
		own, err := files.ID()
		if err != nil {
			return err
		}
		return mtls.AnyOf(mtls.Host(own.TrustDomain, ""), mtls.Genesis(own.TrustDomain, spiffe.KindHealth))(id)
	}
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

// refusedError is an answer other than 2xx: the server is there, and says no.
type refusedError struct {
	status int
	text   string
}

func (e *refusedError) Error() string { return e.text }

// ask sends a request and reads the answer. body is sent as JSON, nil is none. An error is for people: it says what to do.
func (s *server) ask(ctx context.Context, method, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	resp, err := s.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxTree))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", s.name, err)
	}
	return answer, nil
}

// open is ask with the answer still to be read.
func (s *server) open(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var sent io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, sent)
	if err != nil {
		return nil, daemon.Usage(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, s.silent(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	why, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // a reason cut short is still one
	return nil, s.refused(resp.StatusCode, health.CleanText(string(why)))
}

// silent says why nobody answers, and what to do.
func (s *server) silent(err error) error {
	switch {
	case !s.socket:
		return fmt.Errorf("asking %s: %s", s.name, mtls.Explain(err))
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("healthhub does not run here: there is no %s/%s; healthhub run makes it, HUB_RUN_DIR says where", initctl.RunDir(), agent.Socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("healthhub does not run here any more: nobody answers on %s/%s; its log says why", initctl.RunDir(), agent.Socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s/%s may not be used by uid %d: ask as root or as the container's user", initctl.RunDir(), agent.Socket, os.Geteuid())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("healthhub does not answer on %s/%s within %s: it hangs, or the machine is short of CPU", initctl.RunDir(), agent.Socket, askLimit)
	}
	return fmt.Errorf("asking %s: %w", s.name, err)
}

func (s *server) refused(status int, why string) error {
	switch {
	case status == http.StatusForbidden && s.socket:
		why += ": docker exec -u 0 asks as root"
	case status == http.StatusForbidden:
		why = fmt.Sprintf("%s refuses this identity (403 %s): operators may change things, hosts and genesis servers may look; --identity says whose it is", s.name, why)
	case status == http.StatusUnauthorized || status == http.StatusSeeOther:
		why = s.name + " wants a read token, which this program does not send: ask at --host"
	case why == "":
		why = fmt.Sprintf("%s answers %d %s", s.name, status, http.StatusText(status))
	}
	return &refusedError{status, why}
}

// get reads a document into v and returns it as it came.
func (s *server) get(ctx context.Context, path string, v any) ([]byte, error) {
	body, err := s.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("%s is no healthhub: its %s cannot be read: %w", s.name, path, err)
	}
	return body, nil
}

// tree is what the server knows of now, and its document.
func (s *server) tree(ctx context.Context) (*health.Node, []byte, error) {
	var t page.Tree
	body, err := s.get(ctx, "/v1/snapshot", &t)
	if err == nil && t.Node == nil {
		err = fmt.Errorf("%s is no healthhub: its /v1/snapshot holds none", s.name)
	}
	return t.Node, body, err
}

// find is what a path names below root; "" is the root. A path that names nothing is an error that says where to look.
func find(root *health.Node, path string) (*health.Node, error) {
	if path == "" {
		return root, nil
	}
	chain, err := root.Find(path)
	if errors.Is(err, health.ErrNotFound) {
		return nil, fmt.Errorf("%s %s has no %q; healthhub status --all lists what it has", root.Kind, root.Name, path)
	}
	if err != nil {
		return nil, err
	}
	return chain[len(chain)-1], nil
}
