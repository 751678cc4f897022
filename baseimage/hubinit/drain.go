// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// drainBytes is one read of a drainer: a page less than a whole pipe holds would
// leave its writer waiting more often.
const drainBytes = 32 << 10

// gentleEvery is how often a gentle drainer looks: a service that prints 10 MB/s
// fills the quarter of a pipe it leaves free in 1.6 ms.
const gentleEvery = time.Millisecond

// draining is one spell of hubinit reading the pipes, a goroutine for each.
type draining struct {
	stop  chan struct{}
	files []*os.File
	tasks sync.WaitGroup
}

// start begins with one pipe: gentle takes only what would block a writer, else
// everything as it comes.
func (d *draining) start(p *logPipe, gentle bool, caught func()) {
	run := func() { d.gently(p) }
	if !gentle {
		f, err := p.openRead()
		if err == nil {
			d.files = append(d.files, f)
			run = func() { d.wholly(p, f) }
		}
	}
	d.tasks.Go(func() {
		defer caught()
		run()
	})
}

// end stops the goroutines and waits for them. Each is at most a sink's patience
// away from seeing it, and offer is told by stop.
func (d *draining) end() {
	close(d.stop)
	for _, f := range d.files {
		f.Close() // ends a Read that waits
	}
	d.tasks.Wait()
}

func (d *draining) wholly(p *logPipe, f *os.File) {
	buf := make([]byte, drainBytes)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			p.to.offer(chunk{data: append([]byte(nil), buf[:n]...), from: &p.count}, d.stop)
		}
		if err != nil {
			return // closed by end: hubinit holds the write end, so there is no end of file
		}
	}
}

func (d *draining) gently(p *logPipe) {
	buf := make([]byte, drainBytes)
	tick := time.NewTicker(gentleEvery)
	defer tick.Stop()
	for {
		for p.full(unread(p.r)) && p.drainOnce(buf, d.stop) {
		}
		select {
		case <-d.stop:
			return
		case <-tick.C:
		}
	}
}

// drainOnce reads once without waiting; false when nothing is there.
func (p *logPipe) drainOnce(buf []byte, stop <-chan struct{}) bool {
	n, err := syscall.Read(p.r, buf)
	if err == syscall.EINTR {
		return true
	}
	if n <= 0 {
		return false
	}
	p.to.offer(chunk{data: append([]byte(nil), buf[:n]...), from: &p.count}, stop)
	return true
}
