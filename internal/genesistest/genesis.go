// SPDX-License-Identifier: AGPL-3.0-or-later

// Package genesistest starts a genesis machine and a docker host for a test, in one call and with nothing imitated: a
// step-ca authority (package identitytest) and, as processes of their own, confighub serve, loghub receive, and healthhub
// serve at the level of the fleet and of the host "vm1".
//
//	func TestMain(m *testing.M) { os.Exit(genesistest.Main(m)) }
//
//	g := genesistest.New(t)
//	g.WriteTree(t, map[string]string{"hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web"]}}}`, …})
//	g.Config.Stop(t); g.Config.Start(t)       // an outage; the address stays
//	events := g.Events(t, "spiffe://…")       // what loghub receive kept of a peer
//
// All servers listen on loopback ports of their own. They and what talks to them find genesis.internal and vm1.internal
// through the file Hosts, mounted over /etc/hosts in a mount namespace; therefore New needs root. Directories and
// processes end with the test.
//
// For tests alone: it imports testing. Left out: the container, which is the business of the test.
package genesistest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

// TrustDomain and HostName are the names of the fleet that New makes.
const (
	TrustDomain = "cloud4.internal"
	HostName    = "vm1"
)

// Genesis is a genesis machine and one docker host, running.
type Genesis struct {
	CA *identitytest.CA
	// Tree is the configuration tree's directory; a test may write there, or use WriteTree.
	Tree string
	// Hosts is a file in the form of /etc/hosts that names the servers.
	Hosts string

	Config, Log, Fleet, Host *Server
}

// Option changes what New makes.
type Option func(*options)

type options struct{ lifetime time.Duration }

// Lifetime sets how long all certificates live, those of the servers included, which are renewed at half of it.
func Lifetime(d time.Duration) Option { return func(o *options) { o.lifetime = d } }

// New starts everything and waits until it answers.
func New(t testing.TB, opts ...Option) *Genesis {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for mount namespaces")
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	var authority []identitytest.Option
	if o.lifetime > 0 {
		authority = append(authority, identitytest.Lifetime(o.lifetime))
	}
	dir := t.TempDir()
	g := &Genesis{CA: identitytest.New(t, authority...), Tree: filepath.Join(dir, "tree"), Hosts: filepath.Join(dir, "hosts")}
	if err := os.Mkdir(g.Tree, 0o755); err != nil {
		t.Fatal(err)
	}
	names := fmt.Sprintf("127.0.0.1 localhost genesis.internal %s.internal\n", HostName)
	if err := os.WriteFile(g.Hosts, []byte(names), 0o644); err != nil {
		t.Fatal(err)
	}
	g.Config = g.newServer(t, dir, ID(t)(spiffe.ForGenesis(TrustDomain, spiffe.KindConfig)), o, "confighub", "serve", "--root", g.Tree)
	g.Log = g.newServer(t, dir, ID(t)(spiffe.ForGenesis(TrustDomain, spiffe.KindLog)), o, "loghub", "receive")
	g.Fleet = g.newServer(t, dir, ID(t)(spiffe.ForGenesis(TrustDomain, spiffe.KindHealth)), o, "healthhub", "serve")
	g.Host = g.newServer(t, dir, ID(t)(spiffe.ForHost(TrustDomain, HostName)), o, "healthhub", "serve", "--report-to", g.Fleet.URL)
	for _, s := range []*Server{g.Config, g.Log, g.Fleet, g.Host} {
		s.Start(t)
	}
	return g
}

// ID unwraps what the constructors of package spiffe return.
func ID(t testing.TB) func(spiffe.ID, error) spiffe.ID {
	return func(id spiffe.ID, err error) spiffe.ID {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

// Container is the identity of a container on the host; instance "" is the first replica.
func Container(t testing.TB, stack, service, instance string) spiffe.ID {
	t.Helper()
	return ID(t)(spiffe.ForContainer(TrustDomain, HostName, stack, service, instance))
}

// WriteTree writes files of the configuration tree, each by a rename.
func (g *Genesis) WriteTree(t testing.TB, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(g.Tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+"~", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
	}
}

// PublishTree writes files like WriteTree and waits until confighub serve has read them, for good or bad.
func (g *Genesis) PublishTree(t testing.TB, files map[string]string) {
	t.Helper()
	read := func() int {
		said := g.Config.Output.String()
		return strings.Count(said, "tree published") + strings.Count(said, "the tree is broken: what was published")
	}
	before := read()
	g.WriteTree(t, files)
	if !Eventually(t.Context(), 10*time.Second, func() bool { return read() > before }) {
		t.Fatalf("confighub serve did not read the tree:\n%s", g.Config.Output)
	}
}

// Settings is a hub.json with which a container of this identity finds all servers.
func (g *Genesis) Settings(id spiffe.ID) map[string]any {
	return map[string]any{
		"identity": g.identitySettings(id),
		"config":   map[string]any{"source": g.Config.URL},
		"health":   map[string]any{"report_to": g.Host.URL},
		"log":      map[string]any{"otlp": g.Log.URL},
	}
}

func (g *Genesis) identitySettings(id spiffe.ID) map[string]any {
	s := map[string]any{"trust_domain": id.TrustDomain, "ca_url": g.CA.URL, "ca_fingerprint": g.CA.Fingerprint}
	switch id.Role {
	case spiffe.Container:
		s["host"], s["stack"], s["service"] = id.Host, id.Stack, id.Service
	case spiffe.Host:
		s["host"] = id.Host
	case spiffe.Genesis:
		s["genesis"] = id.Name
	}
	return s
}

// Token is a one-time token for an identity.
func (g *Genesis) Token(t testing.TB, id spiffe.ID) string { return g.CA.Token(t, id) }
