// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/proctest"
	"cloud4.internal/hub/internal/spiffe"
)

// built is healthhub as it is shipped, built for a benchmark.
func built(b *testing.B) string { return proctest.Build(b, "healthhub") }

// process is one that is measured.
type process struct {
	b   *testing.B
	cmd *exec.Cmd
}

// launch runs healthhub in a machine of its own until the benchmark ends.
func launch(b *testing.B, program string, m machine, args ...string) *process {
	b.Helper()
	cmd := m.command(args...)
	cmd.Path = program
	cmd.Env = slices.DeleteFunc(cmd.Env, func(s string) bool { return strings.HasPrefix(s, "BE_HEALTHHUB") })
	log := new(output)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if b.Failed() {
			b.Log(log)
		}
	})
	return &process{b, cmd}
}

// cpu is what the process has used so far, in seconds.
func (p *process) cpu() float64 { return proctest.CPU(p.b, p.cmd.Process.Pid) }

// memory is VmRSS or VmHWM, in MB.
func (p *process) memory(what string) float64 { return proctest.Memory(p.b, p.cmd.Process.Pid, what) }

// measure reports what a process takes over a time in which nothing changes.
func (p *process) measure(d time.Duration) {
	before, start := p.cpu(), time.Now()
	time.Sleep(d)
	p.b.ReportMetric((p.cpu()-before)/time.Since(start).Seconds()*100, "cpu-%")
	p.b.ReportMetric(p.memory("VmRSS"), "rss-MB")
	p.b.ReportMetric(p.memory("VmHWM"), "peak-MB")
}

// simulated is somebody who reports, with a connection of its own.
type simulated struct {
	client *http.Client
	url    string
	node   health.Node
	seq    uint64
}

func simulate(files *identity.Files, url string, node health.Node) *simulated {
	return &simulated{client: &http.Client{Transport: mtls.Transport(files, nil), Timeout: 30 * time.Second}, url: url + report.Path, node: node}
}

func (s *simulated) report() error {
	s.seq++
	body, err := json.Marshal(report.Report{Schema: 1, Instance: "simulated", Seq: s.seq, SentAt: time.Now().UTC(), ValidFor: 90, Node: s.node})
	if err != nil {
		return err
	}
	packed := len(body) >= 16<<10 // as report.Sender does
	if packed {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		z.Write(body)
		z.Close()
		body = b.Bytes()
	}
	req, err := http.NewRequest(http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if packed {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	return nil
}

// all lets everybody report, spread over a time and again after it, until the benchmark ends.
func all(b *testing.B, crowd []*simulated, every time.Duration) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	b.Cleanup(func() { close(stop); running.Wait() })
	for i, s := range crowd {
		running.Go(func() {
			next := time.NewTimer(every * time.Duration(i) / time.Duration(len(crowd)))
			defer next.Stop()
			for {
				select {
				case <-stop:
					return
				case <-next.C:
				}
				if err := s.report(); err != nil {
					b.Errorf("reporting: %v", err)
					return
				}
				next.Reset(every)
			}
		})
	}
}

// tenChecks is a container's node with ten checks, as an agent sends it.
func tenChecks(name string) health.Node {
	now := time.Now().UTC()
	score, extent := 100, health.Extent{ScoreHigh: 100, Confidence: 1, Coverage: 1}
	n := health.Node{Kind: health.KindContainer, Name: name, Since: now, ObservedAt: now, ValidUntil: now.Add(90 * time.Second), Score: &score, Extent: &extent}
	for i := range 10 {
		n.Children = append(n.Children, health.Node{
			Kind: health.KindCheck, Name: fmt.Sprintf("check%d", i), Since: now, ObservedAt: now, Runs: 1000, Took: 0.0014, Text: "200 OK in 1.4ms",
			Flags: []string{health.FlagCritical},
		})
	}
	return n
}

// BenchmarkHost measures healthhub serve on a host of 100 containers with 10 checks each, over TLS: its part of one core, and its
// memory, while every container reports as its agent does when nothing changes (30s), and three times as often (10s).
func BenchmarkHost(b *testing.B) {
	program := built(b)
	for _, every := range []time.Duration{30 * time.Second, 10 * time.Second} {
		b.Run(every.String(), func(b *testing.B) {
			ca := identitytest.New(b)
			address := freeAddress(b)
			p := launchServe(b, program, ca, "/host/vm1", address)
			var crowd []*simulated
			for i := range 100 {
				name := fmt.Sprintf("s%d.shop.vm1", i)
				crowd = append(crowd, simulate(ca.Files(b, bundle(b, name)), "https://"+address, tenChecks(name)))
			}
			all(b, crowd, every)
			time.Sleep(every + 5*time.Second)
			b.ResetTimer()
			for range b.N {
				p.measure(time.Minute)
			}
		})
	}
}

// BenchmarkThousandAtOnce measures how long a host takes to hear a thousand containers that all begin at one moment.
func BenchmarkThousandAtOnce(b *testing.B) {
	program := built(b)
	ca := identitytest.New(b)
	var files []*identity.Files
	for i := range 1000 {
		files = append(files, ca.Files(b, bundle(b, fmt.Sprintf("s%d.shop.vm1", i))))
	}
	for range b.N {
		address := freeAddress(b)
		p := launchServe(b, program, ca, "/host/vm1", address)
		var crowd []*simulated
		for i := range files {
			crowd = append(crowd, simulate(files[i], "https://"+address, tenChecks(fmt.Sprintf("s%d.shop.vm1", i))))
		}
		start := time.Now()
		var sending sync.WaitGroup
		for _, s := range crowd {
			sending.Go(func() {
				if err := s.report(); err != nil {
					b.Error(err)
				}
			})
		}
		sending.Wait()
		b.ReportMetric(time.Since(start).Seconds(), "all-s")
		b.ReportMetric(p.cpu(), "cpu-s")
		b.ReportMetric(p.memory("VmHWM"), "peak-MB")
	}
}

// BenchmarkFleet measures the fleet's healthhub with 10,000 containers, 10 checks each, on 100 hosts, over TLS, each
// host reporting every 30 s; and on the way from a real container over a real host, how long the failure of a check takes to
// stand on the fleet's page.
func BenchmarkFleet(b *testing.B) {
	program := built(b)
	ca := identitytest.New(b)
	address, page := freeAddress(b), freeAddress(b)
	fleet := launchServe(b, program, ca, "/genesis/health", address, "--dashboard", page)
	var crowd []*simulated
	for i := range 99 {
		name := fmt.Sprintf("vm%d", i+1)
		host := health.Node{Kind: health.KindHost, Name: name}
		for j := range 100 {
			host.Children = append(host.Children, tenChecks(fmt.Sprintf("s%d.shop.%s", j, name)))
		}
		crowd = append(crowd, simulate(ca.Files(b, hostNamed(b, name)), "https://"+address, host))
	}
	all(b, crowd, 30*time.Second)

	hostAddress := freeAddress(b)
	launchServe(b, program, ca, "/host/vm0", hostAddress, "--report-to", "https://"+address)
	web := newMachine(b, fmt.Sprintf(`{"identity": {"host": "vm0", "stack": "shop", "service": "web"}, "health": {"report_to": "https://%s"}}`, hostAddress))
	ca.Issue(b, bundle(b, "web.shop.vm0"), web.path("state/identity"))
	launch(b, program, web, "run")
	fail := func(check string) {
		cmd := web.command("report", check, "fail", "--ttl", "1h")
		cmd.Path = program
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	shown := func(check string) time.Time {
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
			resp, err := http.Get("http://" + page + "/v1/summary/vm0/web.shop.vm0/" + check)
			if err != nil {
				continue
			}
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(text), `"status":"fail"`) {
				return time.Now()
			}
		}
		b.Fatalf("the fleet does not show %s", check)
		return time.Time{}
	}
	time.Sleep(35 * time.Second)
	leaf := 0
	b.ResetTimer()
	for range b.N {
		fleet.measure(time.Minute)
		var took []time.Duration
		for range 11 {
			time.Sleep(2 * time.Second) // quiet, so that each is the first change after it
			leaf++
			check := fmt.Sprintf("leaf%d", leaf)
			start := time.Now()
			fail(check)
			took = append(took, shown(check).Sub(start))
		}
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds(), "leaf-p50-s")
		b.ReportMetric(took[len(took)-1].Seconds(), "leaf-max-s")
	}
}

func bundle(b *testing.B, name string) spiffe.ID {
	b.Helper()
	id, err := spiffe.ParseBundleName(identity.DefaultTrustDomain, name)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

func hostNamed(b *testing.B, name string) spiffe.ID {
	b.Helper()
	id, err := spiffe.ForHost(identity.DefaultTrustDomain, name)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// launchServe starts a server of health, and waits until it answers.
func launchServe(b *testing.B, program string, ca *identitytest.CA, uri, address string, args ...string) *process {
	b.Helper()
	m := newMachine(b, "")
	ca.Issue(b, parse(b, uri), m.path("state/identity"))
	if !slices.Contains(args, "--dashboard") {
		args = append(args, "--dashboard", "")
	}
	p := launch(b, program, m, append([]string{"serve", "--listen", address}, args...)...)
	client := &http.Client{Transport: mtls.Transport(ca.Files(b, parse(b, "/operator/bench")), nil), Timeout: time.Second}
	defer client.CloseIdleConnections()
	waitFor(b, 20*time.Second, "serving", func() bool {
		resp, err := client.Get("https://" + address + "/livez")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	return p
}
