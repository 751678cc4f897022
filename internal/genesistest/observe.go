// SPDX-License-Identifier: AGPL-3.0-or-later

package genesistest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// Client asks the servers of this genesis with an identity, and finds them as the containers do.
func (g *Genesis) Client(t testing.TB, id spiffe.ID) *http.Client {
	t.Helper()
	conf, err := mtls.ClientConfig(g.CA.Files(t, id), nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// getJSON asks for a document and decodes it; it reports whether there was one.
func getJSON(t testing.TB, client *http.Client, url string, into any) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s answered %s, no JSON: %v\n%s", url, answer.Status, err, raw)
	}
	return true
}

// Event is one line of the JSON lines that loghub receive keeps.
type Event map[string]any

// Text is the string under a key, "" if there is none.
func (e Event) Text(key string) string {
	text, _ := e[key].(string)
	return text
}

// Events returns what loghub receive has kept of a peer, by its SPIFFE ID, in the order of the files.
func (g *Genesis) Events(t testing.TB, peer spiffe.ID) (events []Event) {
	t.Helper()
	err := filepath.WalkDir(g.Log.State, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(filepath.Base(path), ".json") {
			return err
		}
		events = append(events, readEvents(t, path, peer.String())...)
		return nil
	})
	if err != nil {
		t.Fatalf("reading what loghub receive kept: %v", err)
	}
	return events
}

func readEvents(t testing.TB, path, peer string) (events []Event) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return events // the last one may be half written
		}
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v in %q", path, err, line)
		}
		if e.Text("cloud4.peer") == peer {
			events = append(events, e)
		}
	}
}

// WaitEvent returns the first event of a peer whose message holds text, and ends the test if there is none after d.
func (g *Genesis) WaitEvent(t testing.TB, peer spiffe.ID, text string, d time.Duration) (found Event) {
	t.Helper()
	seen := 0
	if !Eventually(t.Context(), d, func() bool {
		events := g.Events(t, peer)
		seen = len(events)
		for _, e := range events {
			if strings.Contains(e.Text("message"), text) {
				found = e
				return true
			}
		}
		return false
	}) {
		t.Fatalf("no event of %s says %q within %v (it has %d); loghub receive says:\n%s", peer, text, d, seen, g.Log.Output)
	}
	return found
}

// Snapshot is the health tree of the host as healthhub serve shows it to readers; ok is false while it does not answer.
func (g *Genesis) Snapshot(t testing.TB) (node health.Node, ok bool) {
	t.Helper()
	var snapshot struct{ Node health.Node }
	ok = getJSON(t, http.DefaultClient, "http://"+g.Host.Readers+"/v1/snapshot", &snapshot)
	return snapshot.Node, ok
}

// Find returns the first node of this name below node, itself included.
func Find(node health.Node, kind, name string) (health.Node, bool) {
	if node.Kind == kind && node.Name == name {
		return node, true
	}
	for _, child := range node.Children {
		if found, ok := Find(child, kind, name); ok {
			return found, true
		}
	}
	return health.Node{}, false
}

// Applied is what confighub serve knows of one replica.
type Applied struct {
	Identity, Instance, State string
	Desired, Serial           uint64
	Errors                    []string
}

// Applied asks confighub serve, as an operator, what every container applied.
func (g *Genesis) Applied(t testing.TB) (list []Applied) {
	t.Helper()
	var fleet struct {
		Containers []struct {
			Identity  string
			Desired   struct{ Serial uint64 }
			Instances []struct {
				Instance, State string
				Version         struct{ Serial uint64 }
				Errors          []string
			}
		}
	}
	operator := g.Client(t, ID(t)(spiffe.ForOperator(TrustDomain, "test")))
	if !getJSON(t, operator, g.Config.URL+"/v1/fleet", &fleet) {
		t.Fatalf("confighub serve does not answer:\n%s", g.Config.Output)
	}
	for _, c := range fleet.Containers {
		for _, i := range c.Instances {
			list = append(list, Applied{c.Identity, i.Instance, i.State, c.Desired.Serial, i.Version.Serial, i.Errors})
		}
	}
	return list
}

// WaitApplied waits until a container has said this state, with an error that holds text, and returns what it said.
func (g *Genesis) WaitApplied(t testing.TB, name, state, text string, d time.Duration) (found Applied) {
	t.Helper()
	var last []Applied
	if !Eventually(t.Context(), d, func() bool {
		last = g.Applied(t)
		for _, a := range last {
			if a.Identity == name && a.State == state && strings.Contains(strings.Join(a.Errors, "\n"), text) {
				found = a
				return true
			}
		}
		return false
	}) {
		t.Fatalf("%s did not report %q with %q within %v; reported is %+v", name, state, text, d, last)
	}
	return found
}
