// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// generator writes numbered lines until it is told to stop.
type generator struct {
	name  string
	n     int
	alike bool // most lines are, but for their numbers
}

func (g *generator) lines(k int) string {
	var b strings.Builder
	for range k {
		g.n++
		b.WriteString(g.line(g.n))
		b.WriteByte('\n')
	}
	return b.String()
}

func (g *generator) line(n int) string {
	fill := "x"
	if g.alike && n%5 > 0 {
		fill = "7"
	}
	return fmt.Sprintf("%s %d %s", g.name, n, strings.Repeat(fill, n%200))
}

// TestKill is the oracle of conservation: loghub is killed at random under load;
// no numbered line of a pipe or a file that is rotated may be missing, come twice
// or out of order.
func TestKill(t *testing.T) {
	for _, mode := range []string{"disk", "memory", "memory-first"} {
		t.Run(mode, func(t *testing.T) {
			g := newGenesis(t)
			logs := t.TempDir()
			c := newContainer(t, fmt.Sprintf(`{"log": {"otlp": %q, "spool": %q, "disk_after": "1s", "stdout": "off", "files": {"app": {"path": "%s/app.log"}}}}`, g.url(), mode, logs))
			c.enrol(g.ca, webID)
			if mode != "disk" {
				fd := must(unix.MemfdCreate("spool", unix.MFD_CLOEXEC))
				c.memory = os.NewFile(uintptr(fd), "memfd")
				defer c.memory.Close()
			}
			stop := make(chan struct{})
			var writers sync.WaitGroup
			gens := []*generator{{name: "stdout"}, {name: "stderr"}, {name: "file"}}
			for _, gen := range gens[:2] {
				writers.Go(func() {
					w := c.pipes[gen.name].w
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond):
						}
						text := gen.lines(1 + rand.IntN(16))
						for len(text) > 0 { // in pieces, so that lines are cut
							n := min(len(text), 1+rand.IntN(3000))
							if _, err := w.WriteString(text[:n]); err != nil {
								t.Error(err)
								return
							}
							text = text[n:]
						}
					}
				})
			}
			var rotations atomic.Int64
			writers.Go(func() { writeRotating(t, filepath.Join(logs, "app.log"), gens[2], &rotations, stop) })

			for round := 0; round < 10 || rotations.Load() < 3; round++ {
				if round == 100 {
					t.Fatalf("killed %d times, and %d files were read", round, rotations.Load())
				}
				h := c.start()
				time.Sleep(time.Duration(30+rand.IntN(250)) * time.Millisecond)
				h.kill()
			}
			g.stop() // genesis flaps
			h := c.start()
			time.Sleep(300 * time.Millisecond)
			g.start()
			close(stop)
			writers.Wait()
			total := gens[0].n + gens[1].n + gens[2].n
			g.waitCount(total, c, h)
			h.stop(t)
			checkConserved(t, g, gens)
			if d := h.log.String(); strings.Contains(d, `"level":"error"`) {
				t.Error(d)
			}
		})
	}
}

// writeRotating appends to a file and renames it away now and then, but only one that was read: what comes and is
// renamed to what no pattern matches while loghub is down, nobody can know of.
func writeRotating(t *testing.T, path string, gen *generator, rotations *atomic.Int64, stop chan struct{}) {
	open := func() (*os.File, func() bool) {
		f := must(os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600))
		return f, wasRead(t, path)
	}
	f, read := open()
	rotated := time.Now()
	for {
		select {
		case <-stop:
			f.Close()
			return
		case <-time.After(time.Duration(rand.IntN(4)) * time.Millisecond):
		}
		if _, err := f.WriteString(gen.lines(1 + rand.IntN(16))); err != nil {
			t.Error(err)
		}
		if read() && time.Since(rotated) > 300*time.Millisecond {
			rotated = time.Now()
			if err := os.Rename(path, path+"."+strconv.FormatInt(rotations.Add(1), 10)); err != nil {
				t.Error(err)
			}
			// The service goes on in the old file for a moment, as nginx does.
			if _, err := f.WriteString(gen.lines(5)); err != nil {
				t.Error(err)
			}
			f.Close()
			f, read = open()
		}
	}
}

// wasRead returns a function that says whether anybody has read the file at path since (inotify(7)).
func wasRead(t *testing.T, path string) func() bool {
	fd := must(unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK))
	t.Cleanup(func() { unix.Close(fd) })
	must(unix.InotifyAddWatch(fd, path, unix.IN_ACCESS))
	seen := false
	return func() bool {
		if !seen {
			n, _ := unix.Read(fd, make([]byte, 4096))
			seen = n > 0
		}
		return seen
	}
}

func checkConserved(t *testing.T, g *genesis, gens []*generator) {
	t.Helper()
	next := map[string]int{}
	seen := map[string]bool{}
	missing, twice, disorder := 0, 0, 0
	for _, e := range g.events() {
		name, rest, _ := strings.Cut(e.text("message"), " ")
		number, tail, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if err != nil || len(tail) != n%200 {
			t.Errorf("a line nobody wrote: %.80q (uid %s)", e.text("message"), e.text("log.record.uid"))
			continue
		}
		if seen[name+number] {
			twice++
			continue
		}
		seen[name+number] = true
		if n < next[name] && name != "file" { // an old and a new file are two sources
			disorder++
		}
		next[name] = n
	}
	for _, gen := range gens {
		for i := 1; i <= gen.n; i++ {
			if !seen[gen.name+strconv.Itoa(i)] {
				missing++
				if missing < 10 {
					t.Errorf("missing: %s %d", gen.name, i)
				}
			}
		}
	}
	t.Logf("%d lines: %d missing, %d twice, %d out of order", len(seen), missing, twice, disorder)
	if missing+twice+disorder > 0 {
		t.Errorf("%d missing, %d twice, %d out of order", missing, twice, disorder)
	}
}
