// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/genesistest"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

// soon is how long anything may take that is not itself a waiting time; two cores are shared with other tests.
const soon = 20 * time.Second

// container is hubinit with the hubs and a service in namespaces of their own, over directories that outlive it.
type container struct {
	t *testing.T
	g *genesistest.Genesis
	// id is the container's identity; its first replica's.
	id spiffe.ID
	// dir holds etc, var (shared by replicas), run and site (what the configuration writes).
	dir, run, vars, site string
	settings             map[string]any
	env                  []string
	argv                 []string
	// address is where the service answers.
	address string
	// output is what docker logs would show.
	output *genesistest.Output

	cmd  *exec.Cmd
	done <-chan struct{}
}

// newContainer prepares a container of a service; start runs it.
func newContainer(t *testing.T, g *genesistest.Genesis, service string) *container {
	t.Helper()
	dir := t.TempDir()
	c := &container{
		t: t, g: g, id: genesistest.Container(t, "shop", service, ""), dir: dir,
		run: filepath.Join(dir, "run", "hub"), vars: filepath.Join(dir, "var"), site: filepath.Join(dir, "site"),
		address: genesistest.FreeAddress(t),
	}
	for _, d := range []string{c.run, c.vars, c.site, filepath.Join(dir, "etc")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.settings = g.Settings(c.id)
	c.set("config", "targets", []string{c.site + "/**"})
	c.set("health", "checks", map[string]any{"page": map[string]any{
		"kind": "http", "url": "http://" + c.address + "/", "interval": "1s", "criticality": "critical",
	}})
	return c
}

// set changes one setting.
func (c *container) set(section, key string, value any) {
	c.settings[section].(map[string]any)[key] = value
}

// in is the same container for a subtest.
func (c *container) in(t *testing.T) *container {
	same := *c
	same.t = t
	return &same
}

// sibling is another container of the same service on the same state volume, as --scale makes them.
func (c *container) sibling() *container {
	other := newContainer(c.t, c.g, c.id.Service)
	other.vars = c.vars
	return other
}

// withService runs this test binary as the service.
func (c *container) withService(args ...string) *container {
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	c.argv = append([]string{self, "service", "-listen", c.address, "-config", c.site + "/page.json"}, args...)
	return c
}

// start is docker run, or docker start of what ran before.
func (c *container) start() {
	c.t.Helper()
	settings, err := json.MarshalIndent(c.settings, "", "  ")
	if err != nil {
		c.t.Fatal(err)
	}
	config := filepath.Join(c.dir, "etc", "hub.json")
	if err := os.WriteFile(config, settings, 0o644); err != nil {
		c.t.Fatal(err)
	}
	const enter = `mount -t proc proc /proc && mount --bind "$0" /etc/hosts && exec "$@"`
	args := append([]string{"-c", enter, c.g.Hosts, genesistest.Program(c.t, "hubinit")}, c.argv...)
	c.cmd = exec.Command("sh", args...)
	c.cmd.Env = append(c.env,
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"HUB_CONFIG="+config, "HUB_RUN_DIR="+c.run, "HUB_VAR_DIR="+c.vars)
	c.output = &genesistest.Output{}
	c.cmd.Stdout, c.cmd.Stderr = c.output, c.output
	c.cmd.WaitDelay = 5 * time.Second
	c.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS, Setsid: true,
	}
	if c.done, err = genesistest.StartTied(c.cmd); err != nil {
		c.t.Fatalf("starting the container: %v", err)
	}
	cmd, done, output := c.cmd, c.done, c.output
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("docker logs of %s:\n%s", c.id.BundleName(), output)
			for _, name := range []string{"init", "config", "health", "log"} {
				raw, _ := os.ReadFile(filepath.Join(c.run, name+".json"))
				c.t.Logf("%s.json: %s", name, raw)
			}
		}
		_ = cmd.Process.Kill() // the whole namespace; it may have ended by itself
		<-done
	})
}

// run starts it with a fresh token, and waits until its service answers.
func (c *container) up(page string) {
	c.t.Helper()
	c.env = append(c.env, initctl.EnvToken+"="+c.g.Token(c.t, c.id))
	c.start()
	c.waitPage(page)
}

func (c *container) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// wait returns the container's exit code, and how long it took from now.
func (c *container) wait(d time.Duration) (code int, took time.Duration) {
	c.t.Helper()
	began := time.Now()
	select {
	case <-c.done:
	case <-time.After(d):
		c.t.Fatalf("the container did not end within %v:\n%s", d, c.output)
	}
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal()), time.Since(began)
	}
	return status.ExitStatus(), time.Since(began)
}

// stop is docker stop.
func (c *container) stop() (code int, took time.Duration) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	return c.wait(soon)
}

// get asks the service.
func (c *container) get() (body string, err error) {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + c.address + "/")
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	return strings.TrimSpace(string(raw)), err
}

// waitPage waits until the service answers with a text and returns how long that took.
func (c *container) waitPage(want string) time.Duration {
	c.t.Helper()
	began := time.Now()
	var got string
	var err error
	if !genesistest.Eventually(c.t.Context(), soon, func() bool {
		got, err = c.get()
		return err == nil && got == want || c.ended()
	}) || c.ended() {
		c.t.Fatalf("the service answers %q (%v), want %q; docker logs:\n%s", got, err, want, c.output)
	}
	return time.Since(began)
}

// say makes the service write a line.
func (c *container) say(stream, text string) {
	c.t.Helper()
	answer, err := http.Post("http://"+c.address+"/say/"+stream, "text/plain", strings.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	answer.Body.Close()
}

// report is what a script in the container says with healthhub report.
func (c *container) report(name, state, text string) {
	c.t.Helper()
	cmd := exec.Command(genesistest.Program(c.t, "healthhub"), "report", name, state, text)
	cmd.Env = append(os.Environ(), "HUB_RUN_DIR="+c.run)
	if said, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("healthhub report: %v\n%s", err, said)
	}
}

// state is init.json.
func (c *container) state() *initctl.State {
	c.t.Helper()
	var state *initctl.State
	var err error
	if !genesistest.Eventually(c.t.Context(), soon, func() bool {
		state, err = initctl.ReadState(c.run)
		return err == nil
	}) {
		c.t.Fatalf("reading init.json: %v; docker logs:\n%s", err, c.output)
	}
	return state
}

// until waits for a state of init.json.
func (c *container) until(what string, is func(*initctl.State) bool) *initctl.State {
	c.t.Helper()
	var state *initctl.State
	if !genesistest.Eventually(c.t.Context(), soon, func() bool { state = c.state(); return is(state) }) {
		raw, _ := json.MarshalIndent(state, "", "  ")
		c.t.Fatalf("not within %v: %s; init.json is %s\ndocker logs:\n%s", soon, what, raw, c.output)
	}
	return state
}

// identity is identity.json of confighub.
func (c *container) identity() identity.Status {
	c.t.Helper()
	status, err := identity.ReadStatus(c.run)
	if err != nil {
		c.t.Fatal(err)
	}
	return status
}

// hostPID finds the process that has this number inside of the container.
func (c *container) hostPID(inside int) (int, error) {
	own, err := os.Readlink("/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/ns/pid")
	if err != nil {
		return 0, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || namespacePID(pid) != inside {
			continue
		}
		if ns, err := os.Readlink("/proc/" + entry.Name() + "/ns/pid"); err == nil && ns == own {
			return pid, nil
		}
	}
	return 0, errors.New("no process " + strconv.Itoa(inside) + " in the container")
}

// namespacePID is a process's number in its own PID namespace; 0 if it has none.
func namespacePID(pid int) int {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(rest)
			n, _ := strconv.Atoi(fields[len(fields)-1])
			return n
		}
	}
	return 0
}

// kill sends a signal to a process of the container by the number it has there.
func (c *container) kill(inside int, signal syscall.Signal) {
	c.t.Helper()
	pid, err := c.hostPID(inside)
	if err == nil {
		err = syscall.Kill(pid, signal)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}
