// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/genesistest"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
	"cloud4.internal/hub/internal/spiffe"
)

func TestMain(m *testing.M) {
	code := proctest.Main(m, map[string]proctest.Program{"confighub": func([]string) int { main(); return 0 }})
	os.RemoveAll(buildDir())
	os.Exit(code)
}

// buildDir is where this process builds hubinit.
func buildDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("confighub-test-%d", os.Getpid()))
}

// hubinitOnce and healthhubOnce build the other programs for all tests of the package.
var (
	hubinitOnce   = sync.OnceValues(func() (string, error) { return build("baseimage/hubinit") })
	healthhubOnce = sync.OnceValues(func() (string, error) { return build("healthhub") })
	loghubOnce    = sync.OnceValues(func() (string, error) { return build("loghub") })
)

func build(program string) (string, error) {
	name := filepath.Join(buildDir(), filepath.Base(program))
	out, err := exec.Command("go", "build", "-o", name, "cloud4.internal/hub/"+program).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building %s: %w: %s", program, err, out)
	}
	return name, nil
}

// buffer takes a child's output while the test reads it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func id(t testing.TB) func(spiffe.ID, error) spiffe.ID {
	return func(id spiffe.ID, err error) spiffe.ID {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

// genesis is a real authority and a real confighub serve, in this process.
type genesis struct {
	t       testing.TB
	ca      *identitytest.CA
	tree    string
	state   string
	dir     string
	address string
	// bare is the git repository whose branch main is served instead of the tree; "" for none.
	bare string
	// keys sign what is served.
	keys []ed25519.PrivateKey
	log  *buffer
	stop func()
}

func newGenesis(t testing.TB, opts ...identitytest.Option) *genesis {
	g := &genesis{t: t, ca: identitytest.New(t, opts...), tree: t.TempDir(), state: filepath.Join(t.TempDir(), "serve"), address: genesistest.FreeAddress(t)}
	own := id(t)(spiffe.ForGenesis(identity.DefaultTrustDomain, spiffe.KindConfig))
	g.dir = g.ca.DirOf(t, x509.Certificate{URIs: []*url.URL{own.URI()}, DNSNames: own.DNSNames()})
	g.write("hosts/vm1/host.json", `{"stacks": {"shop": {"services": ["web"]}}}`)
	return g
}

// write puts a file into the tree by a rename.
func (g *genesis) write(name, text string) {
	g.t.Helper()
	file := filepath.Join(g.tree, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		g.t.Fatal(err)
	}
}

// start serves the tree, at the same address each time.
func (g *genesis) start() *genesis {
	g.t.Helper()
	g.log = &buffer{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	root, ref := g.tree, ""
	if g.bare != "" {
		root, ref = g.bare, "main"
	}
	go func() {
		done <- serve.Run(ctx, serve.Options{Root: root, Ref: ref, State: g.state, Listen: g.address, IdentityDir: g.dir, Files: identity.Open(g.dir), Keys: g.keys, Log: zerolog.New(g.log)})
	}()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			g.t.Errorf("serve: %v", err)
		}
	})
	g.t.Cleanup(g.stop)
	g.awaitServing()
	return g
}

// awaitServing waits for the log to say where it serves.
func (g *genesis) awaitServing() {
	g.t.Helper()
	var line struct{ Address string }
	waitFor(g.t, 10*time.Second, "genesis to serve", func() bool {
		for text := range strings.Lines(g.log.String()) {
			if strings.Contains(text, "serving configuration") && json.Unmarshal([]byte(text), &line) == nil {
				return true
			}
		}
		return false
	}, g.log.String)
	g.address = line.Address
}

// settings of a container that finds this genesis.
func (g *genesis) settings(c *container, config map[string]any) map[string]any {
	config["source"], config["targets"] = "https://"+g.address, []string{c.path("etc/app")}
	who := g.ca.Settings(g.web(""))
	return map[string]any{"config": config, "identity": map[string]any{
		"host": who.Host, "stack": who.Stack, "service": who.Service, "ca_url": who.CAURL, "ca_fingerprint": who.CAFingerprint,
	}}
}

func (g *genesis) web(instance string) spiffe.ID {
	return id(g.t)(spiffe.ForContainer(identity.DefaultTrustDomain, "vm1", "shop", "web", instance))
}

// container is hubinit as process 1 with a real confighub and a service.
type container struct {
	t      testing.TB
	dir    string
	env    []string
	cmd    *exec.Cmd
	out    *buffer
	exited chan struct{}
}

// newContainer makes the directories; its state outlives its starts, its run directory does not.
func newContainer(t testing.TB) *container {
	t.Helper()
	hubinit, err := hubinitOnce()
	if err != nil {
		t.Fatal(err)
	}
	c := &container{t: t, dir: t.TempDir()}
	t.Cleanup(c.forgetSecrets)
	for _, name := range []string{"bin", "etc/app", "run", "var"} {
		if err := os.MkdirAll(c.path(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(hubinit, c.path("bin/hubinit")); err != nil {
		t.Fatal(err)
	}
	proctest.Link(t, c.path("bin"), "confighub")
	c.env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HUB_HUBS=confighub", "HUB_RUN_DIR=" + c.path("run"), "HUB_VAR_DIR=" + c.path("var"), "HUB_CONFIG=" + c.path("etc/hub.json"),
	}
	return c
}

// forgetSecrets removes what goes with a real container's memory: the copies of secrets on the tmpfs that the state names.
func (c *container) forgetSecrets() {
	pointers, _ := filepath.Glob(c.path("var/*/config/tmpfs"))
	for _, pointer := range pointers {
		raw, err := os.ReadFile(pointer)
		if err == nil {
			err = os.RemoveAll(string(raw))
		}
		if err != nil {
			c.t.Error(err)
		}
	}
}

func (c *container) path(name string) string { return filepath.Join(c.dir, name) }

func (c *container) configure(settings any) {
	c.t.Helper()
	raw, err := json.MarshalIndent(settings, "", " ")
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(c.path("etc/hub.json"), raw, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// service reads its file at the start and on HUP, writes it to "seen", and exits with 9 when it says die.
const service = `
conf=$1; seen=$2
load() { if grep -q die $conf; then exit 9; fi; cat $conf >>$seen; }
trap load HUP
trap 'exit 0' TERM
load
while :; do sleep 0.02; done`

// start runs the container with the environment added.
func (c *container) start(env ...string) *container {
	c.t.Helper()
	return c.startService(service, env...)
}

func (c *container) startService(script string, env ...string) *container {
	c.t.Helper()
	c.cmd = proctest.Init(c.t, c.path("bin/hubinit"), "--", "sh", "-c", script, "sh", c.path("etc/app/app.conf"), c.path("seen"))
	c.out, c.exited = &buffer{}, make(chan struct{})
	c.cmd.Env = append(c.env, env...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.WaitDelay = time.Second
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	exited, cmd := c.exited, c.cmd
	go func() {
		cmd.Wait()
		close(exited)
	}()
	return c
}

// stop tells the container to stop and returns its code.
func (c *container) stop() int {
	c.t.Helper()
	c.cmd.Process.Signal(syscall.SIGTERM)
	return c.wait()
}

func (c *container) wait() int {
	c.t.Helper()
	select {
	case <-c.exited:
	case <-time.After(15 * time.Second):
		c.t.Fatalf("the container does not end\n%s", c.out)
	}
	return c.cmd.ProcessState.ExitCode()
}

// waitLimit is how long anything may take on a machine that does much else.
const waitLimit = 30 * time.Second

func (c *container) waitFor(what string, ok func() bool) {
	c.t.Helper()
	waitFor(c.t, waitLimit, what, ok, func() string {
		config, _ := os.ReadFile(c.path("run/config.json"))
		init, _ := os.ReadFile(c.path("run/init.json"))
		return fmt.Sprintf("%s\nconfig.json: %s\ninit.json: %s\nseen: %s", c.out, config, init, c.text("seen"))
	})
}

func waitFor(t testing.TB, d time.Duration, what string, ok func() bool, more func() string) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s\n%s", what, more())
		}
	}
}

func (c *container) says(text string) {
	c.t.Helper()
	c.waitFor("the log to say "+text, func() bool { return strings.Contains(c.out.String(), text) })
}

// state reads config.json; a zero section before there is one.
func (c *container) state() (health.Node, section) {
	file, err := health.ReadFile(c.path("run"), health.ConfigFile)
	var s section
	if err != nil || len(file.Section) > 0 && json.Unmarshal(file.Section, &s) != nil {
		return health.Node{}, section{}
	}
	return file.Health, s
}

func (c *container) init() initctl.ServiceState {
	state, err := initctl.ReadState(c.path("run"))
	if err != nil {
		return initctl.ServiceState{}
	}
	return state.Service
}

// text is a file's, "" when it is not there.
func (c *container) text(name string) string {
	raw, _ := os.ReadFile(c.path(name))
	return string(raw)
}

func (c *container) target() string { return c.text("etc/app/app.conf") }
