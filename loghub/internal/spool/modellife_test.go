// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"maps"
	"slices"
	"time"
)

// start begins a life of the process, checks what it finds and registers sources.
func (m *model) start() {
	for !m.survives(m.open) {
		m.note("killed while starting")
		m.end()
	}
}

func (m *model) open() {
	m.mem.killIn, m.disk.killIn = 0, 0
	if m.mix && m.often(2, 3) {
		m.mode = []Mode{OnDisk, MemoryFirst, InMemory}[m.r.IntN(3)]
		m.note("now: %s", m.mode)
	}
	for _, s := range m.src {
		if m.mode == InMemory { // it sends what is on the disk, and keeps nothing there
			s.promised, s.kept = 0, 0
			clear(s.durable)
		}
	}
	if m.often(3, 10) {
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
	for _, s := range m.src {
		clear(s.done)
	}
	if m.trap == cursorGoesOn {
		sp.cur.bar = cursor{}
	}
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
		st.Aux = s.aux
		if s.h, err = sp.Register(s.key, st); err != nil {
			m.fail("Register: %v", err)
		}
		s.next = int(st.Seq) + 1
	}
	m.crashed = false
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

// often is true once in usual times, and once in wild times of a wild history.
func (m *model) often(wild, usual int) bool {
	if m.wild {
		return m.r.IntN(wild) == 0
	}
	return m.r.IntN(usual) == 0
}

// end is what follows when the process dies in the middle of something: often the machine has gone with it.
func (m *model) end() {
	m.killed()
	if m.often(2, 8) {
		m.crash()
	}
}

// killed is the end of the process alone.
func (m *model) killed() {
	m.mem.killIn, m.disk.killIn = 0, 0
	if m.own {
		m.mem.crash()
		m.lost()
	}
}

// crash is the end of the machine.
func (m *model) crash() {
	m.note("crash of the machine")
	m.mem.crash()
	m.disk.crash()
	if m.trap != "a crash that nobody knows of" {
		m.boot++
	}
	m.lost()
	m.disk.untold = false
	if m.wild {
		if m.after == 0 {
			m.after = m.r.IntN(16)
		}
		m.disk.full = m.r.IntN(2) == 0
	}
}

// lost notes that what was not on the disk is gone.
func (m *model) lost() {
	m.crashed = true
	for _, s := range m.src {
		if m.disk.untold { // the cursor does not explain its absence
			s.kept = 0
		}
		s.acked = maps.Clone(s.durable)
	}
}
