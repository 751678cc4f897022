// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// books are kept of a pipe whose spool is small and mostly full, while loghub is killed at every point: what was written to
// the pipe, and what of it came or is told as lost.
type books struct {
	t       *testing.T
	rnd     *rand.Rand
	dir     string
	limit   limit.Rate
	r, w    *os.File
	sp      *spool.Spool
	p       *Pipe
	drained int64 // by hubinit
	torn    bool  // in the middle of a line

	lines   []string
	rest    string         // of the lines, not written yet
	written int            // bytes
	whole   map[int]string // line → uid
	uids    map[string]string
	bytes   int // of whole lines and pieces that came
	told    int
	kills   int
	loose   int // bytes that may be missing: what is blank makes no record
	history []string
}

func (k *books) did(format string, args ...any) {
	k.history = append(k.history, fmt.Sprintf(format, args...))
}

// open is a new process. mem is what the one before it left.
func (k *books) open() {
	k.t.Helper()
	k.kills++
	k.loose++
	var err error
	k.sp, err = spool.Open(spool.Options{Dir: filepath.Join(k.dir, "log"), Quota: 24 << 10})
	do(k.t, err)
	sh := &Shared{Spool: k.sp, RunDir: k.dir, Log: zerolog.Nop()}
	k.p, err = OpenPipe(sh, PipeOptions{Name: "stdout", Pipe: k.r, Drained: k.drained, DrainedOpen: k.torn, Limit: k.limit})
	do(k.t, err)
	k.did("open: fill %.2f, at %d, taken %d, loss %+v", k.sp.Fill(), k.p.pos, k.p.drain.size, k.p.loss)
}

// end lets the process die: nothing of it is left but files.
func (k *books) end() {
	do(k.t, k.p.drain.close())
	do(k.t, k.sp.Close()) // what was written is there either way
}

func (k *books) peek() []byte {
	data, err := k.p.drain.peek(make([]byte, k.p.drain.limit), false)
	if err != nil && !errors.Is(err, errEmpty) {
		k.t.Fatal(err)
	}
	return data
}

// write puts some of what the service has to say into the pipe.
func (k *books) write() {
	for range k.rnd.IntN(30) {
		level := []string{"DEBUG", "INFO", "ERROR", "some"}[k.rnd.IntN(4)]
		line := fmt.Sprintf("%s %05d %s", level, len(k.lines), strings.Repeat("x", 1+k.rnd.IntN(120)))
		k.lines = append(k.lines, line)
		k.rest += line + "\n"
	}
	k.put(k.rnd.IntN(len(k.rest) + 1))
}

func (k *books) put(n int) {
	k.did("write %d", n)
	_, err := io.WriteString(k.w, k.rest[:n])
	do(k.t, err)
	k.written += n
	k.rest = k.rest[n:]
}

func (k *books) step() {
	if data := k.peek(); len(data) > 0 {
		k.did("step %d", len(data))
		do(k.t, k.p.step(data))
	}
}

// kill ends the process at a point, lets hubinit read a little, and begins another.
func (k *books) kill() {
	data := k.peek()
	point := k.rnd.IntN(4)
	k.did("kill at %d with %d", point, len(data))
	switch {
	case len(data) == 0:
	case point == 1:
		k.p.frame(data)
		do(k.t, k.p.drain.take(k.rnd.IntN(len(data)+1)))
	case point == 2:
		before := k.segment()
		k.p.frame(data)
		k.tear(before)
	}
	k.end()
	if k.rnd.IntN(4) == 0 {
		buf := make([]byte, 1+k.rnd.IntN(3000))
		if n, err := unix.Read(int(k.r.Fd()), buf); err == nil {
			k.drained += int64(n)
			k.torn = buf[n-1] != '\n'
			k.did("hubinit takes %d", n)
		}
	}
	do(k.t, unix.SetNonblock(int(k.r.Fd()), true))
	for k.open(); k.rnd.IntN(3) == 0; k.open() {
		k.end()
	}
}

// segment is the newest file of the spool, and how large it is.
func (k *books) segment() (s struct {
	path string
	size int64
}) {
	all, err := filepath.Glob(filepath.Join(k.dir, "log", "*.seg"))
	do(k.t, err)
	s.path = all[len(all)-1]
	s.size = sizeOf(k.t, s.path)
	return s
}

// tear leaves a part of what was written since.
func (k *books) tear(before struct {
	path string
	size int64
}) {
	now := k.segment()
	if now.path != before.path || now.size == before.size {
		return
	}
	size := before.size + k.rnd.Int64N(now.size-before.size+1)
	k.did("torn at %d of %d", size-before.size, now.size-before.size)
	do(k.t, os.Truncate(now.path, size))
}

// receive takes everything that waits. Then the spool has room again, after the next start.
func (k *books) receive() {
	for {
		d, err := k.sp.Peek(1000, 1<<20)
		do(k.t, err)
		if d.Len() == 0 {
			return
		}
		for i := range d.Len() {
			var r otlp.Record
			do(k.t, otlp.DecodeRecord(d.Record(i), &r))
			k.take(&r)
		}
		_, err = k.sp.Ack(d, 0, d.Len())
		do(k.t, err)
	}
}

func (k *books) take(r *otlp.Record) {
	attr := map[string]otlp.Value{}
	for _, kv := range r.Attributes {
		attr[kv.Key] = kv.Value
	}
	uid, body := string(attr[event.AttrUID].Bytes), string(r.Body.Bytes)
	if was, ok := k.uids[uid]; ok {
		k.t.Errorf("%s came twice: %q, %q", uid, was, body)
	}
	k.uids[uid] = body
	if r.EventName == "hub.loss" {
		k.did("told: %s", body)
		k.told += int(attr[event.AttrLossBytes].Int())
		return
	}
	piece, open := attr[event.AttrPiece].Int(), attr[event.AttrContinues].Bool()
	var n int
	if _, err := fmt.Sscanf(body, "%s %d", new(string), &n); piece == 0 && (err != nil || n >= len(k.lines) || body != k.lines[n]) {
		k.t.Errorf("a line nobody wrote: %q", body)
		return
	}
	if k.bytes += len(body); !open {
		k.bytes++
	}
	if piece > 0 {
		k.did("piece %d: %q", piece, body)
		if !strings.Contains(strings.Join(k.lines, "\n"), body) {
			k.t.Errorf("a piece of no line: %q", body)
		}
		return
	}
	if was := k.whole[n]; was != "" {
		k.t.Errorf("line %d came as %s and as %s", n, was, uid)
	}
	k.whole[n] = uid
}

// another lets the container stop in order, and start with a new pipe.
func (k *books) another() {
	k.did("another pipe")
	k.put(strings.Index(k.rest, "\n") + 1) // a service that goes on in the middle of a line there is none
	k.step()
	k.p.finish(join.Quiet)
	k.loose++
	k.end()
	k.r, k.w = newPipe(k.t)
	k.drained = 0
	k.open()
}

func (k *books) check() {
	k.put(len(k.rest))
	k.step()
	k.p.finish(join.Over)
	for range 2 { // where there was no room, there is now
		k.receive()
		k.end()
		k.open()
		k.p.toldAt = time.Time{}
		k.p.flush(join.Over)
		k.p.tellDue(true)
	}
	k.receive()
	if left := k.written - k.bytes - k.told; left < 0 || left > k.loose {
		k.t.Errorf("%d bytes were written, %d came, %d are told as lost: %d are missing", k.written, k.bytes, k.told, left)
	}
	k.end()
}

// TestPipeKilledWhileFull: however often loghub is killed while nothing finds room, all of the loss is told in the end, and the
// rest of a line whose beginning is lost says that it is a piece.
func TestPipeKilledWhileFull(t *testing.T) {
	b := newBench(t)
	b.quota = 1
	r, w := newPipe(t)
	fmt.Fprint(w, "first\nhel")
	p := b.pipe(r)
	do(t, p.step(b.see(p)))
	b.quota = 1 // behind it there is no room
	b.reopen()
	p = b.pipe(r)
	for _, text := range []string{"d\none\ntw", "o\nthree\n", "four\nfi"} {
		fmt.Fprint(w, text)
		do(t, p.step(b.see(p)))
		b.reopen()
		p = b.pipe(r)
	}
	b.want("first")
	d, err := b.sp.Peek(10, 1<<20)
	do(t, err)
	_, err = b.sp.Ack(d, 0, d.Len())
	do(t, err)
	fmt.Fprint(w, "ve\nsix\n")
	do(t, p.step(b.see(p)))
	var got []string
	for _, m := range b.all() {
		got = append(got, fmt.Sprintln(m["body"], m["hub.line.piece"], m["hub.loss.bytes"]))
	}
	want := []string{"lost 1 record and 23 bytes more of stdout: restarted while shedding <nil> 26\n", "ve 2 <nil>\n", "six <nil> <nil>\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestPipeConserves: what came and what is told as lost is what was written, whenever loghub is killed, and however often while
// nothing finds room; and no line is made of pieces that do not belong together.
func TestPipeConserves(t *testing.T) {
	rounds, seed := 25, uint64(time.Now().UnixNano())
	if os.Getenv("HUB_SOAK") != "" {
		rounds = 1500
	}
	if s := os.Getenv("MODEL_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		do(t, err)
		rounds, seed = 1, n
	}
	for i := range uint64(rounds) {
		if !t.Run(strconv.FormatUint(seed+i, 10), func(t *testing.T) { conserve(t, seed+i) }) {
			break
		}
	}
}

func conserve(t *testing.T, seed uint64) {
	k := &books{t: t, rnd: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), whole: map[int]string{}, uids: map[string]string{}}
	if k.rnd.IntN(3) == 0 {
		k.limit = limit.Rate{Lines: 3, Window: time.Hour}
	}
	defer func() {
		if t.Failed() {
			t.Logf("MODEL_SEED=%d\n%s", seed, strings.Join(k.history, "\n"))
		}
	}()
	k.r, k.w = newPipe(t)
	k.open()
	for range 60 {
		switch k.rnd.IntN(16) {
		case 0, 1, 2, 3, 4, 5:
			if len(k.rest) < 4096 { // else the pipe might be full
				k.write()
			}
			k.step()
		case 6, 7:
			k.step()
		case 8:
			k.p.flush(join.Quiet)
			k.loose++
		case 9:
			k.p.toldAt = time.Time{} // time passes
		case 10:
			k.receive()
		case 11:
			if k.rnd.IntN(4) == 0 {
				k.another()
			}
		default:
			k.write()
			k.kill()
		}
	}
	k.check()
}
