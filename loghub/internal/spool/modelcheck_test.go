// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"fmt"
	"strings"

	"cloud4.internal/hub/internal/otlp"
)

// check compares place and records of a source with what is known of it.
func (m *model) check(s *modelSource, st State, there map[int]int) {
	if st.Pos != 10*st.Seq {
		m.fail("%s: place %d at sequence %d", s.key, st.Pos, st.Seq)
	}
	if st.Aux != s.aux && (st.Seq > 0 || st.Aux != "") {
		m.fail("%s: the place %d with %d bytes of %d", s.key, st.Seq, len(st.Aux), len(s.aux))
	}
	promised, kept := s.promised, s.kept
	if !m.crashed {
		promised, kept = s.committed, s.committed
	}
	if int(st.Seq) < kept {
		m.fail("%s: the place is %d, and %d was promised", s.key, st.Seq, kept)
	}
	for seq := 1; seq <= max(int(st.Seq), promised); seq++ {
		if !s.delivered[seq] && there[seq] == 0 {
			m.fail("%s-%d is lost: place %d, promised %d", s.key, seq, st.Seq, promised)
		}
	}
	for seq, n := range there {
		if s.acked[seq] {
			m.fail("%s-%d is in the log, and was durably acknowledged", s.key, seq)
		}
		if n > s.commits[seq] {
			m.fail("%s-%d is in the log %d times, and was committed %d times", s.key, seq, n, s.commits[seq])
		}
	}
	s.read, s.committed = int(st.Seq), int(st.Seq)
}

// look checks the records of a delivery, and counts them by source and sequence.
func (m *model) look(d *Delivery) map[*modelSource]map[int]int {
	out, last := map[*modelSource]map[int]int{}, map[*modelSource]int{}
	for i := range d.Len() {
		s, seq := m.decode(d.Record(i))
		if out[s] == nil {
			out[s] = map[int]int{}
		}
		out[s][seq]++
		if s.done[seq] {
			m.fail("%s-%d comes again, and was acknowledged", s.key, seq)
		}
		if seq <= last[s] && s.commits[seq] < 2 {
			m.fail("%s-%d behind %d", s.key, seq, last[s])
		}
		last[s] = seq
	}
	return out
}

func (m *model) decode(record []byte) (*modelSource, int) {
	var rec otlp.Record
	if err := otlp.DecodeRecord(record, &rec); err != nil {
		m.fail("a record that is none: %v", err)
	}
	text := string(rec.Body.Bytes)
	key, rest, _ := strings.Cut(text, "-")
	var seq int
	_, _ = fmt.Sscanf(rest, "%d", &seq)
	for _, s := range m.src {
		if s.key == key && s.commits[seq] > 0 && text == modelBody(s, seq) {
			return s, seq
		}
	}
	m.fail("a record that nobody committed: %.40q", text)
	return nil, 0
}

func modelBody(s *modelSource, seq int) string {
	return fmt.Sprintf("%s-%d-%s", s.key, seq, strings.Repeat("x", seq*7919%500))
}
