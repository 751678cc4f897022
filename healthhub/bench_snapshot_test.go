// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/proctest"
)

const snapshotBytes = 20_000

// BenchmarkSnapshot measures /v1/snapshot of a host, 20 kB, read by one thread of wrk over 16 connections, in turns with Gatus' list of as
// many bytes where a program gatus is on the PATH: medians of requests per second, and of the server's own time per request.
// The fresh ones carry a header that is never the same, so that none is answered by its connection (repeat).
func BenchmarkSnapshot(b *testing.B) {
	if _, err := exec.LookPath("wrk"); err != nil {
		b.Skip("not measured: there is no wrk (apt-get install wrk)")
	}
	size := snapshotBytes
	var targets []*target
	if gatus, err := exec.LookPath("gatus"); err == nil {
		targets = append(targets, launchGatus(b, gatus))
		size = len(targets[0].get(b))
	} else {
		b.Log("Gatus is not measured: there is no gatus on the PATH")
	}
	url, p := launchHost(b, size)
	fresh := filepath.Join(b.TempDir(), "fresh.lua")
	script := "local n = 0\nrequest = function() n = n + 1; return wrk.format(nil, nil, {[\"X-N\"] = n}) end\n"
	if err := os.WriteFile(fresh, []byte(script), 0o600); err != nil {
		b.Fatal(err)
	}
	targets = append(targets, &target{name: "repeated", url: url, process: p}, &target{name: "fresh", url: url, process: p, flags: []string{"-s", fresh}})
	if got := len(targets[len(targets)-1].get(b)); got < size*98/100 || got > size*102/100 {
		b.Fatalf("the snapshot has %d bytes, to be compared with %d", got, size)
	}
	b.ResetTimer()
	for range b.N {
		for range 7 {
			for _, t := range targets {
				t.round(b)
			}
		}
	}
	b.ReportMetric(float64(size), "bytes")
	b.ReportMetric(0, "ns/op")
	for _, t := range targets {
		b.ReportMetric(proctest.Median(t.rates), t.name+"-req/s")
		b.ReportMetric(proctest.Median(t.costs), t.name+"-cpu-µs")
	}
}

// target is a server that is measured, and what was found.
type target struct {
	name, url    string
	process      *process
	flags        []string // of wrk
	rates, costs []float64
}

func (t *target) get(b *testing.B) []byte {
	b.Helper()
	resp, err := http.Get(t.url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: %s: %v", t.url, resp.Status, err)
	}
	return data
}

var (
	wrkRate  = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	wrkCount = regexp.MustCompile(`(\d+) requests in`)
	wrkBad   = regexp.MustCompile(`(Non-2xx|Socket errors).*`)
)

func (t *target) round(b *testing.B) {
	before := t.process.cpu()
	out, err := exec.Command("wrk", slices.Concat([]string{"-t1", "-c16", "-d3"}, t.flags, []string{t.url})...).CombinedOutput()
	took := t.process.cpu() - before
	rate, count := wrkRate.FindSubmatch(out), wrkCount.FindSubmatch(out)
	if bad := wrkBad.Find(out); err != nil || bad != nil || rate == nil || count == nil {
		b.Fatalf("wrk on %s: %v: %s", t.name, err, out)
	}
	perSecond, _ := strconv.ParseFloat(string(rate[1]), 64)
	n, _ := strconv.ParseFloat(string(count[1]), 64)
	t.rates, t.costs = append(t.rates, perSecond), append(t.costs, took/n*1e6)
}

// launchGatus runs Gatus with endpoints whose list is about snapshotBytes long.
func launchGatus(b *testing.B, program string) *target {
	b.Helper()
	address := freeAddress(b)
	host, port, _ := strings.Cut(address, ":")
	conf := fmt.Sprintf("web: {address: %s, port: %s}\nendpoints:\n", host, port)
	for i := range 83 { // of 240 bytes each
		conf += fmt.Sprintf("  - {name: endpoint-%d, group: g, url: \"tcp://%s\", interval: 10s, conditions: [\"[CONNECTED] == true\"]}\n", i, address)
	}
	path := filepath.Join(b.TempDir(), "gatus.yaml")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "GATUS_CONFIG_PATH="+path)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	t := &target{name: "gatus", url: "http://" + address + "/api/v1/endpoints/statuses?pageSize=1", process: &process{b, cmd}}
	for last, end := -1, time.Now().Add(90*time.Second); ; time.Sleep(15 * time.Second) { // a list is cached for ten seconds
		if time.Now().After(end) {
			b.Fatal("Gatus' list goes on changing its size")
		}
		resp, err := http.Get(t.url)
		if err != nil {
			continue
		}
		data, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if n := len(data); n > snapshotBytes/2 && n > last*99/100 && n < last*101/100 {
			return t
		} else {
			last = n
		}
	}
}

// launchHost runs healthhub serve with a snapshot of about that size, and returns its address.
func launchHost(b *testing.B, size int) (url string, p *process) {
	b.Helper()
	ca := identitytest.New(b)
	address, page := freeAddress(b), freeAddress(b)
	p = launchServe(b, built(b), ca, "/host/vm1", address, "--dashboard", page)
	url = "http://" + page + "/v1/snapshot"
	t := &target{url: url}
	for i, left := 0, size-len(t.get(b)); left > 0; i++ {
		name := fmt.Sprintf("s%d.shop.vm1", i)
		n := rollup.Container(name, tenChecks(name).Children)
		if left < 4000 {
			n.Children = []health.Node{{Kind: health.KindCheck, Name: "rest", Text: strings.Repeat("x", max(1, left-450))}}
			left = 0
		}
		if err := simulate(ca.Files(b, bundle(b, name)), "https://"+address, n).report(); err != nil {
			b.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // a generation
		if left > 0 {
			left = size - len(t.get(b))
		}
	}
	return url, p
}
