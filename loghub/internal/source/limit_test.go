// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
	"golang.org/x/sys/unix"
)

// limits is what sources have in these tests.
var limits = limit.Rate{Lines: 2, Window: time.Hour}

// TestLimitFile: of lines alike so many come, and one record tells of the others, also after a kill, a rotation and a truncation.
func TestLimitFile(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	files := func() *Files {
		f := b.files(path)
		f.sets[0].Limit = limits
		return f
	}
	f := files()
	write(t, path, strings.Repeat("refused by 10.0.0.1\n", 5)+"else\nFATAL: no memory 1\nFATAL: no memory 2\nFATAL: no memory 3\n")
	f.lookNow(true)
	want := []string{"refused by 10.0.0.1", "refused by 10.0.0.1", "else", "FATAL: no memory 1", "FATAL: no memory 2", "FATAL: no memory 3",
		"suppressed 3 records of " + path + ": more than 2 alike in 1h0m0s, such as: refused by 10.0.0.1"}
	b.want(want...)
	f.close()
	b.reopen()
	f = files()
	write(t, path, strings.Repeat("refused by 10.0.0.2\n", 4)+"other\n")
	f.lookNow(false)
	f.close()
	b.reopen() // a kill: nothing was told
	f = files()
	f.lookNow(false)
	want = append(want, "refused by 10.0.0.2", "refused by 10.0.0.2", "other",
		"suppressed 2 records of "+path+": more than 2 alike in 1h0m0s, before loghub was started again")
	b.want(want...)
	write(t, path, strings.Repeat("refused by 10.0.0.3\n", 3))
	f.lookNow(false)
	do(t, os.Truncate(path, 0))
	write(t, path, "new\n")
	f.lookNow(false)
	want = append(want, "refused by 10.0.0.3", "refused by 10.0.0.3", "lost 1 record of "+path+": over the limit", "new")
	b.want(want...)
	if st := f.Stats()[0]; st.Limited != 1 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
	write(t, path, strings.Repeat("refused by 10.0.0.4\n", 3))
	f.lookNow(false)
	f.close()
	do(t, os.Remove(path))
	b.reopen()
	f = files()
	f.lookNow(false)
	f.began = f.began.Add(-awayWait)
	f.lookNow(false)
	want = append(want, "refused by 10.0.0.4", "refused by 10.0.0.4", "lost 1 record of "+path+": over the limit")
	b.want(want...)
	b.uniqueUIDs()
}

// TestLimitFileFull: lines that find no room are judged again, and counted once.
func TestLimitFileFull(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	f := b.files(path)
	f.sets[0].Limit = limits
	write(t, path, strings.Repeat("alike 1\n", 5))
	f.lookNow(false)
	tl := f.hot[0]
	tl.ready()
	tl.next = tl.offset
	tl.join.Rewind(tl.mark)
	data := []byte(strings.Repeat("alike 2\n", 3))
	write(t, path, string(data))
	if _, err := tl.records(data, tl.offset, data, join.More); err != nil {
		t.Fatal(err)
	}
	tl.batch.Reset() // as commitTo does when there is no room
	tl.limits.back()
	if n := tl.limits.l.Untold().Count; n != 3 {
		t.Errorf("%d are untold", n)
	}
	f.lookNow(true)
	if got := b.bodies(); len(got) != 3 || !strings.HasPrefix(got[2], "suppressed 6 records of ") {
		t.Errorf("%q", got)
	}
}

// TestLimitPipe: the same of a pipe, whose lines are taken as soon as they are suppressed; also when the pipe is another then.
func TestLimitPipe(t *testing.T) {
	b := newBench(t)
	r, w := newPipe(t)
	open := func(r *os.File) *Pipe {
		t.Helper()
		p, err := OpenPipe(b.sh, PipeOptions{Name: "stdout", Pipe: r, Limit: limits})
		do(t, err)
		return p
	}
	p := open(r)
	step := func(p *Pipe) { do(t, p.step(b.see(p))) }
	fmt.Fprint(w, strings.Repeat("refused by 10.0.0.1\n", 5)+"\nelse\n"+strings.Repeat("refused by 10.0.0.1\n", 2)+"begun")
	step(p)
	want := []string{"refused by 10.0.0.1", "refused by 10.0.0.1", "else"}
	b.want(want...)
	if p.n.limited.Load() != 5 || !p.limitDue().After(time.Now().Add(time.Minute)) {
		t.Error(p.n.limited.Load(), p.limitDue())
	}
	b.reopen() // a kill
	p = open(r)
	if p.limitDue().After(time.Now()) {
		t.Error("what was not told is not due")
	}
	p.tellDue(false)
	fmt.Fprint(w, " and ended\n")
	step(p)
	want = append(want, "suppressed 5 records of stdout: more than 2 alike in 1h0m0s, before loghub was started again", "begun and ended")
	b.want(want...)
	fmt.Fprint(w, strings.Repeat("refused by 10.0.0.2\n", 3))
	step(p)
	r2, w2 := newPipe(t)
	b.reopen()
	p = open(r2)
	want = append(want, "refused by 10.0.0.2", "refused by 10.0.0.2",
		"suppressed 1 record of stdout: more than 2 alike in 1h0m0s, before loghub was started again")
	b.want(want...)
	fmt.Fprint(w2, strings.Repeat("refused by 10.0.0.3\n", 4))
	do(t, w2.Close())
	do(t, p.Run(t.Context()))
	want = append(want, "refused by 10.0.0.3", "refused by 10.0.0.3", "suppressed 2 records of stdout: more than 2 alike in 1h0m0s, such as: refused by 10.0.0.3")
	b.want(want...)
	b.uniqueUIDs()
}

// TestLimitSyslog: the same of a socket.
func TestLimitSyslog(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "log")
	s, err := OpenSyslog(b.sh, SyslogOptions{Path: path, Limit: limits})
	do(t, err)
	send := func(n int) {
		for i := range n {
			s.accept(fmt.Appendf(nil, "<13>refused %d", i), 12, unix.Ucred{})
		}
		s.write(nil, false)
	}
	send(5)
	b.want("refused 0", "refused 1")
	do(t, s.close())
	b.reopen() // a kill
	do(t, os.Remove(path))
	s, err = OpenSyslog(b.sh, SyslogOptions{Path: path, Limit: limits})
	do(t, err)
	s.tellDue(false)
	send(3)
	s.tellDue(true)
	b.want("refused 0", "refused 1", "suppressed 3 records of "+path+": more than 2 alike in 1h0m0s, before loghub was started again",
		"refused 0", "refused 1", "suppressed 1 record of "+path+": more than 2 alike in 1h0m0s, such as: refused 2")
	if n := s.n.limited.Load(); n != 1 {
		t.Errorf("%d are counted", n)
	}
	b.uniqueUIDs()
	do(t, s.close())
}

// TestUntold: which count holds, the number of the last record says.
func TestUntold(t *testing.T) {
	x := limited{rate: limits}
	x.carry(limit.Tally{Count: 3, Bytes: 30, First: 1, Last: 2, Severity: 9, Place: 7})
	blob := x.appendUntold([]byte("proof"), 5, limit.Tally{Count: 2, Bytes: 20, First: 1, Last: 1, Severity: 17, Place: 3})[5:]
	if got := untold(blob, 5); got.Count != 5 || got.Bytes != 50 || got.Severity != 17 {
		t.Errorf("before: %+v", got)
	}
	if got := untold(blob, 6); got.Count != 3 || got.Severity != 9 || got.Place != 7 {
		t.Errorf("after: %+v", got)
	}
	for n := range blob {
		if got := untold(blob[:n], 5); !got.None() {
			t.Errorf("of %d bytes: %+v", n, got)
		}
	}
}
