// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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
	limit  string             // of lines alike, for all sources
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
	{name: "compressed at once", spool: "disk", rotate: (*trialFile).renamePack},
	{name: "compressed at once at points", spool: "memory-first", faults: true, rotate: (*trialFile).renamePack},
	{name: "copytruncate, compressed at once", spool: "disk", rotate: (*trialFile).copyPack},
	{name: "disk full", spool: "disk", full: true},
	{name: "spool damaged", spool: "disk", damage: true},
	{name: "limit", spool: "disk", limit: "3/400ms"},
	{name: "limit at points", spool: "memory-first", limit: "3/400ms", faults: true, flaps: true},
	{name: "limit, copytruncate", spool: "disk", limit: "3/400ms", rotate: (*trialFile).copyTruncate},
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
	c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "spool": %q, "disk_after": "1s", "stdout": "off", "limit": %q,
		"files": {"app": {"path": "%s/app.log", "limit": %q}}}}`, rc.srv.URL, tr.spool, tr.limit, logs, tr.limit))
	c.program = program
	fd := must(unix.MemfdCreate("spool", unix.MFD_CLOEXEC))
	c.memory = os.NewFile(uintptr(fd), "memfd")
	defer c.memory.Close()
	rc.cuts = tr.full
	if tr.full {
		smallDisk(t, filepath.Join(c.state, "log"))
	}
	gens := []*generator{{name: "stdout"}, {name: "stderr"}, {name: "file"}}
	if tr.limit != "" {
		for _, g := range gens {
			g.alike = true
		}
		rc.files = filepath.Join(logs, "app.log")
	}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); writers.Wait() })
	defer end()
	for _, g := range gens[:2] {
		writers.Go(func() { writePipe(t, c.pipes[g.name].w, g, stop) })
	}
	file := &trialFile{t: t, path: filepath.Join(logs, "app.log"), gen: gens[2], read: rc.hasFrom}
	rotate := (*trialFile).rename
	if strings.Contains(tr.name, "compressed") {
		file.known = 10
	}
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
				if lost < 5 && !tr.full && !tr.damage && tr.limit == "" {
					t.Errorf("missing: %s %d", g.name, i)
				}
			}
		}
		told := rc.told[g.name]
		total += g.n
		t.Logf("%s: %d lines, %d missing (%d bytes, %d of them came in pieces); told as lost: %d records, %d bytes; %d came again",
			g.name, g.n, lost, bytes, rc.pieces[g.name], told.records, told.bytes, rc.again[g.name])
		bytes -= rc.pieces[g.name]
		switch {
		case tr.limit != "":
			if lost != told.records || lost == 0 {
				t.Errorf("%s: %d lines are missing, and %d are told as suppressed", g.name, lost, told.records)
			}
		case tr.damage:
			if lost > 0 && rc.told["spool"].bytes == 0 {
				t.Errorf("%s: %d lines are missing, and no record says that the spool is damaged", g.name, lost)
			}
		case g.name == "file" || !tr.full:
			if lost > 0 {
				t.Errorf("%s: %d lines are missing", g.name, lost)
			}
		case told.bytes < bytes || told.bytes > bytes+lost: // the ends of lines
			t.Errorf("%s: %d bytes in %d lines are missing, but %d bytes are told", g.name, bytes, lost, told.bytes)
		}
	}
	if total < 100*kills {
		t.Errorf("only %d lines were written: that proves nothing", total)
	}
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
