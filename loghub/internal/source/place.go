// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/spool"
	"golang.org/x/sys/unix"
)

// pipeAux is what the spool keeps of a pipe besides its place.
type pipeAux struct {
	Pipe    string `json:"pipe"`    // boot id and inode
	Epoch   string `json:"epoch"`   // of the uids
	Drained int64  `json:"drained"` // by hubinit, when this was written
}

func (p *Pipe) open() error {
	var err error
	if p.o.Raw || p.sh.Spool == nil {
		p.drain, err = newDrain(p.o.Pipe, "", false)
		p.join.Apart = p.o.Apart
		p.limits = limited{rate: p.o.Limit}
		p.limits.ready()
		p.builder = p.newBuilder(newEpoch(p.o.Name))
		return err
	}
	name, err := pipeName(p.o.Pipe)
	if err != nil {
		return err
	}
	key := "pipe/" + p.o.Name
	st, known := p.sh.Spool.Restored()[key]
	var aux pipeAux
	if known {
		known = json.Unmarshal([]byte(st.Aux), &aux) == nil
	}
	same := known && aux.Pipe == name
	if p.drain, err = newDrain(p.o.Pipe, p.counter(), same); err != nil {
		return err
	}
	if !same {
		if err := p.finishOld(key, st, aux); err != nil {
			return err
		}
		st, aux = spool.State{}, pipeAux{Pipe: name, Epoch: newEpoch(p.o.Name), Drained: p.o.Drained}
	}
	p.builder = p.newBuilder(aux.Epoch)
	p.join.Apart = p.o.Apart
	p.pos, p.seq, p.carry, p.saved = st.Pos, st.Seq, st.Carry, len(st.Carry)
	p.join.Rewind(markOf(st))
	p.limits = limited{rate: p.o.Limit}
	p.limits.ready()
	skip, broken := 0, false
	if same {
		p.limits.carry(untoldOf(st))
		skip, broken = p.reconcile(&aux)
	}
	p.n.position.Store(int64(p.pos))
	if err := p.register(key, aux); err != nil {
		return err
	}
	if p.drain.taken == nil {
		p.sh.Log.Warn().Str("source", p.o.Name).Str("dir", p.sh.RunDir).
			Msg("cannot count what is taken from the pipe: a kill of loghub may send its last lines twice")
	}
	if broken {
		p.breakLine()
	}
	if p.since = time.Now(); len(p.carry) > 0 || !p.loss.None() {
		p.quiet = p.since.Add(partialWait)
	}
	return p.skip(skip)
}

// register makes the pipe and its place known to the spool.
func (p *Pipe) register(key string, aux pipeAux) error {
	text, err := json.Marshal(aux)
	if err != nil {
		return err
	}
	p.src, err = p.sh.Spool.Register(key, spool.State{
		Aux: string(text), Pos: p.pos, Seq: p.seq, Carry: p.carry, Proof: p.proofAt(p.pos-uint64(len(p.carry)), p.join.Mark().Pieces(), limit.Tally{}),
	})
	if err != nil {
		return err
	}
	p.batch = spool.NewBatch(p.src)
	return nil
}

// reconcile compares what was framed with what was taken, and returns how many
// framed bytes still stand in the pipe. broken says that bytes behind what was carried are gone.
func (p *Pipe) reconcile(aux *pipeAux) (skip int, broken bool) {
	now := time.Now()
	if p.drain.taken == nil {
		return 0, false
	}
	drained := max(p.o.Drained-aux.Drained, 0)
	aux.Drained = p.o.Drained
	behind := int64(p.pos) - p.drain.size
	// Nobody could count before us, or somebody removed the file: more than a pipe holds is behind, if much was read.
	if p.drain.fresh || behind > int64(p.drain.limit) {
		if err := p.drain.count(int64(p.pos)); err != nil {
			p.sh.Log.Warn().Err(err).Str("source", p.o.Name).Msg("cannot count what is taken from the pipe")
		}
		behind = 0
	}
	if behind < 0 && p.drain.size > 0 { // taken without a frame: it was shed
		broken = true
		p.addLoss(event.ReasonRestart, -behind, now)
		p.pos = uint64(p.drain.size)
		behind = 0
	}
	if drained > 0 {
		framed := min(behind, drained)
		if err := p.drain.advance(framed); err != nil {
			p.sh.Log.Warn().Err(err).Str("source", p.o.Name).Msg("cannot count what hubinit took from the pipe")
		}
		behind -= framed
		if lost := drained - framed; lost > 0 {
			broken = true
			p.addLoss(event.ReasonDrained, lost, now)
		}
	}
	return int(behind), broken
}

// breakLine takes what was carried as it stands: what came behind it is lost, which is told after it.
func (p *Pipe) breakLine() {
	loss := p.loss
	p.loss = event.Loss{}
	p.records(nil, join.Over)
	p.commit()
	loss.Merge(p.loss)
	p.loss = loss
}

// markOf tells from the proof whether the carry goes on with a line whose beginning was taken.
func markOf(st spool.State) join.Mark {
	pos, n := binary.Uvarint(st.Proof)
	if n <= 0 || pos != st.Pos-uint64(len(st.Carry)) {
		return join.Mark{}
	}
	pieces, m := binary.Uvarint(st.Proof[n:])
	if m <= 0 || pieces > 1<<30 {
		return join.Mark{}
	}
	return join.InLine(int(pieces))
}

// untoldOf is what the proof holds besides.
func untoldOf(st spool.State) limit.Tally {
	_, n := binary.Uvarint(st.Proof)
	_, m := binary.Uvarint(st.Proof[max(n, 0):])
	if n <= 0 || m <= 0 {
		return limit.Tally{}
	}
	return untold(st.Proof[n+m:], st.Seq)
}

func (p *Pipe) addLoss(reason string, bytes int64, at time.Time) {
	p.loss.AddBytes(reason, bytes, at)
	p.n.lostBytes.Add(bytes)
}

// skip takes out what the process before us framed. It had not copied it yet.
func (p *Pipe) skip(n int) error {
	buf := make([]byte, p.drain.limit)
	for n > 0 {
		data, err := p.drain.peek(buf[:min(n, len(buf))], false)
		if errors.Is(err, errEmpty) || errors.Is(err, io.EOF) {
			return nil // somebody took it: there is nothing to skip
		}
		if err != nil {
			return err
		}
		p.copy(data)
		if err := p.drain.take(len(data)); err != nil {
			return err
		}
		n -= len(data)
	}
	return nil
}

// finishOld sends what was held of a pipe that is no more, under its own epoch.
func (p *Pipe) finishOld(key string, st spool.State, aux pipeAux) error {
	over := untoldOf(st)
	if len(st.Carry) == 0 && over.None() {
		return nil
	}
	src, err := p.sh.Spool.Register(key, st)
	if err != nil {
		return err
	}
	b, builder := spool.NewBatch(src), p.newBuilder(aux.Epoch)
	j := join.Joiner{Apart: p.o.Apart}
	j.Rewind(markOf(st))
	for data := st.Carry; j.Take(data, join.Over); data = data[j.Group.Bytes:] {
		if rec := event.Bounded(builder.Group(&j.Group, st.Seq+1), j.Group.Bytes); rec != nil && rec.Severity >= p.o.MinSeverity {
			st.Seq++
			b.Record(st.Pos-uint64(len(data)-j.Group.Bytes), st.Seq, rec)
		}
	}
	if !over.None() {
		b.Prove(st.Pos, st.Seq, appendTold(st, over))
		b.Record(st.Pos, st.Seq+1, builder.Limited(over, p.o.Limit, p.o.Name, st.Seq+1))
	}
	if err := p.sh.Spool.Commit(b); err != nil && !errors.Is(err, spool.ErrFull) {
		return err
	}
	return p.sh.Spool.Forget(src)
}

func (p *Pipe) counter() string {
	if p.sh.RunDir == "" {
		return ""
	}
	return filepath.Join(p.sh.RunDir, "log."+p.o.Name+".taken")
}

// pipeName identifies a pipe on this machine.
func pipeName(f *os.File) (string, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = unix.Fstat(int(fd), &st) }); err != nil {
		return "", err
	}
	if inner != nil {
		return "", os.NewSyscallError("fstat", inner)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return "", errors.New("it is no pipe")
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return string(bytes.TrimSpace(boot)) + "/" + strconv.FormatUint(st.Ino, 10), nil
}

// newEpoch names a life of a pipe: when it began, in base 36, and which it is.
func newEpoch(name string) string {
	return strconv.FormatInt(time.Now().UnixMicro(), 36) + strings.ToLower(name[:1]) + name[len(name)-1:]
}
