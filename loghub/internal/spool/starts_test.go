// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"slices"
	"testing"
)

// TestStartsDoNotAddUp: a process that is started again and again while nothing is acknowledged leaves no segment each time.
func TestStartsDoNotAddUp(t *testing.T) {
	stores(t, func(t *testing.T, again func() Options) {
		s := open(t, again())
		put(t, s, register(t, s, "a"), 2, 0)
		var bytes int64
		for i := range 12 {
			if i%2 == 0 {
				s.Close() // else it was killed
			}
			s = open(t, again())
			a := register(t, s, "a")
			b := NewBatch(a)
			b.Carry(23, []byte("car"))
			if err := s.Commit(b); err != nil {
				t.Fatal(err)
			}
			st := s.Stats()
			if bytes == 0 {
				bytes = st.Bytes
			}
			if st.Segments != 2 || st.Bytes > bytes+10 {
				t.Errorf("start %d: %d bytes in %d segments, %d at first", i, st.Bytes, st.Segments, bytes)
			}
		}
		s.Close()
		s = open(t, again())
		defer s.Close()
		if st := s.Restored()["a"]; st.Pos != 23 || st.Seq != 2 || string(st.Carry) != "car" {
			t.Errorf("%+v", st)
		}
		if got := drain(t, s); !slices.Equal(got, wantSeq("a", 1, 2)) {
			t.Errorf("%q", got)
		}
	})
}
