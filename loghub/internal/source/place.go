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
	st := p.sh.Spool.Restored()[key]
	if json.Unmarshal([]byte(st.Aux), &p.aux) != nil {
		st, p.aux = spool.State{}, pipeAux{}
	}
	same := p.aux.Pipe == name
	if p.drain, err = newDrain(p.o.Pipe, p.counter(), same); err != nil {
		return err
	}
	if p.src, err = p.sh.Spool.Register(key, st); err != nil {
		return err
	}
	p.batch, p.fill = spool.NewBatch(p.src), p.sh.Spool.Fill()
	p.resume(st)
	skip := 0
	if same {
		skip, err = p.reconcile()
	} else {
		err = p.leave(name)
	}
	if err != nil {
		return err
	}
	p.n.position.Store(int64(p.pos))
	if p.drain.taken == nil {
		p.sh.Log.Warn().Str("source", p.o.Name).Str("dir", p.sh.RunDir).
			Msg("cannot count what is taken from the pipe: a kill of loghub may send its last lines twice")
	}
	if p.since = time.Now(); len(p.carry) > 0 || !p.loss.None() {
		p.quiet = p.since.Add(partialWait)
	}
	return p.skip(skip)
}

// resume takes over what the spool has of the pipe, or of the one before it.
func (p *Pipe) resume(st spool.State) {
	v := provedOf(st)
	p.builder = p.newBuilder(p.aux.Epoch)
	p.pos, p.seq, p.carry, p.saved, p.loss = st.Pos, st.Seq, st.Carry, len(st.Carry), v.loss
	p.join.Apart = p.o.Apart
	p.join.Rewind(v.mark)
	p.limits = limited{rate: p.o.Limit}
	p.limits.ready()
	p.limits.carry(v.over)
}

// leave sends what was held of a pipe that is no more, under its own epoch, and begins with the one called name. What finds no
// room is told later.
func (p *Pipe) leave(name string) error {
	p.flush(join.Over)
	if p.limits.on() {
		p.tellDue(true)
	}
	p.aux = pipeAux{Pipe: name, Epoch: newEpoch(p.o.Name), Drained: p.o.Drained}
	p.builder = p.newBuilder(p.aux.Epoch)
	p.pos, p.seq, p.saved = 0, 0, 0
	p.join.Rewind(join.Mark{})
	return p.save()
}

// save writes down the place as it is, in one frame.
func (p *Pipe) save() error {
	text, err := json.Marshal(p.aux)
	if err != nil {
		return err
	}
	p.saved = len(p.carry)
	return p.sh.Spool.Update(p.src, spool.State{
		Aux: string(text), Pos: p.pos, Seq: p.seq, Carry: p.carry,
		Proof: p.proofAt(p.pos-uint64(len(p.carry)), p.join.Mark().Pieces(), limit.Tally{}, false),
	})
}

// reconcile compares what was framed with what was taken, and returns how many framed bytes still stand in the pipe. Where bytes
// behind the place are gone, it is moved behind them, together with the loss that they are.
func (p *Pipe) reconcile() (skip int, err error) {
	behind := int64(0)
	if p.drain.taken != nil {
		behind = int64(p.pos) - p.drain.size
	}
	// Nobody could count before us, or somebody removed the file: more than a pipe holds is behind, if much was read.
	if p.drain.taken != nil && (p.drain.fresh || behind > int64(p.drain.limit)) {
		if err := p.drain.count(int64(p.pos)); err != nil {
			p.sh.Log.Warn().Err(err).Str("source", p.o.Name).Msg("cannot count what is taken from the pipe")
		}
		behind = 0
	}
	shed := max(-behind, 0) // taken without a frame
	behind += shed
	drained := max(p.o.Drained-p.aux.Drained, 0)
	framed := min(behind, drained)
	if err := p.drain.advance(framed); err != nil {
		p.sh.Log.Warn().Err(err).Str("source", p.o.Name).Msg("cannot count what hubinit took from the pipe")
	}
	lost := drained - framed
	if shed+lost > 0 {
		p.breakLine()
		p.addLoss(event.ReasonRestart, shed)
		p.addLoss(event.ReasonDrained, lost)
		p.pos += uint64(shed)
		mark := join.Mark{}
		if lost > 0 && p.o.DrainedOpen || lost == 0 && p.drain.inLine() { // what comes is the rest of a line
			mark = join.InLine(1)
		}
		p.join.Rewind(mark)
	}
	if shed+lost > 0 || p.o.Drained != p.aux.Drained {
		p.aux.Drained = p.o.Drained
		err = p.save()
	}
	return int(behind - framed), err
}

// breakLine takes what was carried as it stands: what came behind it is lost, which is told after it.
func (p *Pipe) breakLine() {
	p.records(nil, join.Quiet)
	p.commit()
}

func (p *Pipe) addLoss(reason string, bytes int64) {
	if bytes == 0 {
		return
	}
	p.loss.AddBytes(reason, bytes, time.Now())
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
