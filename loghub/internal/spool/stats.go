// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"fmt"
	"time"
)

// Stats are the spool's figures at one moment.
type Stats struct {
	Mode         Mode   `json:"mode"`                   // as asked for
	Bytes        int64  `json:"bytes"`                  // of all segments
	Quota        int64  `json:"quota"`                  // bytes
	InMemory     int64  `json:"in_memory"`              // bytes of the segments that are in memory
	MemoryQuota  int64  `json:"memory_quota"`           // bytes
	Segments     int    `json:"segments"`               //
	Backlog      int64  `json:"backlog"`                // records not acknowledged
	AtRisk       int64  `json:"at_risk"`                // bytes of segments that wait in memory alone
	Corrupt      int    `json:"corrupt"`                // places where frames failed their checksum, and segments nobody can read
	Skipped      int64  `json:"skipped"`                // bytes passed over there
	Foreign      int    `json:"foreign,omitempty"`      // segments and cursors of a later version, kept
	WrittenToday int64  `json:"written_today"`          // bytes written to the disk in the last 24 hours, estimated
	DiskPerDay   int64  `json:"disk_per_day,omitempty"` // their bound
	Trouble      string `json:"trouble,omitempty"`      // why durability is less than was asked for
	Spent        bool   `json:"budget_spent,omitempty"` // WrittenToday has reached its bound
	Emergency    bool   `json:"disk_failing,omitempty"` // the disk takes nothing: events wait in memory alone
}

// Stats returns the figures.
func (s *Spool) Stats() Stats {
	now := s.o.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Mode: s.o.Mode, Bytes: s.used, Quota: s.o.Quota, InMemory: s.inMem, MemoryQuota: s.o.MemoryQuota,
		Segments: len(s.segs), Backlog: s.backlog + int64(s.queue.records), Corrupt: s.corrupt, Skipped: s.skipped, Foreign: s.foreign,
		WrittenToday: s.cur.sum(now), Trouble: s.trouble.text(),
	}
	if s.backlog > 0 {
		for n, x := range s.segs {
			if x.mem && n >= s.ack.segment {
				st.AtRisk += x.size - x.disk
			}
		}
	}
	if s.o.Mode != InMemory {
		st.DiskPerDay = s.o.DiskPerDay
		st.Spent = st.WrittenToday >= s.o.DiskPerDay || s.trouble.spent
	}
	st.Emergency = s.o.Mode == OnDisk && !s.active.disk || s.o.Mode == MemoryFirst && s.trouble.diskErr != nil
	return st
}

// trouble is what keeps the spool from what it was asked for. It is guarded by
// Spool.mu.
type trouble struct {
	diskErr   error     // the disk takes nothing
	retry     time.Time // when it is tried again
	cursorErr error     // acknowledgements do not reach the disk
	spent     bool      // the day's bytes are written
}

// disk notes that the disk failed. It is left alone for a while.
func (t *trouble) disk(err error) { t.diskErr = err }

func (t *trouble) text() string {
	switch {
	case t.diskErr != nil:
		return fmt.Sprintf("events wait in memory, the disk does not take them: %v", t.diskErr)
	case t.spent:
		return "events wait in memory: the bytes that may be written to the disk in 24 hours are spent (log.disk_per_day)"
	case t.cursorErr != nil:
		return fmt.Sprintf("what is sent may be sent again after a restart, its place does not reach the disk: %v", t.cursorErr)
	}
	return ""
}
