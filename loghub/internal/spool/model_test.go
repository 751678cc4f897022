// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
)

var modelSeed = flag.Uint64("model.seed", 0, "run this one history of the model")

// model is a random history of a spool against what it promises, on a disk and a
// memory that lose what they may lose. A source is a stream of numbered records
// that is read again from the place where it was found, as a file is; the spool
// knows it of one of the two, see Batch.Again. After each
// start
//
//   - each record in front of a place was acknowledged, or is in the log;
//   - the log holds what was promised and is not acknowledged, in order for each
//     source, and nothing that was never committed, nor oftener than it was;
//   - what was durably acknowledged is not in it, unless it was read again;
//   - no place is behind one that was promised.
//
// Promised are: when the process was killed, all that Commit took, but for what it
// knows to be read again; when the machine crashed, what Sync (memory first: Secure) had taken to the disk.
type model struct {
	seed uint64
	r    *rand.Rand
	now  time.Time
	boot uint64
	mode Mode
	mix  bool // the settings change between two starts
	trap string
	mem  *modelTier
	disk *modelTier
	sp   *Spool
	src  []*modelSource
	log  []string

	crashed bool // the machine did, since the last check
}

// modelSource is what the world knows of a source.
type modelSource struct {
	key       string
	again     bool
	h         *Source
	next      int          // sequence of the next record to be read
	commits   map[int]int  // sequence → how often Commit took it, or may have
	delivered map[int]bool // acknowledged at some time
	acked     map[int]bool // so that it must not come again after a kill
	durable   map[int]bool // nor after a crash of the machine
	read      int          // up to there Commit took everything …
	committed int          // … and up to there it is in the log
	promised  int          // up to there a crash of the machine takes nothing
	kept      int          // the place that it leaves at least
}

// modelFailure is what a broken promise panics with; died is the end of a process
// in the middle of a call.
type (
	modelFailure string
	died         struct{}
)

func newModel(seed uint64, mode Mode, trap string) *model {
	r := rand.New(rand.NewPCG(seed, 42))
	m := &model{seed: seed, r: r, mode: mode, mix: mode == "mixed", trap: trap, now: time.Unix(1.8e9, 0), boot: 1,
		mem: newModelTier(r, true), disk: newModelTier(r, false)}
	for _, key := range []string{"a", "b"} {
		m.src = append(m.src, &modelSource{key: key, again: key == "b" && seed%3 > 0, commits: map[int]int{}, delivered: map[int]bool{}, acked: map[int]bool{}, durable: map[int]bool{}})
	}
	if m.mix {
		m.mode = OnDisk
	}
	m.disk.lazy, m.disk.lazyDir = trap == "no fsync", trap == "no fsync of the directory"
	return m
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) fail(format string, args ...any) {
	panic(modelFailure(fmt.Sprintf("%s, -model.seed=%d: %s\n  %s", m.mode, m.seed, fmt.Sprintf(format, args...),
		strings.Join(m.log, "\n  "))))
}

// run plays a history; failure is "" when all promises were kept.
func (m *model) run() (failure string) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case modelFailure:
			failure = string(e)
		default:
			panic(e)
		}
	}()
	m.start()
	for range 10 + m.r.IntN(60) {
		if m.r.IntN(12) == 0 {
			m.mem.killIn, m.disk.killIn = m.r.IntN(10), m.r.IntN(30)
		}
		if !m.survives(m.op) {
			m.note("killed in there")
			m.killed()
			m.start()
		}
	}
	m.mem.killIn, m.disk.killIn, m.disk.full = 0, 0, false
	m.killed()
	m.start()
	m.mem.killIn, m.disk.killIn = 0, 0
	for m.deliver(false) > 0 {
	}
	for _, s := range m.src {
		for seq := 1; seq < s.next; seq++ {
			if !s.delivered[seq] {
				m.fail("%s-%d never came", s.key, seq)
			}
		}
	}
	return ""
}

// survives runs f, in which the process may be killed.
func (m *model) survives(f func()) (ok bool) {
	defer func() {
		if e := recover(); e != nil {
			if _, dead := e.(died); !dead {
				panic(e)
			}
		}
	}()
	f()
	return true
}

func (m *model) op() {
	switch m.r.IntN(20) {
	case 0:
		m.note("kill")
		m.killed()
		m.start()
	case 1:
		m.crash()
		m.start()
	case 2:
		m.stop()
		m.start()
	case 3, 4:
		m.sync()
	case 5:
		m.secure()
	case 6, 7:
		m.now = m.now.Add(time.Duration(m.r.IntN(9)) * time.Second)
		m.note("tend: %v %v %v", m.sp.logOld(), m.sp.tend(), m.sp.retire())
	case 8:
		if m.r.IntN(3) == 0 {
			m.now = m.now.Add(placesEvery)
		}
		m.disk.full = m.mode != InMemory && m.r.IntN(4) == 0
		m.note("disk full: %v", m.disk.full)
	case 9, 10, 11:
		m.deliver(true)
	case 12:
		m.deliver(false)
	default:
		m.commit(m.src[m.r.IntN(len(m.src))], 1+m.r.IntN(8))
	}
}

// start begins a life of the process, checks what it finds and registers sources.
func (m *model) start() {
	for !m.survives(m.open) {
		m.note("killed while starting")
		m.killed()
	}
}

func (m *model) open() {
	m.mem.killIn, m.disk.killIn = 0, 0
	if m.mix && m.r.IntN(3) == 0 {
		m.mode = []Mode{OnDisk, MemoryFirst, InMemory}[m.r.IntN(3)]
		m.note("now: %s", m.mode)
	}
	for _, s := range m.src {
		if m.mode == InMemory { // it sends what is on the disk, and keeps nothing there
			s.promised, s.kept = 0, 0
			clear(s.durable)
		}
	}
	if m.r.IntN(10) == 0 {
		m.disk.killIn = 1 + m.r.IntN(12)
	}
	sp, err := Open(Options{
		Mode: m.mode, mem: m.mem, disk: m.disk, boot: m.boot, now: func() time.Time { return m.now },
		Quota: 1 << 20, MemoryQuota: 1 << 20, segment: 2 << 10, pending: 1 << 10, patience: time.Nanosecond,
	})
	if err != nil {
		m.fail("Open: %v", err)
	}
	m.sp = sp
	d, err := sp.Peek(1<<20, 1<<30)
	if err != nil {
		m.fail("Peek: %v", err)
	}
	there := m.look(d)
	restored := sp.Restored()
	for _, s := range m.src {
		st := restored[s.key]
		m.note("start: %s at %d, in the log %v", s.key, st.Seq, slices.Sorted(maps.Keys(there[s])))
		m.check(s, st, there[s])
		if s.h, err = sp.Register(s.key, st); err != nil {
			m.fail("Register: %v", err)
		}
		s.next = int(st.Seq) + 1
	}
	m.crashed = false
}

// commit reads n records of a source.
func (m *model) commit(s *modelSource, n int) {
	from := s.next
	b := NewBatch(s.h)
	b.Again = s.again && m.r.IntN(4) > 0
	for ; s.next < from+n; s.next++ {
		if m.r.IntN(4) == 0 {
			b.Mark(uint64(s.next-1)*10, uint64(s.next-1))
		}
		b.Record(uint64(s.next)*10, uint64(s.next), &otlp.Record{Severity: uint8(m.r.IntN(24)), Body: otlp.String(modelBody(s, s.next))})
		s.commits[s.next]++ // if the process dies in there, the frames that are whole count
		delete(s.acked, s.next)
		delete(s.durable, s.next)
	}
	m.note("commit %s %d-%d", s.key, from, s.next-1)
	err := m.sp.Commit(b)
	if err == nil {
		s.taken()
		return
	}
	m.note("commit: %v", err)
	if !errors.Is(err, ErrFull) && !errors.Is(err, errNoSpace) {
		m.fail("Commit: %v", err)
	}
	for seq := from; seq < s.next; seq++ {
		s.commits[seq]--
	}
	s.next = from
}

// taken notes that Commit took everything that was read.
func (s *modelSource) taken() {
	if s.read = s.next - 1; !s.again {
		s.logged()
	}
}

// logged notes that it is in the log.
func (s *modelSource) logged() { s.committed = s.read }

// deliver takes records from the log, and acknowledges a part or all of them.
func (m *model) deliver(part bool) int {
	d, err := m.sp.Peek(1+m.r.IntN(20), 1+m.r.IntN(8<<10))
	if err != nil {
		m.fail("Peek: %v", err)
	}
	n := d.Len()
	if part {
		n = m.r.IntN(n + 1)
	}
	m.look(d)
	for i := range n {
		s, seq := m.decode(d.Record(i))
		s.delivered[seq] = true
	}
	if part {
		m.meanwhile()
	}
	m.note("deliver %d of %d", n, d.Len())
	if m.trap == "unlink before fsync" {
		m.disk.lazy = true
		defer func() { m.disk.lazy = false }()
	}
	if _, err := m.sp.Ack(d, 0, n); err != nil {
		m.note("ack: %v", err)
	}
	for i := range n {
		if s, seq := m.decode(d.Record(i)); s.commits[seq] == 1 && !s.again { // a chunk of those may come again as a whole
			s.acked[seq] = true
		}
	}
	return n
}

// meanwhile does what may happen while a request is under way.
func (m *model) meanwhile() {
	switch m.r.IntN(8) {
	case 0:
		m.sync()
	case 1, 2:
		m.commit(m.src[m.r.IntN(len(m.src))], 1+m.r.IntN(8))
	case 3:
		m.now = m.now.Add(pendingAge)
		m.note("log old: %v", m.sp.logOld())
	}
}

func (m *model) sync() {
	err := m.sp.Sync()
	m.note("sync: %v", err)
	m.logged(err)
	if err != nil || m.mode != OnDisk || !m.sp.active.disk || m.sp.inMem > 0 {
		return
	}
	for _, s := range m.src {
		s.promised, s.kept = s.committed, s.committed
		if m.sp.trouble.cursorErr == nil {
			s.durable = maps.Clone(s.acked)
		}
	}
}

// logged notes what a call that brings everything to the log has done, if it did not fail.
func (m *model) logged(err error) {
	for _, s := range m.src {
		if err == nil {
			s.logged()
		}
	}
}

func (m *model) secure() {
	err := m.sp.Secure()
	m.note("secure: %v", err)
	m.logged(err)
	if err != nil || m.mode == InMemory {
		return
	}
	for _, s := range m.src { // with nothing to wait, places stay in memory
		s.promised = s.committed
	}
}

// stop is an orderly end.
func (m *model) stop() {
	err := m.sp.Close()
	m.note("close: %v", err)
	m.logged(err)
	if err == nil && m.mode != InMemory {
		for _, s := range m.src {
			s.promised, s.kept = s.committed, s.committed
		}
	}
	m.killed()
}

// killed is the end of the process alone.
func (m *model) killed() {
	m.mem.killIn, m.disk.killIn = 0, 0
}

// crash is the end of the machine.
func (m *model) crash() {
	m.note("crash of the machine")
	m.mem.crash()
	m.disk.crash()
	if m.trap != "a crash that nobody knows of" {
		m.boot++
	}
	m.crashed = true
	for _, s := range m.src {
		s.acked = maps.Clone(s.durable)
	}
}

// How many histories are played for each mode, and for how long at most.
const (
	usualRuns = 700
	soakRuns  = 10000
	modelTime = 8 * time.Second
)

func modelRuns() uint64 {
	if os.Getenv("HUB_SOAK") != "" {
		return soakRuns
	}
	return usualRuns
}

func TestModel(t *testing.T) {
	for _, mode := range []Mode{OnDisk, MemoryFirst, InMemory, "mixed"} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			first, runs := rand.Uint64N(1<<40), modelRuns()
			if *modelSeed != 0 {
				first, runs = *modelSeed, 1
			}
			enough := time.Now().Add(modelTime)
			for i := range runs {
				if i >= 50 && runs < soakRuns && time.Now().After(enough) { // a slow machine plays fewer
					break
				}
				if f := newModel(first+i, mode, "").run(); f != "" {
					t.Fatal(f)
				}
			}
		})
	}
}

// TestModelNotices breaks the spool in turn where it matters; the model has to find out.
func TestModelNotices(t *testing.T) {
	for _, trap := range []string{"no fsync", "no fsync of the directory", "unlink before fsync", "a crash that nobody knows of"} {
		t.Run(trap, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(5000) {
				if newModel(seed+1, OnDisk, trap).run() != "" {
					t.Logf("noticed in history %d", seed+1)
					return
				}
			}
			t.Error("nothing was noticed")
		})
	}
}
