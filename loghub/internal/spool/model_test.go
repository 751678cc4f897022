// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"cloud4.internal/hub/internal/otlp"
)

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
	wild bool // crashes come in bursts, and with them full disks and other settings

	own bool // the memory is the process's own and dies with it

	after int // of a burst: operations that are still to come
	trap  string
	mem   *modelTier
	disk  *modelTier
	sp    *Spool
	src   []*modelSource
	log   []string

	crashed bool // the machine did, since the last check
}

// modelSource is what the world knows of a source.
type modelSource struct {
	key       string
	again     bool
	aux       string // so that a head takes several sectors
	h         *Source
	next      int          // sequence of the next record to be read
	commits   map[int]int  // sequence → how often Commit took it, or may have
	delivered map[int]bool // acknowledged at some time
	acked     map[int]bool // so that it must not come again after a kill
	durable   map[int]bool // nor after a crash of the machine
	done      map[int]bool // acknowledged in this life of the process, which so does not send it again
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
		m.src = append(m.src, &modelSource{key: key, again: key == "b" && seed%3 > 0, aux: strings.Repeat(key, r.IntN(3)*r.IntN(2*sectorBytes)),
			commits: map[int]int{}, delivered: map[int]bool{}, acked: map[int]bool{}, durable: map[int]bool{}, done: map[int]bool{}})
	}
	if m.mix {
		m.mode = OnDisk
	}
	m.wild, m.disk.late, m.own = r.IntN(3) > 0, r.IntN(3) == 0, r.IntN(4) == 0
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
		m.step()
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

// step is one operation, in which the process may be killed.
func (m *model) step() {
	if m.r.IntN(12) == 0 {
		m.mem.killIn, m.disk.killIn = m.r.IntN(10), m.r.IntN(30)
	}
	if !m.survives(m.op) {
		m.note("killed in there")
		m.end()
		m.start()
	}
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
	what := m.r.IntN(20)
	switch {
	case m.after > 0: // a crash: little happens before the next
		m.after--
		what = []int{1, 1, 0, 3, 5, 6, 8, 9, 12, 12, 15, 16}[m.r.IntN(12)]
	case m.wild: // what a crash tears
		what = []int{1, 8, 3, 5, 9, 15}[m.r.IntN(6)] + m.r.IntN(2)*20
	}
	switch what {
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
		m.disk.full = (m.wild || m.mode != InMemory) && m.often(2, 4)
		m.note("disk full: %v", m.disk.full)
	case 9, 10, 11:
		m.deliver(true)
	case 12:
		m.deliver(false)
	default:
		m.commit(m.src[m.r.IntN(len(m.src))], 1+m.r.IntN(8))
	}
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
		delete(s.done, s.next)
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
		s, seq := m.decode(d.Record(i))
		if s.commits[seq] > 1 {
			continue
		}
		s.done[seq] = true
		if !s.again { // a chunk of those may be read again as a whole
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
