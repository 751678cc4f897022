// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/spool"
	"golang.org/x/sys/unix"
)

const (
	// DefaultSyslog is where every C library's syslog(3) writes to.
	DefaultSyslog = "/dev/log"
	// messageBytes is the longest datagram that is taken whole. A sender's own buffer (net.core.wmem_default) ends at
	// 208 KiB where nobody changed it.
	messageBytes = 256 << 10
	// syslogKeep is how often the socket's path is looked after.
	syslogKeep = 5 * time.Second
	// syslogTurn is how many messages are taken before something else is looked after, such as the stop: with several
	// writers the socket never is empty. It is far more than stand in it (net.unix.max_dgram_qlen).
	syslogTurn = 2048
	syslogKey  = "syslog" // in the spool
)

// SyslogOptions say where to listen.
type SyslogOptions struct {
	Path  string // absolute
	Parse parse.Options
	Limit limit.Rate // lines alike that are kept; the zero Rate: all
}

// Syslog is the socket that syslog(3) writes to. Run uses two goroutines: one empties the socket whatever happens, the
// other makes records.
type Syslog struct {
	o   SyslogOptions
	sh  *Shared
	n   counters
	box *mailbox

	mu   sync.Mutex // of what stop touches
	sock *os.File
	id   fileID // of the socket at the path
	lost bool   // the path is somebody else's now, which was said
	gone bool   // it cannot be made again, which was said

	programs programs // of the reading goroutine

	builder *event.Builder
	src     *spool.Source
	batch   *spool.Batch
	seq     uint64
	fill    float64
	loss    event.Loss      // not told yet
	told    event.Loss      // by a record in batch
	toldAt  time.Time       //
	pending []pendingRecord // in batch
	limits  limited
	limited limit.Tally // told by records in batch
}

// ErrTaken says that a socket cannot be had because something is in its place already.
var ErrTaken = errors.New("something else is there")

// OpenSyslog makes the socket. ErrTaken: somebody else's is there, or a file; it is left alone.
func OpenSyslog(sh *Shared, o SyslogOptions) (*Syslog, error) {
	s := &Syslog{o: o, sh: sh, box: newMailbox(), programs: programs{}}
	var err error
	if s.sock, s.id, err = listenDatagrams(o.Path); err != nil {
		return nil, fmt.Errorf("listening on %s: %w", o.Path, err)
	}
	epoch := newEpoch("syslog")
	s.builder = event.New(event.Options{Masker: sh.Masker, Canaries: sh.Canaries, Parse: o.Parse, UID: epoch + ".",
		Attrs: []otlp.KeyValue{{Key: event.AttrSocket, Value: otlp.String(o.Path)}}})
	s.limits = limited{rate: o.Limit}
	s.limits.ready()
	if sh.Spool == nil {
		return s, nil
	}
	st := sh.Spool.Restored()[syslogKey]
	s.limits.carry(untold(st.Proof, st.Seq))
	aux, err := json.Marshal(struct {
		Epoch string `json:"epoch"`
	}{epoch})
	if err == nil {
		s.src, err = sh.Spool.Register(syslogKey, spool.State{Aux: string(aux), Proof: s.limits.appendUntold(nil, 0, limit.Tally{})})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening on %s: %w", o.Path, err), s.close())
	}
	s.batch = spool.NewBatch(s.src)
	return s, nil
}

// Stat returns the socket's figures; its position is the number of messages.
func (s *Syslog) Stat() Stat { return s.n.stat(s.o.Path) }

// Run takes messages until ctx is done, and then those that were sent already. The socket is gone afterwards.
func (s *Syslog) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = s.sock.SetReadDeadline(time.Unix(1, 0))
	})
	defer stop()
	over := make(chan error, 1)
	go func() { over <- s.receive(ctx) }()
	var spare []message
	var late <-chan time.Time
	for {
		select {
		case err := <-over:
			s.write(spare, true)
			s.tellDue(true)
			return err
		case <-s.box.news:
			spare = s.write(spare, false)
		case <-late: // a loss that nothing followed
			spare = s.write(spare, true)
		}
		s.tellDue(false)
		if late = nil; !s.loss.None() {
			late = time.After(lossWait)
		} else if at := s.limits.l.Next(); !at.IsZero() {
			late = time.After(max(time.Until(at), lossEvery))
		}
	}
}

// receive moves messages from the socket to the mailbox. It is all that a writer ever waits for.
func (s *Syslog) receive(ctx context.Context) error {
	buf := make([]byte, messageBytes)
	looked := time.Now()
	for {
		if err := s.sock.SetReadDeadline(time.Now().Add(syslogKeep)); err != nil {
			return fmt.Errorf("listening on %s: %w", s.o.Path, err)
		}
		if ctx.Err() != nil {
			err := s.unlink() // who comes now is told that nobody listens, and does not wait
			return errors.Join(err, s.drain(s.sock, buf, false), s.close())
		}
		err := s.drain(s.sock, buf, true)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.Join(fmt.Errorf("listening on %s: %w", s.o.Path, err), s.close())
		}
		if time.Since(looked) >= syslogKeep {
			looked = time.Now()
			s.keep(ctx, buf)
		}
	}
}

// drain takes what the socket holds, for one turn. With wait it waits for the first message until the read deadline.
func (s *Syslog) drain(sock *os.File, buf []byte, wait bool) error {
	rc, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	// Room for the credentials and nothing more: descriptors that somebody sends along are not ours to keep, and
	// the kernel drops what does not fit.
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	var failed error
	take := func(fd uintptr) bool {
		for got := range syslogTurn {
			n, oobn, _, _, err := unix.Recvmsg(int(fd), buf, oob, unix.MSG_TRUNC|unix.MSG_DONTWAIT)
			switch {
			case err == unix.EINTR:
				continue
			case err == unix.EAGAIN:
				return got > 0
			case err != nil:
				failed = os.NewSyscallError("recvmsg", err)
				return true
			}
			s.accept(buf[:min(n, len(buf))], n, credentials(oob[:oobn]))
		}
		return true
	}
	if wait {
		err = rc.Read(take)
	} else {
		err = rc.Control(func(fd uintptr) { take(fd) })
	}
	return errors.Join(err, failed)
}

// credentials are those of a message's sender; the zero value says that the kernel gave none.
func credentials(oob []byte) unix.Ucred {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) == 0 {
		return unix.Ucred{}
	}
	if c, err := unix.ParseUnixCredentials(&msgs[0]); err == nil {
		return *c
	}
	return unix.Ucred{}
}

// accept keeps a message of size bytes, of which text is what there was room for.
func (s *Syslog) accept(text []byte, size int, from unix.Ucred) {
	s.n.position.Add(1)
	cut := size - len(text)
	text = bytes.TrimRight(text, "\x00\n\r") // some programs end a message like a string, some like a line
	if len(text) == 0 {
		return
	}
	severity := prioritySeverity(text)
	m := message{text: bytes.Clone(text), cut: cut, from: s.programs.of(from, time.Now())}
	if !s.box.put(m, severity) {
		s.n.lost.Add(1)
		s.n.lostBytes.Add(int64(size))
	}
}

// keep sees to it that the path leads here. A service that brings its own syslog daemon may take it; a path that was
// removed is made again.
func (s *Syslog) keep(ctx context.Context, buf []byte) {
	if ctx.Err() != nil || s.lost {
		return
	}
	if id, ok := socketID(s.o.Path); ok && id == s.id {
		return
	}
	sock, id, err := listenDatagrams(s.o.Path)
	switch {
	case errors.Is(err, ErrTaken):
		s.lost = true
		s.sh.Log.Info().Err(err).Str("path", s.o.Path).Msg("syslog messages go elsewhere from now on: the socket was replaced")
		return
	case err != nil && !s.gone:
		s.gone = true
		s.sh.Log.Warn().Err(err).Str("path", s.o.Path).Msg("the socket for syslog messages was removed and cannot be made again so far")
	}
	if err != nil {
		return
	}
	s.gone = false
	s.mu.Lock()
	old := s.sock
	s.sock, s.id = sock, id
	s.mu.Unlock()
	if err := errors.Join(s.drain(old, buf, false), old.Close()); err != nil {
		s.sh.Log.Warn().Err(err).Str("path", s.o.Path).Msg("closing a socket that was removed")
	}
	s.sh.Log.Info().Str("path", s.o.Path).Msg("the socket for syslog messages was removed: it is there again")
}

// unlink removes the socket's path if it still leads here.
func (s *Syslog) unlink() error {
	if id, ok := socketID(s.o.Path); !ok || id != s.id {
		return nil
	}
	return os.Remove(s.o.Path)
}

func (s *Syslog) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sock.Close()
}

// write makes records of what is in the mailbox and commits them; it returns the slice for use again. due says that a
// loss is to be told even if nothing follows it.
func (s *Syslog) write(spare []message, due bool) []message {
	all, behind := s.box.take(spare)
	s.sh.Masker.Refresh()
	if s.sh.Spool != nil {
		s.fill = s.sh.Spool.Fill()
	}
	for _, m := range all {
		if m.before != nil {
			s.lose(*m.before)
		}
		s.record(m)
	}
	s.lose(behind)
	s.commit()
	if due && !s.loss.None() && s.batch != nil && s.fill < shedAll {
		s.tellLoss()
		s.commit()
	}
	clear(all) // their texts
	return all
}

// lose takes over what the mailbox shed: each message has had a number.
func (s *Syslog) lose(l event.Loss) {
	s.seq += uint64(l.Count)
	s.loss.Merge(l)
}

// record makes the record of one message, or lets it go.
func (s *Syslog) record(m message) {
	rec := s.build(m)
	if rec == nil {
		return
	}
	if s.limits.on() && !s.builder.IsCanary() {
		if rec = s.limit(m, rec); rec == nil {
			return
		}
	}
	if s.sh.Emit != nil {
		s.sh.Emit(syslogKey, rec)
	}
	s.n.records.Add(1)
	var c Severities
	c.add(rec.Severity)
	s.sh.Counts.add(c)
	if s.batch == nil {
		s.seq++
		return
	}
	if shed(s.fill, rec.Severity) {
		s.seq++
		s.n.lose(&s.loss, event.ReasonQuota, rec.Severity, len(m.text))
		return
	}
	s.markUntold()
	if !s.loss.None() && s.told.None() && time.Since(s.toldAt) >= lossEvery {
		s.tellLoss()
		rec = s.build(m)
	}
	s.seq++
	s.batch.Record(0, s.seq, rec)
	s.pending = append(s.pending, pendingRecord{rec.Severity, len(m.text)})
	if s.batch.Len() >= batchBytes {
		s.commit()
	}
}

// build gives the record of a message under the next number; nil if it says nothing.
func (s *Syslog) build(m message) *otlp.Record {
	rec := s.builder.Line(m.text, s.seq+1)
	if rec == nil {
		return nil
	}
	kept := rec.Attributes[:0]
	for _, kv := range rec.Attributes {
		if !ofSender(kv.Key) {
			kept = append(kept, kv)
		}
	}
	rec.Attributes = kept
	rec.Encoded = append(rec.Encoded, m.from.attrs...)
	if m.cut > 0 {
		rec.Encoded = otlp.AppendAttribute(rec.Encoded, otlp.KeyValue{Key: event.AttrCut, Value: otlp.Int(int64(m.cut))})
	}
	return rec
}

// tellLoss puts the record of the loss in its place.
func (s *Syslog) tellLoss() {
	s.seq++
	s.batch.Record(0, s.seq, s.builder.Loss(&s.loss, s.o.Path, s.seq))
	s.told, s.loss, s.toldAt = s.loss, event.Loss{}, time.Now()
}

// commit writes the batch. What cannot be written is shed.
func (s *Syslog) commit() {
	s.n.learn(s.builder)
	s.n.limited.Add(s.limits.taken())
	if s.batch != nil {
		s.markUntold()
	}
	if s.batch == nil || s.batch.Len() == 0 {
		return
	}
	if err := s.sh.Spool.Commit(s.batch); err != nil {
		reason := event.ReasonWrite
		if errors.Is(err, spool.ErrFull) {
			reason = event.ReasonQuota
		} else if s.loss.None() && s.told.None() {
			s.sh.Log.Warn().Err(err).Str("source", s.o.Path).Msg("records are lost: the spool cannot be written")
		}
		s.told.Merge(s.loss)
		s.loss = s.told
		for _, r := range s.pending {
			s.n.lose(&s.loss, reason, r.severity, r.bytes)
		}
		s.batch.Reset()
		s.limits.carry(s.limited)
		s.limits.behind = s.limits.on()
	}
	s.limited = limit.Tally{}
	s.told, s.pending = event.Loss{}, s.pending[:0]
}
