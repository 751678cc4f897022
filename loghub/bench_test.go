// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/proctest"
	"github.com/klauspost/compress/gzip"
)

// counter is an OTLP receiver that counts records and acknowledges all.
type counter struct {
	srv     *httptest.Server
	records atomic.Int64
	bytes   atomic.Int64                     // as they came
	each    func(*otlp.Source, *otlp.Record) // of every record, if set
	request atomic.Pointer[[]byte]           // the first one that was packed, unpacked
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
			c.request.CompareAndSwap(nil, &body)
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

func (c *counter) address() string { return c.srv.URL }
func (c *counter) close()          { c.srv.Close() }

func (c *counter) counts() (records, bytes int64) { return c.records.Load(), c.bytes.Load() }

func (c *counter) first() (events []arrival, err error) {
	body := c.request.Load()
	if body == nil {
		return nil, errors.New("it packed no request")
	}
	err = otlp.DecodeRequest(*body, otlp.Limits{}, func(_ *otlp.Source, r *otlp.Record) error {
		e := arrival{seconds: int64(r.Time / 1e9), values: append(plain(r.Body, nil), r.SeverityText)}
		for _, kv := range r.Attributes {
			e.values = plain(kv.Value, e.values)
		}
		events = append(events, e)
		return nil
	})
	return events, err
}

// plain appends the values of which v is made, written out.
func plain(v otlp.Value, to []string) []string {
	switch v.Kind {
	case otlp.KindMap:
		for _, kv := range v.Map {
			to = plain(kv.Value, to)
		}
		return to
	case otlp.KindInt:
		return append(to, fmt.Sprint(v.Int()))
	}
	return append(to, string(v.Bytes))
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
		tick, began := time.NewTicker(time.Second/rate), time.Now()
		for range rate * seconds {
			<-tick.C
			fmt.Fprintf(in, "sent %d\n", time.Now().UnixNano())
		}
		tick.Stop()
		in.Close()
		_ = cmd.Wait()
		lasted := time.Since(began).Seconds() // more than seconds where ticks came late
		if len(took) != rate*seconds {
			b.Fatalf("%d of %d lines arrived", len(took), rate*seconds)
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
		b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "p99-ms")
		b.ReportMetric((cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()).Seconds()/lasted*100, "cpu-%")
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
				time.Sleep(75 * time.Second) // what starting needed is given back, and of many files those quiet for a minute are looked at in turns
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
// container's output that is read at once, and the same service on that output itself. What of it did not fit into the spool is not
// delivered, and told: together that is every line.
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

		var delivered, lost int
		c := newCounter(b, func(_ *otlp.Source, r *otlp.Record) {
			var n int
			if bytes.Equal(r.Body.Bytes, line[:len(line)-1]) {
				delivered++
			} else if _, err := fmt.Sscanf(string(r.Body.Bytes), "lost %d records of stdin", &n); err == nil {
				lost += n
			}
		})
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
		if delivered+lost != with {
			b.Fatalf("of %d lines %d arrived and %d are told to be lost", with, delivered, lost)
		}
		b.ReportMetric(float64(alone)/5, "alone-lines/s")
		b.ReportMetric(float64(with)/5, "with-lines/s")
		b.ReportMetric(float64(delivered)/float64(with)*100, "delivered-%")
		b.ReportMetric(peak, "peak-MB")
	}
	b.ReportMetric(0, "ns/op")
}
