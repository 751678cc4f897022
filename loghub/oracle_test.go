// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// A trial lets three generators number the lines they write to stdout, stderr and a file that is rotated, kills loghub again and
// again, and asks a receiver that believes nothing what came of them.
type trial struct {
	name   string
	spool  string             // setting log.spool
	faults bool               // killed at the spool's named points instead of at random
	flaps  bool               // the receiver refuses, breaks connections, and takes records without saying so
	rotate func(c *trialFile) // nil: by name
	full   bool               // the spool is on a disk of 1 MB, and the receiver away
	damage bool               // bytes of the spool change while loghub is down
}

// trials are run with five kills each in `make test`, with fifty in `make soak`.
var trials = []trial{
	{name: "disk", spool: "disk"},
	{name: "memory", spool: "memory"},
	{name: "memory first", spool: "memory-first"},
	{name: "disk at points", spool: "disk", faults: true},
	{name: "memory first at points", spool: "memory-first", faults: true, flaps: true},
	{name: "receiver flaps", spool: "disk", flaps: true},
	{name: "receiver flaps, memory first", spool: "memory-first", flaps: true},
	{name: "copytruncate", spool: "disk", rotate: (*trialFile).copyTruncate},
	{name: "disk full", spool: "disk", full: true},
	{name: "spool damaged", spool: "disk", damage: true},
}

// TestConservation: whatever kills loghub, no line of a file or of what entered a pipe is missing, unless a record tells of its loss;
// what comes twice has one uid; and every source keeps its order.
func TestConservation(t *testing.T) {
	kills := 5
	if os.Getenv("HUB_SOAK") != "" {
		kills = 50
	}
	program := filepath.Join(t.TempDir(), "loghub")
	out, err := exec.Command("go", "build", "-tags", "urfave_cli_no_docs,faults", "-o", program, "cloud4.internal/hub/loghub").CombinedOutput()
	if err != nil {
		t.Fatalf("building loghub: %v: %s", err, out)
	}
	for _, tr := range trials {
		t.Run(tr.name, func(t *testing.T) { tr.run(t, program, kills) })
	}
}

func (tr trial) run(t *testing.T, program string, kills int) {
	rc := newSceptic(t)
	logs := t.TempDir()
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "spool": %q, "disk_after": "1s", "stdout": "off", "files": {"app": {"path": "%s/app.log"}}}}`, rc.srv.URL, tr.spool, logs))
	c.program = program
	fd := must(unix.MemfdCreate("spool", unix.MFD_CLOEXEC))
	c.memory = os.NewFile(uintptr(fd), "memfd")
	defer c.memory.Close()
	if tr.full {
		smallDisk(t, filepath.Join(c.state, "log"))
	}
	gens := []*generator{{name: "stdout"}, {name: "stderr"}, {name: "file"}}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); writers.Wait() })
	defer end()
	for _, g := range gens[:2] {
		writers.Go(func() { writePipe(t, c.pipes[g.name].w, g, stop) })
	}
	file := &trialFile{t: t, path: filepath.Join(logs, "app.log"), gen: gens[2], read: rc.has}
	rotate := (*trialFile).rename
	if tr.rotate != nil {
		rotate = tr.rotate
	}
	writers.Go(func() { file.write(rotate, stop) })

	if tr.full {
		rc.mood.Store(moodAway)
	}
	rotates := !tr.full && !tr.flaps // else too little arrives for a file to be turned over
	for kill := 0; kill < kills || rotates && file.turns.Load() < 2; kill++ {
		if kill == 20*kills {
			t.Fatalf("killed %d times, and the file was rotated %d times", kill, file.turns.Load())
		}
		if tr.flaps {
			rc.mood.Store(int32(kill+1) % moods)
		}
		tr.kill(c, kill)
		if tr.damage {
			damage(t, filepath.Join(c.state, "log"))
		}
	}
	h := c.start() // first: a writer may wait at a full pipe
	end()
	if tr.full {
		wantFull(t, filepath.Join(c.state, "log"))
	}
	rc.mood.Store(moodGood)
	tr.settle(t, c, h, rc, gens)
	h.stop(t)
	tr.check(t, rc, gens, kills)
}

// kill starts loghub and lets it die once.
func (tr trial) kill(c *container, n int) {
	if !tr.faults {
		h := c.start()
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		h.kill()
		return
	}
	point := faultPoints[n%len(faultPoints)]
	env := c.env
	c.env = append(c.env, fmt.Sprintf("HUB_LOG_FAULT=%s:%d", point, 1+rand.IntN(8)))
	h := c.begin()
	c.env = env
	select { // a point that is not passed in this mode, or not so often, is a kill at random
	case <-h.done:
	case <-time.After(2 * time.Second):
		h.kill()
	}
}

// faultPoints are those of package spool, which a test that is built without the tag does not see.
var faultPoints = []string{
	"batch-written", "segment-full", "segment-created", "sync-done", "spill-written", "spill-synced", "memory-dropped", "cursor-written",
	"cursor-synced", "before-unlink", "after-unlink",
}

// settle waits until everything has come, for as long as something comes.
func (tr trial) settle(t *testing.T, c *container, h *hub, rc *sceptic, gens []*generator) {
	t.Helper()
	for had, since := -1, time.Now(); rc.missing(gens) > 0; time.Sleep(20 * time.Millisecond) {
		if n := rc.arrived(); n != had {
			had, since = n, time.Now()
		}
		quiet := 60 * time.Second
		if tr.full || tr.damage { // what is lost does not come
			_, state := c.logState()
			if quiet = 3 * time.Second; state.Spool == nil || state.Spool.Backlog > 0 {
				quiet = 60 * time.Second
			}
		}
		if time.Since(since) > quiet {
			if !tr.full && !tr.damage {
				t.Logf("nothing comes any more\n%s", h.log)
			}
			return
		}
	}
}

func (tr trial) check(t *testing.T, rc *sceptic, gens []*generator, kills int) {
	t.Helper()
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, f := range rc.faults {
		t.Error(f)
	}
	total := 0
	for _, g := range gens {
		var lost, bytes int
		for i := 1; i <= g.n; i++ {
			if rc.uids[g.name][i] == "" {
				lost++
				bytes += len(g.line(i))
				if lost < 5 && !tr.full && !tr.damage {
					t.Errorf("missing: %s %d", g.name, i)
				}
			}
		}
		told := rc.told[g.name]
		total += g.n
		t.Logf("%s: %d lines, %d missing (%d bytes); told as lost: %d records, %d bytes; %d came again", g.name, g.n, lost, bytes, told.records, told.bytes, rc.again[g.name])
		switch {
		case tr.damage:
			if lost > 0 && rc.told["spool"].bytes == 0 {
				t.Errorf("%s: %d lines are missing, and no record says that the spool is damaged", g.name, lost)
			}
		case g.name == "file" || !tr.full:
			if lost > 0 {
				t.Errorf("%s: %d lines are missing", g.name, lost)
			}
		case told.bytes < bytes || told.bytes > bytes+lost+2*kills*256: // a line's end, and lines that a kill cut
			t.Errorf("%s: %d bytes in %d lines are missing, but %d bytes are told", g.name, bytes, lost, told.bytes)
		}
	}
	if total < 100*kills {
		t.Errorf("only %d lines were written: that proves nothing", total)
	}
}

// Moods of the receiver.
const (
	moodGood   = iota
	moodAway   // 503
	moodBroken // the connection ends without an answer
	moodSilent // it takes the records, and then ends the connection
	moods
)

// sceptic is an OTLP receiver that drops nothing that comes twice, but remembers.
type sceptic struct {
	srv  *httptest.Server
	mood atomic.Int32

	mu     sync.Mutex
	uids   map[string]map[int]string // stream → line → log.record.uid
	lines  map[string]string         // uid → stream and line
	last   map[string]int            // source, that is the uid without its place → line that came last for the first time
	again  map[string]int
	told   map[string]loss // by source
	losses map[string]bool // uids of loss records
	faults []string
}

type loss struct{ records, bytes int }

func newSceptic(t *testing.T) *sceptic {
	s := &sceptic{
		uids: map[string]map[int]string{"stdout": {}, "stderr": {}, "file": {}}, lines: map[string]string{}, last: map[string]int{},
		again: map[string]int{}, told: map[string]loss{}, losses: map[string]bool{},
	}
	s.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch mood := s.mood.Load(); mood {
		case moodAway:
			w.WriteHeader(http.StatusServiceUnavailable)
		case moodBroken:
			panic(http.ErrAbortHandler)
		default:
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // it was killed
			}
			if r.Header.Get("Content-Encoding") == "gzip" {
				body = must(io.ReadAll(must(gzip.NewReader(strings.NewReader(string(body))))))
			}
			if err := otlp.DecodeRequest(body, otlp.Limits{}, s.take); err != nil {
				s.fault("a request that is none: %v", err)
			}
			if mood == moodSilent {
				panic(http.ErrAbortHandler)
			}
		}
	}))
	s.srv.Config.ErrorLog = nil
	t.Cleanup(s.srv.Close)
	return s
}

func (s *sceptic) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < 20 {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

func attribute(r *otlp.Record, key string) (v otlp.Value) {
	for _, kv := range r.Attributes {
		if kv.Key == key {
			return kv.Value
		}
	}
	return v
}

func (s *sceptic) take(_ *otlp.Source, r *otlp.Record) error {
	uid, body := string(attribute(r, event.AttrUID).Bytes), string(r.Body.Bytes)
	switch r.EventName {
	case "hub.loss":
		s.takeLoss(uid, body, r)
		return nil
	case "":
	default:
		return nil // what loghub says of the container is not what is counted here
	}
	stream, rest, _ := strings.Cut(body, " ")
	number, tail, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	if err != nil || len(tail) != n%200 || s.uids[stream] == nil {
		s.fault("a line nobody wrote: %.80q (uid %s)", body, uid)
		return nil
	}
	s.mu.Lock()
	had, before := s.uids[stream][n], s.lines[uid]
	source := uid[:strings.LastIndexAny(uid, ".@")+1]
	last := s.last[source]
	s.uids[stream][n], s.lines[uid] = uid, stream+" "+number
	s.last[source] = max(last, n)
	if had != "" {
		s.again[stream]++
	}
	s.mu.Unlock()
	switch {
	case had != "" && had != uid:
		s.fault("%s %d came under two uids: %s and %s", stream, n, had, uid)
	case before != "" && before != stream+" "+number:
		s.fault("uid %s is that of %s and of %s %d", uid, before, stream, n)
	case had == "" && n < last:
		s.fault("%s: line %d came after line %d", source, n, last)
	}
	return nil
}

// takeLoss adds up what is told of a source: "lost 7 records of stdout: …".
func (s *sceptic) takeLoss(uid, body string, r *otlp.Record) {
	_, rest, _ := strings.Cut(body, " of ")
	name, _, _ := strings.Cut(rest, ":")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.losses[uid] {
		return
	}
	s.losses[uid] = true
	l := s.told[name]
	l.records += int(attribute(r, event.AttrLossCount).Int())
	l.bytes += int(attribute(r, event.AttrLossBytes).Int())
	s.told[name] = l
}

func (s *sceptic) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

func (s *sceptic) missing(gens []*generator) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range gens {
		n += g.n - len(s.uids[g.name])
	}
	return n
}

// has says whether a line has arrived.
func (s *sceptic) has(stream string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uids[stream][n] != ""
}

// writePipe writes to a pipe in pieces, so that lines are cut.
func writePipe(t *testing.T, w io.Writer, g *generator, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond):
		}
		for text := g.lines(1 + rand.IntN(16)); len(text) > 0; {
			n := min(len(text), 1+rand.IntN(3000))
			if _, err := io.WriteString(w, text[:n]); err != nil {
				t.Error(err)
				return
			}
			text = text[n:]
		}
	}
}

// trialFile is a log file that is rotated now and then.
type trialFile struct {
	t     *testing.T
	path  string
	gen   *generator
	read  func(stream string, n int) bool // whether a line has arrived
	f     *os.File
	first int // number of the first line in the file
	turns atomic.Int32
}

func (f *trialFile) open() {
	f.f = must(os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600))
	f.first = f.gen.n + 1
}

func (f *trialFile) add(lines int) {
	if _, err := f.f.WriteString(f.gen.lines(lines)); err != nil {
		f.t.Error(err)
	}
}

// write appends lines, and rotates a file whose first line has arrived: what comes and is renamed to what no pattern
// matches while loghub is down, nobody can know of.
func (f *trialFile) write(rotate func(*trialFile), stop chan struct{}) {
	f.open()
	f.add(1)
	for rotated := time.Now(); ; {
		select {
		case <-stop:
			f.f.Close()
			return
		case <-time.After(time.Duration(rand.IntN(4)) * time.Millisecond):
		}
		f.add(1 + rand.IntN(16))
		if time.Since(rotated) > 300*time.Millisecond && f.read("file", f.first) {
			rotated = time.Now()
			f.turns.Add(1)
			rotate(f)
		}
	}
}

// rename is the rotation by name; the service goes on in the old file for a moment, as nginx does.
func (f *trialFile) rename() {
	if err := os.Rename(f.path, fmt.Sprintf("%s.%d", f.path, f.turns.Load())); err != nil {
		f.t.Error(err)
	}
	f.add(5)
	f.f.Close()
	f.open()
	f.add(1)
}

// copyTruncate is the rotation by copy. Between copy and truncation nothing is written here: such lines logrotate itself loses.
func (f *trialFile) copyTruncate() {
	text, err := os.ReadFile(f.path)
	if err == nil {
		err = os.WriteFile(fmt.Sprintf("%s.%d", f.path, f.turns.Load()), text, 0o600)
	}
	if err == nil {
		err = f.f.Truncate(0)
	}
	if err != nil {
		f.t.Error(err)
	}
	f.first = f.gen.n + 1
	f.add(1)
}

// smallDisk mounts a file system of 1 MB.
func smallDisk(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("mounting takes root, which CI has")
		}
		t.Skip("mounting takes root")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// wantFull sees to it that the disk was full, else its trial proves nothing.
func wantFull(t *testing.T, dir string) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Bfree > 0 {
		t.Errorf("%d of %d blocks of the small disk are free", st.Bfree, st.Blocks)
	}
}

// damage changes some bytes of one segment of the spool.
func damage(t *testing.T, dir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no segments in %s: %v", dir, err)
	}
	path := segments[rand.IntN(len(segments))]
	f := must(os.OpenFile(path, os.O_RDWR, 0))
	defer f.Close()
	size := must(f.Stat()).Size()
	if size < 64 {
		return
	}
	noise := binary.LittleEndian.AppendUint64(nil, rand.Uint64())
	if _, err := f.WriteAt(noise, 16+rand.Int64N(size-24)); err != nil {
		t.Fatal(err)
	}
}
