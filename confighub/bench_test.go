// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// shippedOnce builds the four programs as they are shipped: what is measured is not the test binary, which is larger.
var shippedOnce = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(buildDir(), "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", dir+"/", "cloud4.internal/hub/confighub",
		"cloud4.internal/hub/healthhub", "cloud4.internal/hub/loghub", "cloud4.internal/hub/baseimage/hubinit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the programs: %w: %s", err, out)
	}
	return dir, nil
})

// shipped is a container with the programs as they are shipped; hubs is HUB_HUBS.
func shipped(b *testing.B, hubs string) *container {
	b.Helper()
	dir, err := shippedOnce()
	if err != nil {
		b.Fatal(err)
	}
	c := newContainer(b)
	for _, name := range []string{"hubinit", initctl.Confighub, initctl.Healthhub, initctl.Loghub} {
		if err := os.RemoveAll(c.path("bin/" + name)); err != nil {
			b.Fatal(err)
		}
		if err := os.Link(filepath.Join(dir, name), c.path("bin/"+name)); err != nil {
			b.Fatal(err)
		}
	}
	c.env = append(c.env, "HUB_HUBS="+hubs)
	return c
}

// serveShipped serves the tree with a process of its own.
func (g *genesis) serveShipped(b *testing.B) {
	b.Helper()
	dir, err := shippedOnce()
	if err != nil {
		b.Fatal(err)
	}
	g.log = &buffer{}
	cmd := exec.Command(filepath.Join(dir, initctl.Confighub), "serve", "--root", g.tree, "--state", g.state, "--listen", g.address, "--identity", g.dir)
	cmd.Stderr = g.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	g.stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			b.Errorf("serve: %v\n%s", err, g.log)
		}
	})
	b.Cleanup(g.stop)
	g.awaitServing()
}

// quantile of sorted durations, in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	at := min(int(q*float64(len(sorted))), len(sorted)-1)
	return float64(sorted[at]) / float64(time.Millisecond)
}

// report gives the quantiles of durations in place of the mean.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(quantile(took, 0.5), "ms-p50")
	b.ReportMetric(quantile(took, 0.99), "ms-p99")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkChange is the time from a write of the genesis' tree to the end of the reload command in the container, over
// two real processes and mTLS. It includes the 100 ms of quiet that a plain directory is given, and no check.
func BenchmarkChange(b *testing.B) {
	g := newGenesis(b)
	c := shipped(b, initctl.Confighub)
	c.env = append(c.env, "RELOADS="+c.path("reloads"))
	write := func(value int) { g.write("services/web/data/web.json", fmt.Sprintf(`{"value": "v%d"}`, value)) }
	write(0)
	g.write("services/web/templates/app.conf", "value={{value}} host={{hub.host}}\n")
	g.write("services/web/bundle.json", fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "reload": "told"}}}`, c.path("etc/app/app.conf")))
	g.serveShipped(b)
	c.configure(g.settings(c, map[string]any{"settle": "0s", "actions": map[string]any{
		"told": []string{"sh", "-c", `read line <` + c.path("etc/app/app.conf") + `; echo "$line $(date +%s%N)" >>` + c.path("reloads")}}}))
	c.start("HUB_TOKEN=" + g.ca.Token(b, g.web("")))
	c.says("the service lives with the configuration")
	var took []time.Duration
	n := 0
	for b.Loop() {
		n++
		begin := time.Now()
		write(n)
		var end time.Time
		c.waitFor(fmt.Sprintf("the reload of v%d", n), func() bool {
			end = reloaded(c.text("reloads"), n)
			return !end.IsZero()
		})
		took = append(took, end.Sub(begin))
		c.waitFor("genesis to know it", func() bool { return strings.Count(g.log.String(), `"state":"applied"`) > n })
	}
	report(b, took)
}

// reloaded is when the reload of value n ended, zero before.
func reloaded(reloads string, n int) time.Time {
	_, rest, found := strings.Cut(reloads, fmt.Sprintf("value=v%d host=vm1 ", n))
	line, _, ended := strings.Cut(rest, "\n")
	ns, err := strconv.ParseInt(line, 10, 64)
	if !found || !ended || err != nil {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// BenchmarkColdStart is the time from the start of the process `confighub run`, which has an identity and a last good
// bundle, to its word that the gate may open.
func BenchmarkColdStart(b *testing.B) {
	g := newGenesis(b)
	c := shipped(b, initctl.Confighub)
	publish(g, c, "one", "")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(b, g.web("")))
	c.says("the service lives with the configuration")
	c.stop()
	b.Run("genesis", func(b *testing.B) { coldStarts(b, c) })
	g.stop()
	b.Run("absent", func(b *testing.B) { coldStarts(b, c) })
}

func coldStarts(b *testing.B, c *container) {
	var took []time.Duration
	for b.Loop() {
		took = append(took, coldStart(b, c))
	}
	report(b, took)
}

// coldStart starts the program, waits for its word and stops it.
func coldStart(b *testing.B, c *container) time.Duration {
	b.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	out := &buffer{}
	cmd := exec.Command(c.path("bin/confighub"), "--config", c.path("etc/hub.json"), "run")
	cmd.Env = append(slices.Clone(c.env), "HUB_STATE_DIR="+c.path("var/0"), "HUB_SLOT=0", "HUB_READY_FD=3")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{w}, out
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	w.Close()
	word := make([]byte, 1)
	r.SetReadDeadline(begin.Add(30 * time.Second))
	n, err := r.Read(word)
	took := time.Since(begin)
	cmd.Process.Signal(syscall.SIGTERM)
	if end := cmd.Wait(); end != nil || n != 1 {
		b.Fatalf("confighub was not ready: %v, %v\n%s", err, end, out)
	}
	return took
}

// BenchmarkIdle is the memory of a container's four programs, ten containers on this machine, each with its identity, a
// bundle in place and a long poll at the genesis: the proportional set size of each, and how much of it is its own.
// HUB_BENCH_IDLE is how long they are left alone, default 30s.
func BenchmarkIdle(b *testing.B) {
	idle, err := time.ParseDuration(os.Getenv("HUB_BENCH_IDLE"))
	if err != nil {
		idle = 30 * time.Second
	}
	for b.Loop() {
		g := newGenesis(b)
		containers := make([]*container, 10)
		for i := range containers {
			containers[i] = shipped(b, "loghub,healthhub,confighub")
		}
		g.write("services/web/templates/env", "NAME={{hub.instance}}\n")
		g.write("services/web/bundle.json", `{"targets": {"env": {"template": "env", "env": true}}}`)
		g.start()
		for _, c := range containers {
			settings := webSettings(g, c)
			c.configure(settings)
			c.start("HUB_TOKEN=" + g.ca.Token(b, g.web("")))
		}
		for _, c := range containers {
			c.says("the service lives with the configuration")
		}
		time.Sleep(idle)
		sum := map[string]memory{}
		for _, c := range containers {
			for name, used := range c.memory() {
				sum[name] = memory{sum[name].pss + used.pss, sum[name].own + used.own}
			}
		}
		var all memory
		for name, used := range sum {
			b.ReportMetric(used.pss/10, "MB-"+name)
			b.ReportMetric(used.own/10, "MB-own-"+name)
			all = memory{all.pss + used.pss, all.own + used.own}
		}
		b.ReportMetric(all.pss/10, "MB-all")
		b.ReportMetric(0, "ns/op")
		for _, c := range containers {
			c.stop()
		}
		g.stop()
	}
}

// memory is what a process takes, in MB.
type memory struct{ pss, own float64 }

// memory of the container's programs, by name.
func (c *container) memory() map[string]memory {
	c.t.Helper()
	state, err := initctl.ReadState(c.path("run"))
	if err != nil {
		c.t.Fatal(err)
	}
	used := map[string]memory{"hubinit": memoryOf(c.t, c.cmd.Process.Pid)}
	var children []byte
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", c.cmd.Process.Pid))
	for _, thread := range threads {
		started, err2 := os.ReadFile(thread)
		children, err = append(children, started...), errors.Join(err, err2)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		name, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || err2 != nil {
			c.t.Fatal(err, err2)
		}
		if hub := strings.TrimSpace(string(name)); state.Hubs[hub] != nil {
			used[hub] = memoryOf(c.t, pid)
		}
	}
	if len(used) != 4 {
		raw, _ := json.Marshal(state)
		c.t.Fatalf("%d programs run: %s", len(used), raw)
	}
	return used
}

func memoryOf(t testing.TB, pid int) memory {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	var m memory
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 {
			kb, _ := strconv.ParseFloat(f[1], 64)
			switch f[0] {
			case "Pss:":
				m.pss = kb / 1000
			case "Pss_Anon:":
				m.own = kb / 1000
			}
		}
	}
	return m
}
