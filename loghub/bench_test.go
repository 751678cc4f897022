// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/proctest"
	"github.com/klauspost/compress/gzip"
)

// benchLines is how many lines each file holds that is delivered.
const benchLines = 1_000_000

// benchRounds is how often each delivery is measured; medians are reported.
const benchRounds = 3

// BenchmarkDelivery delivers a file of a million lines, from its first byte to the last acknowledgement: parsed, ten secrets masked,
// through a spool on disk, as gzip OTLP over loopback. Of loghub and of each peer that is on the PATH, in turns: lines per
// second of processor time, peak memory, bytes on the wire.
func BenchmarkDelivery(b *testing.B) {
	program := proctest.Build(b, "loghub")
	for _, input := range []struct {
		name string
		line func(i int, dst []byte) []byte
	}{{"nginx", accessLine}, {"json", jsonLine}} {
		file := writeLines(b, input.line)
		peers := append([]peer{{name: "loghub", start: startLoghub(program)}}, peersHere(input.name)...)
		found := make([]map[string][]float64, len(peers))
		for i := range found {
			found[i] = map[string][]float64{}
		}
		for range benchRounds {
			for i, p := range peers {
				for unit, value := range p.deliver(b, file) {
					found[i][unit] = append(found[i][unit], value)
				}
			}
		}
		for i, p := range peers {
			b.Run(input.name+"/"+p.name, func(b *testing.B) {
				for unit, values := range found[i] {
					b.ReportMetric(proctest.Median(values), unit)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// accessLine is nginx's combined format, some 140 bytes.
func accessLine(i int, dst []byte) []byte {
	paths := [...]string{"/", "/index.html", "/static/app.js?v=3", "/api/v1/items/%d", "/login", "/favicon.ico"}
	agents := [...]string{"curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Uptime/2"}
	path := strings.Replace(paths[i%len(paths)], "%d", fmt.Sprint(i), 1)
	status := [...]int{200, 200, 200, 304, 404, 200, 200, 502}[i%8]
	at := time.Unix(1_795_000_000+int64(i)/50, 0).UTC().Format("02/Jan/2006:15:04:05 +0000")
	return fmt.Appendf(dst, "203.0.113.%d - - [%s] \"GET %s HTTP/1.1\" %d %d \"-\" \"%s\"\n", i%250, at, path, status, 100+i%9000, agents[i%len(agents)])
}

// jsonLine is what a structured logger writes, some 180 bytes.
func jsonLine(i int, dst []byte) []byte {
	level := [...]string{"info", "info", "debug", "warn", "error"}[i%5]
	at := time.Unix(1_795_000_000+int64(i)/50, int64(i%50)*20_000_000).UTC().Format(time.RFC3339Nano)
	return fmt.Appendf(dst, `{"level":"%s","time":"%s","caller":"shop/order.go:%d","request_id":"%08x%08x","user_id":%d,"took_ms":%d.5,"cached":%t,"message":"order %d was stored"}`+"\n",
		level, at, i%400, i, i*7, i%5000, i%90, i%2 == 0, i)
}

// writeLines makes a file of benchLines lines.
func writeLines(b *testing.B, line func(int, []byte) []byte) string {
	b.Helper()
	var text []byte
	for i := range benchLines {
		text = line(i, text)
	}
	path := filepath.Join(b.TempDir(), "input.log")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}

// counter is an OTLP receiver that counts records and acknowledges all.
type counter struct {
	srv     *httptest.Server
	records atomic.Int64
	bytes   atomic.Int64                     // as they came
	each    func(*otlp.Source, *otlp.Record) // of every record, if set
}

func newCounter(b *testing.B, each func(*otlp.Source, *otlp.Record)) *counter {
	c := &counter{each: each}
	var mu sync.Mutex
	c.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		packed, err := io.ReadAll(r.Body)
		if err != nil {
			return // its sender was stopped
		}
		body := packed
		if r.Header.Get("Content-Encoding") == "gzip" {
			z := must(gzip.NewReader(bytes.NewReader(packed)))
			body = must(io.ReadAll(z))
		}
		mu.Lock()
		defer mu.Unlock()
		n := 0
		if c.each == nil {
			n = countRecords(body, 1, 2, 2)
		} else if err := otlp.DecodeRequest(body, otlp.Limits{}, func(s *otlp.Source, rec *otlp.Record) error {
			c.each(s, rec)
			n++
			return nil
		}); err != nil {
			b.Error(err)
		}
		c.records.Add(int64(n))
		c.bytes.Add(int64(len(packed)))
		w.Header().Set("Content-Type", otlp.ContentType)
	}))
	b.Cleanup(c.srv.Close)
	return c
}

// countRecords counts what stands at a path of length-delimited fields: resource_logs, scope_logs, log_records.
func countRecords(body []byte, path ...uint64) (n int) {
	for len(body) > 0 {
		key, k := binary.Uvarint(body)
		size, s := uint64(0), 0
		if key&7 == 2 && k > 0 {
			size, s = binary.Uvarint(body[k:])
		}
		if s <= 0 || size > uint64(len(body)-k-s) {
			return n // another kind of field, such as none that stands before records
		}
		inner := body[k+s : k+s+int(size)]
		if body = body[k+s+int(size):]; key>>3 != path[0] {
			continue
		}
		if len(path) == 1 {
			n++
		} else {
			n += countRecords(inner, path[1:]...)
		}
	}
	return n
}

// peer is a program that delivers files.
type peer struct {
	name string
	// start begins to deliver a file to an address; what it keeps is in dir.
	start func(b *testing.B, dir, file, url string) *exec.Cmd
	// sink counts what arrives; nil: a counter of OTLP.
	sink func(b *testing.B) (url string, records, bytes func() int64)
}

// deliver measures one delivery.
func (p peer) deliver(b *testing.B, file string) map[string]float64 {
	b.Helper()
	sink := p.sink
	if sink == nil {
		sink = func(b *testing.B) (string, func() int64, func() int64) {
			c := newCounter(b, nil)
			return c.srv.URL, c.records.Load, c.bytes.Load
		}
	}
	url, records, wire := sink(b)
	cmd := p.start(b, b.TempDir(), file, url)
	var said lockedBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for had, since := int64(0), time.Now(); records() < benchLines; time.Sleep(5 * time.Millisecond) {
		if n := records(); n > had {
			had, since = n, time.Now()
		}
		if len(ended) > 0 || time.Since(since) > 2*time.Minute {
			_ = cmd.Process.Kill()
			b.Fatalf("%s delivered %d of %d lines\n%s", p.name, records(), benchLines, &said)
		}
	}
	took := time.Since(began)
	peak := proctest.Memory(b, cmd.Process.Pid, "VmHWM") // getrusage would count what this process had when it forked
	_ = cmd.Process.Signal(syscall.SIGTERM)
	<-ended
	cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	if n := records(); n > benchLines {
		b.Logf("%s delivered %d lines of %d", p.name, n, benchLines)
	}
	return map[string]float64{
		"lines/cpu-s": benchLines / cpu, "cpu-s": cpu, "peak-MB": peak, "wire-MB": float64(wire()) / 1e6, "wall-s": took.Seconds(),
	}
}

// startLoghub runs loghub as hubinit would, without pipes, with ten secrets to hide.
func startLoghub(program string) func(b *testing.B, dir, file, url string) *exec.Cmd {
	return func(b *testing.B, dir, file, url string) *exec.Cmd {
		return benchLoghub(b, program, dir, map[string]any{"otlp": url, "spool": "disk", "stdout": "off", "files": map[string]any{"input": map[string]any{"path": file}}})
	}
}

// benchLoghub is loghub with the section log, and ten secrets in its environment.
func benchLoghub(b *testing.B, program, dir string, log map[string]any) *exec.Cmd {
	b.Helper()
	settings := filepath.Join(dir, "hub.json")
	if err := os.WriteFile(settings, must(json.Marshal(map[string]any{"log": log})), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, sub := range []string{"run", "state"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	cmd := exec.Command(program, "--config", settings, "run")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HUB_RUN_DIR=" + filepath.Join(dir, "run"), "HUB_STATE_DIR=" + filepath.Join(dir, "state"), "HUB_SLOT=0", "TZ=UTC"}
	for i := range 10 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("DB%d_PASSWORD=correct-horse-%d-battery-staple", i, i*7919))
	}
	return cmd
}

// BenchmarkLatency measures how long a line takes from the write to the acknowledged request, at 1,000 lines a second.
func BenchmarkLatency(b *testing.B) {
	const rate, seconds = 1000, 20
	program := proctest.Build(b, "loghub")
	for range b.N {
		var took []time.Duration
		c := newCounter(b, func(_ *otlp.Source, r *otlp.Record) {
			var sent int64
			if _, err := fmt.Sscanf(string(r.Body.Bytes), "sent %d", &sent); err == nil {
				took = append(took, time.Since(time.Unix(0, sent)))
			}
		})
		cmd := benchLoghub(b, program, b.TempDir(), map[string]any{"otlp": c.srv.URL, "spool": "disk", "stdout": "off"})
		in := must(cmd.StdinPipe())
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		tick := time.NewTicker(time.Second / rate)
		for range rate * seconds {
			<-tick.C
			fmt.Fprintf(in, "sent %d\n", time.Now().UnixNano())
		}
		tick.Stop()
		in.Close()
		_ = cmd.Wait()
		if len(took) != rate*seconds {
			b.Fatalf("%d of %d lines arrived", len(took), rate*seconds)
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
		b.ReportMetric((cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds()/seconds*100, "cpu-%")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdle measures loghub with ten files and with 10,000 that nobody writes to.
func BenchmarkIdle(b *testing.B) {
	program := proctest.Build(b, "loghub")
	for _, files := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("files=%d", files), func(b *testing.B) {
			logs := b.TempDir()
			for i := range files {
				if err := os.WriteFile(filepath.Join(logs, fmt.Sprintf("%d.log", i)), accessLine(i, nil), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			c := newCounter(b, nil)
			cmd := benchLoghub(b, program, b.TempDir(), map[string]any{"otlp": c.srv.URL, "spool": "disk", "stdout": "off", "files": map[string]any{"all": map[string]any{"path": logs + "/*.log"}}})
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
			for end := time.Now().Add(2 * time.Minute); c.records.Load() < int64(files); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					b.Fatalf("%d of %d files were read", c.records.Load(), files)
				}
			}
			pid := cmd.Process.Pid
			for range b.N {
				time.Sleep(15 * time.Second) // what starting needed is given back
				before, start := proctest.CPU(b, pid), time.Now()
				time.Sleep(30 * time.Second)
				b.ReportMetric((proctest.CPU(b, pid)-before)/time.Since(start).Seconds()*100, "cpu-%")
				b.ReportMetric(proctest.Memory(b, pid, "VmRSS"), "rss-MB")
				b.ReportMetric(proctest.Memory(b, pid, "Pss_Anon"), "own-MB")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkFlood measures a service that prints as fast as it can for some seconds: lines a second through loghub with the copy on a
// container's output that is read at once, and the same service on that output itself.
func BenchmarkFlood(b *testing.B) {
	program := proctest.Build(b, "loghub")
	line := accessLine(1, nil)
	flood := func(w io.Writer) (n int) {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); n++ {
			if _, err := w.Write(line); err != nil {
				b.Fatal(err)
			}
		}
		return n
	}
	for range b.N {
		driver := exec.Command("cat")
		plain := must(driver.StdinPipe())
		if err := driver.Start(); err != nil {
			b.Fatal(err)
		}
		alone := flood(plain)
		plain.Close()
		_ = driver.Wait()

		c := newCounter(b, nil)
		cmd := benchLoghub(b, program, b.TempDir(), map[string]any{"otlp": c.srv.URL, "spool": "disk"})
		in := must(cmd.StdinPipe())
		driver = exec.Command("cat")
		driver.Stdin = must(cmd.StdoutPipe())
		for _, p := range []*exec.Cmd{cmd, driver} {
			if err := p.Start(); err != nil {
				b.Fatal(err)
			}
		}
		with := flood(in)
		peak := proctest.Memory(b, cmd.Process.Pid, "VmHWM")
		in.Close()
		_ = driver.Wait()
		_ = cmd.Wait()
		b.ReportMetric(float64(alone)/5, "alone-lines/s")
		b.ReportMetric(float64(with)/5, "with-lines/s")
		b.ReportMetric(float64(c.records.Load())/float64(with)*100, "delivered-%")
		b.ReportMetric(peak, "peak-MB")
	}
	b.ReportMetric(0, "ns/op")
}
