// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/proctest"
	"cloud4.internal/hub/internal/spiffe"
)

func TestMain(m *testing.M) {
	os.Exit(proctest.Main(m, map[string]proctest.Program{"server": serveMain}))
}

// serveMain is confighub serve without the rest of confighub, so that tests need not build that.
func serveMain(args []string) int {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	root, state, dir, listen := flags.String("root", "", ""), flags.String("state", "", ""), flags.String("identity", "", ""), flags.String("listen", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := serve.Run(ctx, serve.Options{
		Root: *root, State: *state, Listen: *listen, IdentityDir: *dir, Files: identity.Open(*dir), Log: zerolog.New(os.Stderr),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a server of a process of its own, so that its memory and goroutines are not those of the test.
type process struct {
	tb      testing.TB
	ca      *identitytest.CA
	root    string
	address string
	pid     int
}

// startProcess runs a program that takes the command line of confighub serve, and waits until it serves the tree.
func startProcess(tb testing.TB, program string, files map[string]string) *process {
	tb.Helper()
	p := &process{tb: tb, ca: identitytest.New(tb), root: tb.TempDir()}
	for name, text := range files {
		p.put(name, text)
	}
	own, err := spiffe.ForGenesis(td, spiffe.KindConfig)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "--root", p.root, "--state", tb.TempDir(), "--identity", p.ca.Dir(tb, own), "--listen", "127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p.pid = cmd.Process.Pid
	lines := bufio.NewScanner(stderr)
	var line struct{ Address, Message string }
	for (p.address == "" || line.Message != "tree published") && lines.Scan() {
		line.Address = ""
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Address != "" {
			p.address = line.Address
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() { // it must not wait for us
		}
	}()
	tb.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			tb.Error(err)
		}
		<-drained
		if err := cmd.Wait(); err != nil {
			tb.Errorf("the server: %v", err)
		}
	})
	return p
}

func (p *process) put(name, text string) {
	p.tb.Helper()
	file := filepath.Join(p.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.tb.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		p.tb.Fatal(err)
	}
}

// operator is somebody who may read metrics.
func (p *process) operator() *client {
	p.tb.Helper()
	id, err := spiffe.ForOperator(td, "desk")
	if err != nil {
		p.tb.Fatal(err)
	}
	return clientOf(p.tb, p.ca, p.address, id)
}

// memory is a line of status (proc(5)) in MB: VmRSS, or VmHWM for the most that it ever was.
func (p *process) memory(key string) float64 {
	p.tb.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				p.tb.Fatal(err)
			}
			return float64(kib) * 1024 / 1e6
		}
	}
	p.tb.Fatalf("no %s in %s", key, raw)
	return 0
}

// cpu is the time of the processor that it used, in seconds.
func (p *process) cpu() float64 {
	p.tb.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(field)
		if err != nil {
			p.tb.Fatal(err)
		}
		ticks += n
	}
	return float64(ticks) / 100
}

// change writes a new version and waits until all have it, and have said so. It returns how long the versions took.
func (p *process) change(c *crowd, page int) []time.Duration {
	p.tb.Helper()
	arrived, done, n := c.arrived.Load(), c.done.Load(), int64(len(c.members))
	moment := time.Now()
	p.put("services/web/data/web.json", fmt.Sprintf(`{"page": %d}`, page))
	waitFor(p.tb, 2*time.Minute, func() bool { return c.arrived.Load() >= arrived+n }, func() string {
		return fmt.Sprintf("%d of %d got the version", c.arrived.Load()-arrived, n)
	})
	took := c.since(moment)
	waitFor(p.tb, 4*time.Minute, func() bool { return c.done.Load() >= done+n }, func() string {
		return fmt.Sprintf("%d of %d reported the version", c.done.Load()-done, n)
	})
	return took
}

// A crowd waits without a goroutine each, on connections that stay, and a change reaches all of it.
func TestCrowd(t *testing.T) {
	const n = 200
	files, ids := places(t, n)
	dir := t.TempDir()
	proctest.Link(t, dir, "server")
	p := startProcess(t, filepath.Join(dir, "server"), files)
	operator := p.operator()
	c := gather(t, p.ca, ids, p.address, 0)
	waitFor(t, 30*time.Second, func() bool { return operator.metric("confighub_waiters") == n }, func() string { return operator.get("/metrics").body })
	// The rest are goroutines of the runtime, the watchers of the tree and the like.
	if got := operator.metric("go_goroutines"); got > 50 {
		t.Errorf("%v goroutines while %d containers wait", got, n)
	}
	for page := range 3 {
		took := p.change(c, page+1)
		t.Logf("a change reached all in %v, half of them in %v", took[n-1], took[n/2])
	}
	waitFor(t, 30*time.Second, func() bool { return operator.metric(`confighub_containers{state="applied"}`) == n }, func() string { return operator.get("/metrics").body })
	if again := c.again.Load(); again != 0 {
		t.Errorf("%d connections ended", again)
	}
	var fleet serve.Fleet
	if err := json.Unmarshal([]byte(operator.get("/v1/fleet").body), &fleet); err != nil {
		t.Fatal(err)
	}
	for _, container := range fleet.Containers {
		if len(container.Instances) != 1 || container.Instances[0].Applied != container.Desired || container.Instances[0].Status != bundle.StateApplied {
			t.Errorf("%s is to have %s, and has %+v", container.Identity, container.Desired, container.Instances)
		}
	}
}

// BenchmarkFleet10k measures the real confighub serve with 10,000 containers, all of them and it on one machine: what it
// takes while they wait and at most, and how long after a write of the tree the first half, 99 of 100, and the last of them
// had the new version. "back" are connections and reports that had to be made again.
func BenchmarkFleet10k(b *testing.B) {
	const n = 10_000
	program := filepath.Join(b.TempDir(), "confighub")
	if out, err := exec.Command("go", "build", "-o", program, "cloud4.internal/hub/confighub").CombinedOutput(); err != nil {
		b.Fatalf("building confighub: %v: %s", err, out)
	}
	files, ids := places(b, n)
	p := startProcess(b, program, files)
	operator := p.operator()
	c := gather(b, p.ca, ids, p.address, 10*time.Second) // config.settle
	waitFor(b, 5*time.Minute, func() bool { return operator.metric("confighub_waiters") == n }, func() string { return operator.get("/metrics").body })
	before, waiting := p.cpu(), p.memory("VmRSS")
	b.ResetTimer()
	var took []time.Duration
	for page := range b.N {
		took = append(took, p.change(c, page+1)...)
	}
	slices.Sort(took)
	for name, part := range map[string]int{"p50-s": 50, "p99-s": 99, "max-s": 100} {
		b.ReportMetric(took[(len(took)-1)*part/100].Seconds(), name)
	}
	b.ReportMetric((p.cpu()-before)/float64(b.N), "change-cpu-s")
	b.ReportMetric(before, "connect-cpu-s")
	b.ReportMetric(waiting, "waiting-MB")
	b.ReportMetric(p.memory("VmHWM"), "peak-MB")
	b.ReportMetric(float64(c.again.Load()), "again")
}
