// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"
)

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
	known int // by so many lines more a file is known when it is rotated
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
		if time.Since(rotated) > 300*time.Millisecond && f.read("file", f.first+f.known) {
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

// renamePack compresses the old file at once, so that it is gone for who did not open it.
func (f *trialFile) renamePack() {
	f.rename()
	f.pack()
}

// copyPack does so with the copy.
func (f *trialFile) copyPack() {
	f.copyTruncate()
	f.pack()
}

// pack compresses what the last rotation left.
func (f *trialFile) pack() {
	if out, err := exec.Command("gzip", fmt.Sprintf("%s.%d", f.path, f.turns.Load())).CombinedOutput(); err != nil {
		f.t.Errorf("gzip: %v: %s", err, out)
	}
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
