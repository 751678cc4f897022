// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

// placesShare is the part of a quota that places and carries have besides what records may take: without them a restart
// loses a line or reads again, yet while nothing is acknowledged they add up as well.
const placesShare = 8

// crowded says whether a batch is above a quota. What is there may all go once it is acknowledged: then one batch has room,
// however large it is, or however much the places take. mu is held.
func (s *Spool) crowded(b *Batch) bool {
	if s.backlog == 0 && s.queue.bytes == 0 {
		return false
	}
	quota, memory := s.o.Quota, s.o.MemoryQuota
	if b.records == 0 {
		quota, memory = quota+quota/placesShare, memory+memory/placesShare
	}
	n := int64(len(b.buf) + s.queue.bytes)
	return s.held()+n > quota || !s.active.disk && s.inMem+n > memory
}

// Fill is how much of the quota is used, 0 to 1 and a little above; 0 where all that is there may go.
func (s *Spool) Fill() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.backlog == 0 {
		return 0
	}
	fill := float64(s.held()) / float64(s.o.Quota)
	if !s.active.disk {
		fill = max(fill, float64(s.inMem)/float64(s.o.MemoryQuota))
	}
	return fill
}
