// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
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
	p.pos, p.seq, p.carry = st.Pos, st.Seq, st.Carry
	skip := 0
	if same {
		skip = p.reconcile(&aux)
	}
	p.n.position.Store(int64(p.pos))
	if err := p.register(key, aux); err != nil {
		return err
	}
	if p.drain.taken == nil {
		p.sh.Log.Warn().Str("source", p.o.Name).Str("dir", p.sh.RunDir).
			Msg("cannot count what is taken from the pipe: a kill of loghub may send its last lines twice")
	}
	if len(p.carry) > 0 || !p.loss.None() {
		p.quiet = time.Now().Add(partialWait)
	}
	return p.skip(skip)
}

// register makes the pipe and its place known to the spool.
func (p *Pipe) register(key string, aux pipeAux) error {
	text, err := json.Marshal(aux)
	if err != nil {
		return err
	}
	p.src, err = p.sh.Spool.Register(key, spool.State{Aux: string(text), Pos: p.pos, Seq: p.seq, Carry: p.carry})
	if err != nil {
		return err
	}
	p.batch = spool.NewBatch(p.src)
	return nil
}

// reconcile compares what was framed with what was taken, and returns how many
// framed bytes still stand in the pipe.
func (p *Pipe) reconcile(aux *pipeAux) (skip int) {
	now := time.Now()
	if p.drain.taken == nil {
		return 0
	}
	drained := max(p.o.Drained-aux.Drained, 0)
	aux.Drained = p.o.Drained
	behind := int64(p.pos) - p.drain.size
	if behind > int64(p.drain.limit) { // more than a pipe holds: somebody removed the file
		if err := p.drain.count(int64(p.pos)); err != nil {
			p.sh.Log.Warn().Err(err).Str("source", p.o.Name).Msg("cannot count what is taken from the pipe")
		}
		behind = 0
	}
	if behind < 0 && p.drain.size > 0 { // taken without a frame: it was shed
		p.breakLine()
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
			p.breakLine()
			p.addLoss(event.ReasonDrained, lost, now)
		}
	}
	return int(behind)
}

// breakLine gives up waiting for the rest of a line: bytes behind it are gone.
func (p *Pipe) breakLine() {
	if len(p.carry) > 0 {
		p.n.lose(&p.loss, event.ReasonRestart, 0, len(p.carry))
		p.carry = nil
	}
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

// finishOld sends the unfinished line of a pipe that is no more, under its own
// epoch.
func (p *Pipe) finishOld(key string, st spool.State, aux pipeAux) error {
	if len(st.Carry) == 0 {
		return nil
	}
	src, err := p.sh.Spool.Register(key, st)
	if err != nil {
		return err
	}
	b := spool.NewBatch(src)
	if rec := p.newBuilder(aux.Epoch).Line(st.Carry, st.Seq+1, false); rec != nil && rec.Severity >= p.o.MinSeverity {
		b.Record(st.Pos, st.Seq+1, rec)
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
