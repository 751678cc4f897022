// SPDX-License-Identifier: AGPL-3.0-or-later

package baseimage

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/baseimage/dockertest"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

// trustDomain and hostName are the names of the fleet that newFleet makes.
const (
	trustDomain = "cloud4.internal"
	hostName    = "vm1"
)

// late is how long anything may take that is not a waiting time of its own: the machine may have other things to do.
const late = 60 * time.Second

// fleet is containers on a network of their own: healthhub serve for the fleet and for its one host, with identities of a
// real authority. Who reports to them is run by the test.
type fleet struct {
	ca            *identitytest.CA
	dir, network  string
	host, genesis dockertest.Container
}

// newFleet starts both levels. expected is what the host awaits, in the form of healthhub manifest.
func newFleet(t *testing.T, expected string) *fleet {
	t.Helper()
	f := &fleet{ca: identitytest.New(t), dir: t.TempDir(), network: "cloud4-test-" + strings.ToLower(t.Name())}
	dockertest.Docker(t, "network", "create", "--label", "cloud4-test", f.network)
	t.Cleanup(func() { dockertest.Docker(t, "network", "rm", f.network) })
	f.write(t, "expect/list.json", expected)
	f.genesis = f.serve(t, "genesis", id(t)(spiffe.ForGenesis(trustDomain, spiffe.KindHealth)))
	f.host = f.serve(t, "host", id(t)(spiffe.ForHost(trustDomain, hostName)),
		"--report-to", "https://genesis.internal:8444", "--expect", "/expect/list.json")
	return f
}

func id(t *testing.T) func(spiffe.ID, error) spiffe.ID {
	t.Helper()
	return func(id spiffe.ID, err error) spiffe.ID {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

// write makes a file below the fleet's directory, by a rename, and returns its path.
func (f *fleet) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"~", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// volume makes a state volume with an identity in its first slot.
func (f *fleet) volume(t *testing.T, name string, who spiffe.ID) string {
	t.Helper()
	dir := filepath.Join(f.dir, "volumes", name)
	f.ca.Issue(t, who, filepath.Join(dir, "0", "identity"))
	return dir + ":/var/lib/hub"
}

func (f *fleet) serve(t *testing.T, name string, who spiffe.ID, args ...string) dockertest.Container {
	t.Helper()
	return dockertest.Run(t, []string{
		"--network", f.network, "--network-alias", who.DNSNames()[0], "--env", "HUB_HUBS=none",
		"--volume", f.volume(t, name, who), "--volume", f.dir + "/expect:/expect:ro",
	}, image, append([]string{"healthhub", "serve", "--dashboard", ":8480", "--unsafe-open-dashboard"}, args...)...)
}

// member is a container of the stack shop that reports to the host.
type member struct {
	dockertest.Container
	service string
}

// run starts one. settings are its section "health", flags those of docker run.
func (f *fleet) run(t *testing.T, service, settings string, flags []string, command ...string) member {
	t.Helper()
	return f.runOn(t, f.volume(t, service, shop(t, service)), service, settings, flags, command...)
}

func shop(t *testing.T, service string) spiffe.ID {
	t.Helper()
	return id(t)(spiffe.ForContainer(trustDomain, hostName, "shop", service, ""))
}

// runOn is run with a state volume that is there.
func (f *fleet) runOn(t *testing.T, volume, service, settings string, flags []string, command ...string) member {
	t.Helper()
	hub := f.write(t, "settings/"+service+".json", `{"health": `+settings+`}`)
	flags = append([]string{
		"--network", f.network, "--network-alias", service, "--volume", volume, "--volume", hub + ":/etc/hub/hub.d/50-test.json:ro",
		"--env", "HUB_HUBS=healthhub", "--env", "HUB_HEALTH_REPORT_TO=https://vm1.internal:8444", "--env", "HUB_IDENTITY_HOST=" + hostName,
		"--env", "HUB_IDENTITY_STACK=shop", "--env", "HUB_IDENTITY_SERVICE=" + service, "--health-interval", "1s", "--health-retries", "1",
	}, flags...)
	return member{dockertest.Run(t, flags, image, command...), service}
}

// page is what a level shows to whoever looks at its dashboard's address; false while nothing answers.
func (f *fleet) page(t *testing.T, of dockertest.Container) (root health.Node, ok bool) {
	t.Helper()
	address := of.Inspect(t, `{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}`)
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + address + ":8480/v1/snapshot")
	if err != nil {
		return root, false
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return root, false
	}
	var snapshot struct{ Node health.Node }
	if err := json.Unmarshal(raw, &snapshot); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return snapshot.Node, true
}

// until waits until a level shows a node as told: "pass", then flags that it has, or with "!" has not, and words of its text.
func (f *fleet) until(t *testing.T, of dockertest.Container, path, state string, more ...string) health.Node {
	t.Helper()
	var root, node health.Node
	deadline := time.Now().Add(late)
	for {
		var ok bool
		if root, ok = f.page(t, of); ok {
			if chain, err := root.Find(path); err == nil {
				if node = *chain[len(chain)-1]; is(node, state, more) {
					return node
				}
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s %s %q; shown is\n%s", late, path, state, more, drawing(root, ""))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// shown is until for a container of the host, or a check of it.
func (f *fleet) shown(t *testing.T, path, state string, more ...string) health.Node {
	t.Helper()
	service, check, below := strings.Cut(path, "/")
	path = service + ".shop." + hostName
	if below {
		path += "/" + check
	}
	return f.until(t, f.host, path, state, more...)
}

func is(n health.Node, state string, more []string) bool {
	if n.State.String() != state {
		return false
	}
	for _, word := range more {
		not, without := strings.CutPrefix(word, "!")
		if n.HasFlag(not) == without && (without || !strings.Contains(n.Text, word)) {
			return false
		}
	}
	return true
}

func drawing(n health.Node, indent string) string {
	out := fmt.Sprintf("%s%s %s %v %v %q\n", indent, n.Kind, n.Name, n.State, n.Flags, n.Text)
	for _, child := range n.Children {
		out += drawing(child, indent+"  ")
	}
	return out
}

// docker waits until the engine's own health check says so, with words of what it said last.
func (m member) docker(t *testing.T, status string, words ...string) {
	t.Helper()
	var state struct {
		State struct {
			Health struct {
				Status string
				Log    []struct{ Output string }
			}
		}
	}
	deadline := time.Now().Add(90 * time.Second) // health.json is believed for a minute
	for {
		dockertest.InspectJSON(t, string(m.Container), &state)
		h, said := state.State.Health, ""
		if len(h.Log) > 0 {
			said = h.Log[len(h.Log)-1].Output
		}
		if h.Status == status && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(said, word) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: docker says %s %q, want %s %q", m.service, h.Status, said, status, words)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// init is the part of init.json that these tests look at.
type initState struct {
	Service struct {
		State, Waiting string
		PID, Restarts  int
	}
	Hubs map[string]struct {
		State         string
		PID, Restarts int
		Ready         bool
	}
}

func (m member) init(t *testing.T) (s initState) {
	t.Helper()
	if err := json.Unmarshal([]byte(m.Shell(t, "cat /run/hub/init.json")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// healthhub waits until the container's healthhub is at work and returns its process number.
func (m member) healthhub(t *testing.T, except int) (pid int) {
	t.Helper()
	dockertest.WaitFor(t, late, "healthhub of "+m.service, func() bool {
		h := m.init(t).Hubs["healthhub"]
		pid = h.PID
		return h.State == "running" && h.Ready && pid != except
	})
	return pid
}
