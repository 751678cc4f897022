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

// TestLimitDelivered: what a receiver had before a kill, and what it gets after, add up to what was written, also of a file of
// which there is more to read than is written at once.
func TestLimitDelivered(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	files := func() *Files {
		f := b.files(path)
		f.sets[0].Limit = limit.Rate{Lines: 2, Window: time.Second}
		return f
	}
	stamp := func(n int) string { return time.Date(2026, 11, 21, 7, 0, n/20, 0, time.UTC).Format(time.RFC3339) }
	f := files()
	write(t, path, stamp(0)+" INFO alike 1\n"+stamp(0)+" INFO alike 2\n")
	f.lookNow(false)
	lines := 2
	var text strings.Builder
	for text.Len() < 3*readBytes { // the first of them stand in the window that has begun
		lines++
		fmt.Fprintf(&text, "%s INFO alike %d\n", stamp(lines), lines)
	}
	write(t, path, text.String())
	came, told := map[string]bool{}, 0
	deliver := func() {
		for _, r := range b.records() {
			var n int
			if _, err := fmt.Sscanf(r.Body, "suppressed %d record", &n); err == nil && !came[r.UID] {
				told += n
			} else if err != nil && !came[r.UID] {
				lines--
			}
			came[r.UID] = true
		}
	}
	tl := f.hot[0]
	do(t, tl.look(time.Now()))
	tl.ready()
	_, err := tl.chunk(time.Now(), false)
	do(t, err)
	deliver()
	b.reopen() // a kill
	f = files()
	f.lookNow(true)
	deliver()
	if told != lines || told == 0 {
		t.Errorf("%d lines did not come, and %d are told", lines, told)
	}
}

// TestLimitTorn: wherever a kill, or a power failure, cuts what was being written, what was delivered, told and not told yet is
// what stands before the place.
func TestLimitTorn(t *testing.T) {
	var text strings.Builder // patterns that come and go, more of them than are known at once, so that much is told in between
	for i := range 600 {
		kind := i * i % 97 % 23
		if i%3 == 0 {
			kind = 100 + i%300
		}
		fmt.Fprintf(&text, "%c%c %d\n", 'g'+kind%19, 'g'+kind/19, i)
		if i%50 == 0 {
			text.WriteString("\n")
		}
	}
	want := strings.Count(strings.ReplaceAll(text.String(), "\n\n", "\n"), "\n")
	for name, feed := range map[string]func(b *bench){
		"file": func(b *bench) {
			path := filepath.Join(t.TempDir(), "a.log")
			write(t, path, text.String())
			f := b.files(path)
			f.sets[0].Limit = limits
			f.lookNow(false)
			f.close()
		},
		"pipe": func(b *bench) {
			r, w := newPipe(t)
			p, err := OpenPipe(b.sh, PipeOptions{Name: "stdout", Pipe: r, Limit: limits})
			do(t, err)
			fmt.Fprint(w, text.String())
			do(t, p.step(b.see(p)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			feed(b)
			do(t, b.sp.Secure())
			segments, err := filepath.Glob(filepath.Join(b.dir, "log", "*.seg"))
			do(t, err)
			whole, err := os.ReadFile(segments[len(segments)-1])
			do(t, err)
			cut, told := &bench{t: t, dir: t.TempDir()}, 0
			for n := len(whole); n > 0; n -= 1 + n%211 {
				do(t, os.RemoveAll(filepath.Join(cut.dir, "log")))
				do(t, os.Mkdir(filepath.Join(cut.dir, "log"), 0o700))
				do(t, os.WriteFile(filepath.Join(cut.dir, "log", filepath.Base(segments[0])), whole[:n], 0o600))
				cut.reopen()
				before := 0
				var left limit.Tally
				for key, st := range cut.sp.Restored() {
					before += lineCount(text.String()[:st.Pos-uint64(len(st.Carry))])
					if k, ok := parseKnown(key, st); ok {
						left = k.untold
					} else {
						left = provedOf(st).over
					}
				}
				kept, suppressed, n0 := 0, 0, 0
				for _, r := range cut.records() {
					if _, err := fmt.Sscanf(r.Body, "suppressed %d record", &n0); err == nil {
						suppressed += n0
					} else {
						kept++
					}
				}
				if kept+suppressed+int(left.Count) != before {
					t.Fatalf("cut at %d of %d: %d came, %d are told, %d are not, of %d lines", n, len(whole), kept, suppressed, left.Count, before)
				}
				if n == len(whole) && before != want {
					t.Errorf("%d of %d lines were read", before, want)
				}
				told = max(told, suppressed)
			}
			if told == 0 {
				t.Error("nothing was told in between: that proves little")
			}
		})
	}
}

// lineCount is how many lines make records.
func lineCount(text string) (n int) {
	for line := range strings.Lines(text) {
		if line != "\n" {
			n++
		}
	}
	return n
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
