// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/proctest"
)

// benchLines is how many lines each file holds that is delivered.
const benchLines = 1_000_000

// benchRounds is how often each delivery is measured; medians are reported.
const benchRounds = 3

// benchTime is how long a delivery may take, and benchStop how long its program may take to end.
const (
	benchTime = 2 * time.Minute
	benchStop = 30 * time.Second
)

// benchBegin is the time of the first line of each file, in seconds since 1970; 50 lines have the same second.
const benchBegin = 1_795_000_000

// delivery is a kind of lines that are delivered.
type delivery struct {
	name string
	line func(i int, dst []byte) []byte
	// parsed is what must stand in fields of its own in each event of such a line.
	parsed []*regexp.Regexp
}

var deliveries = []delivery{
	{"nginx", accessLine, patterns(`^203\.0\.113\.\d+$`, `^GET$`, `^(200|304|404|502)$`, `^(curl|Mozilla|Uptime)/`)},
	{"json", jsonLine, patterns(`^[0-9a-f]{16}$`, `^shop/order\.go:\d+$`, `^(info|debug|warn|error)$`, `^order \d+ was stored$`)},
}

func patterns(texts ...string) (compiled []*regexp.Regexp) {
	for _, text := range texts {
		compiled = append(compiled, regexp.MustCompile(text))
	}
	return compiled
}

// BenchmarkDelivery delivers a file of a million lines, from its first byte to the last acknowledgement: parsed, kept on disk, as
// gzip OTLP over loopback. Of loghub and of each peer that is on the PATH, in turns: lines per second of processor time, peak
// memory (with the files that are mapped), bytes on the wire. loghub also masks ten secrets, and sends the line of nginx as it was,
// the file's path and a number of its own for each line. What a peer does otherwise stands where it is started; one that does not
// deliver fails for itself. The last lines are a table for people.
func BenchmarkDelivery(b *testing.B) {
	program := proctest.Build(b, "loghub")
	for _, d := range deliveries {
		file := d.write(b)
		peers := append([]peer{{name: "loghub", note: "also masks ten secrets", start: startLoghub(program)}}, peersHere(d.name)...)
		found, failed := make([]figures, len(peers)), make([]error, len(peers))
		for range benchRounds {
			for i, p := range peers {
				if failed[i] == nil {
					failed[i] = found[i].add(p.deliver(b, file, d.parsed))
				}
			}
		}
		for i, p := range peers {
			b.Run(d.name+"/"+p.name, func(b *testing.B) {
				if failed[i] != nil {
					b.Fatal(failed[i])
				}
				for _, unit := range units {
					b.ReportMetric(found[i].median(unit), unit)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
		fmt.Print(deliveryTable(d.name, peers, found, failed))
	}
}

// units are what is measured of a delivery, in the order of the table.
var units = []string{"lines/cpu-s", "cpu-s", "peak-MB", "wire-MB", "wall-s"}

// figures are the values of each unit, one of each round.
type figures map[string][]float64

// add takes what one round gave.
func (f *figures) add(round map[string]float64, err error) error {
	if *f == nil {
		*f = figures{}
	}
	for unit, value := range round {
		(*f)[unit] = append((*f)[unit], value)
	}
	return err
}

func (f figures) median(unit string) float64 { return proctest.Median(f[unit]) }

// deliveryTable puts the programs side by side.
func deliveryTable(input string, peers []peer, found []figures, failed []error) string {
	var t strings.Builder
	fmt.Fprintf(&t, "\ndelivery of %d lines, %s (median of %d)\n  %-15s", benchLines, input, benchRounds, "")
	fmt.Fprintf(&t, " %12s", units[0])
	for _, unit := range units[1:] {
		fmt.Fprintf(&t, " %9s", unit)
	}
	for i, p := range peers {
		fmt.Fprintf(&t, "\n  %-15s", p.name)
		if failed[i] != nil {
			why, _, _ := strings.Cut(failed[i].Error(), ";")
			t.WriteString("  failed: " + why)
			continue
		}
		fmt.Fprintf(&t, " %12.0f", found[i].median(units[0]))
		for _, unit := range units[1:] {
			fmt.Fprintf(&t, " %9.1f", found[i].median(unit))
		}
		if p.note != "" {
			t.WriteString("   " + p.note)
		}
	}
	return t.String() + "\n\n"
}

// accessLine is nginx's combined format, some 140 bytes.
func accessLine(i int, dst []byte) []byte {
	paths := [...]string{"/", "/index.html", "/static/app.js?v=3", "/api/v1/items/%d", "/login", "/favicon.ico"}
	agents := [...]string{"curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Uptime/2"}
	path := strings.Replace(paths[i%len(paths)], "%d", fmt.Sprint(i), 1)
	status := [...]int{200, 200, 200, 304, 404, 200, 200, 502}[i%8]
	at := time.Unix(benchBegin+int64(i)/50, 0).UTC().Format("02/Jan/2006:15:04:05 +0000")
	return fmt.Appendf(dst, "203.0.113.%d - - [%s] \"GET %s HTTP/1.1\" %d %d \"-\" \"%s\"\n",
		i%250, at, path, status, 100+i%9000, agents[i%len(agents)])
}

// jsonLine is what a structured logger writes, some 180 bytes.
func jsonLine(i int, dst []byte) []byte {
	level := [...]string{"info", "info", "debug", "warn", "error"}[i%5]
	at := time.Unix(benchBegin+int64(i)/50, int64(i%50)*20_000_000).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	return fmt.Appendf(dst, `{"level":"%s","time":"%s","caller":"shop/order.go:%d","request_id":"%08x%08x",`+
		`"user_id":%d,"took_ms":%d.5,"cached":%t,"message":"order %d was stored"}`+"\n",
		level, at, i%400, i, i*7, i%5000, i%90, i%2 == 0, i)
}

// write makes a file of benchLines lines.
func (d delivery) write(b *testing.B) string {
	b.Helper()
	var text []byte
	for i := range benchLines {
		text = d.line(i, text)
	}
	path := filepath.Join(b.TempDir(), "input.log")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		b.Fatal(err)
	}
	return path
}

// peer is a program that delivers files.
type peer struct {
	name, note string // the note is what it does otherwise than the others
	// start begins to deliver a file to an address; what it keeps is in dir.
	start func(b *testing.B, dir, file, address string) *exec.Cmd
	// taker is what it delivers to; nil: a counter of OTLP.
	taker func() taker
}

// taker takes what a peer delivers, and acknowledges it.
type taker interface {
	address() string
	counts() (records, bytes int64)
	// first is what the first request brought: for each event the values of its fields, written out, and its time in seconds.
	first() ([]arrival, error)
	close()
}

// arrival is what a taker was brought of one line.
type arrival struct {
	seconds int64
	values  []string
}

// check tells whether the event is one of a line that was parsed.
func (a arrival) check(parsed []*regexp.Regexp) error {
	if a.seconds < benchBegin || a.seconds > benchBegin+benchLines/50 {
		return fmt.Errorf("it parsed no time: an event has %s", time.Unix(a.seconds, 0).UTC())
	}
	for _, want := range parsed {
		found := false
		for _, value := range a.values {
			found = found || want.MatchString(value)
		}
		if !found {
			return fmt.Errorf("it did not parse the lines: nothing that matches %s stands alone in %q", want, a.values)
		}
	}
	return nil
}

// deliver measures one delivery.
func (p peer) deliver(b *testing.B, file string, parsed []*regexp.Regexp) (map[string]float64, error) {
	b.Helper()
	dir := must(os.MkdirTemp(b.TempDir(), ""))
	defer os.RemoveAll(dir)
	var to taker
	if to = newCounter(b, nil); p.taker != nil {
		to = p.taker()
	}
	defer to.close()
	cmd := p.start(b, dir, file, to.address())
	var said lockedBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	err := awaitLines(to, ended)
	took, peak := time.Since(began), 0.0
	if err == nil {
		peak = proctest.Memory(b, cmd.Process.Pid, "VmHWM") // getrusage would count what this process had when it forked
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(benchStop):
			err = fmt.Errorf("it was told to stop, and ran on for %s", benchStop)
		}
	}
	_ = cmd.Process.Kill()
	<-ended
	if err == nil {
		err = checkFirst(to, parsed)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; its last words:\n%s", err, lastLines(said.String(), 20))
	}
	records, wire := to.counts()
	if records > benchLines {
		b.Logf("%s delivered %d lines of %d", p.name, records, benchLines)
	}
	cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return map[string]float64{
		"lines/cpu-s": benchLines / cpu, "cpu-s": cpu, "peak-MB": peak, "wire-MB": float64(wire) / 1e6, "wall-s": took.Seconds(),
	}, nil
}

// awaitLines returns when all lines have arrived.
func awaitLines(to taker, ended <-chan struct{}) error {
	late := time.After(benchTime)
	for {
		records, _ := to.counts()
		if records >= benchLines {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("it ended when %d of %d lines had arrived", records, benchLines)
		case <-late:
			return fmt.Errorf("%d of %d lines arrived in %s", records, benchLines, benchTime)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}

// checkFirst tells whether the events of the first request are those of lines that were parsed.
func checkFirst(to taker, parsed []*regexp.Regexp) error {
	events, err := to.first()
	for _, e := range events {
		err = errors.Join(err, e.check(parsed))
		if err != nil {
			break
		}
	}
	return err
}
