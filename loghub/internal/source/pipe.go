// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/spool"
)

// How long what was read waits for what belongs to it, measured from its last byte.
const (
	partialWait = 700 * time.Millisecond // a line, for its end
	joinWait    = 300 * time.Millisecond // a trace, for its next line: one that may head a trace is not later than this
	joinAge     = 5 * time.Second        // a trace whose lines come and come, from its first byte
)

// stopPipe is for reading on when it is to stop, if there is more than stood in the pipe: its writers may never end.
const stopPipe = 300 * time.Millisecond

// lossWait is how long a loss waits for the next record that tells of it.
const lossWait = 2 * time.Second

// lossEvery keeps loss records apart while lines of several levels alternate
// between kept and shed.
const lossEvery = time.Second

// PipeOptions say what is special about one pipe.
type PipeOptions struct {
	Name  string   // "stdout", "stderr", "hubs" or "stdin"
	Pipe  *os.File // read end, non-blocking
	Attrs []otlp.KeyValue
	Parse parse.Options
	// MinSeverity leaves out records below it; 0 takes all.
	MinSeverity uint8
	// Behind makes the pipe shed that much of the quota earlier than others: what it says is of less worth than theirs.
	Behind float64
	// Drained is how many bytes hubinit has read from the pipe so far; DrainedOpen says that the last of them ended no line.
	Drained     int64
	DrainedOpen bool
	// Copy gets the bytes as they are; it must not block, nor keep them.
	Copy func([]byte)
	// Apart says that each line is a record: traces are not joined.
	Apart bool
	// Limit is how many lines alike are kept; the zero Rate: all.
	Limit limit.Rate
	Raw   bool // Copy is all there is to do: no records
}

// Pipe is one pipe. Run is its only goroutine.
type Pipe struct {
	o  PipeOptions
	sh *Shared
	n  counters

	drain   *drain
	builder *event.Builder
	src     *spool.Source
	aux     pipeAux
	batch   *spool.Batch

	pos   uint64 // bytes framed since the pipe was made
	seq   uint64
	join  join.Joiner
	carry []byte    // read, but no record yet: lines that wait for others, a line that waits for its end
	saved int       // of it, how much the spool has
	since time.Time // when the first of it came
	loss  event.Loss

	behind    bool // something of the loss lies behind the last proof
	limits    limited
	limitTold limit.Tally // by records in batch

	pending []pendingRecord // in batch
	told    event.Loss      // the loss that a record in batch tells
	toldAt  time.Time       // when a loss was last told
	quiet   time.Time       // when the carry or the loss falls due
	fill    float64

	canary atomic.Pointer[string] // a line of loghub doctor that waits for its turn
	over   atomic.Bool            // nobody reads it any more
}

type pendingRecord struct {
	severity uint8
	bytes    int
}

// OpenPipe finds the place of the pipe in the spool and, after a kill, takes out
// what was framed already.
func OpenPipe(sh *Shared, o PipeOptions) (*Pipe, error) {
	p := &Pipe{o: o, sh: sh}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("opening pipe %s: %w", o.Name, err)
	}
	return p, nil
}

func (p *Pipe) newBuilder(epoch string) *event.Builder {
	return event.New(event.Options{Masker: p.sh.Masker, Canaries: p.sh.Canaries, Parse: p.o.Parse, UID: epoch + ".", Attrs: p.o.Attrs})
}

// Stat returns the pipe's figures.
func (p *Pipe) Stat() Stat { return p.n.stat(p.o.Name) }

// Run reads the pipe until ctx is done, then what stands in it still, or until
// all writers are gone.
func (p *Pipe) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, p.drain.close()) }()
	defer p.over.Store(true)
	stop := context.AfterFunc(ctx, func() { _ = p.o.Pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, p.drain.limit)
	var end time.Time // of reading on
	var rest int      // of what stood in the pipe then, at most
	for {
		var due time.Time
		if !p.quiet.IsZero() {
			due = p.quiet
		}
		if at := p.limitDue(); !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
		if err := p.o.Pipe.SetReadDeadline(due); err != nil {
			return fmt.Errorf("reading pipe %s: %w", p.o.Name, err)
		}
		if p.takeCanary() { // after the deadline was set: who offers one ends the wait that follows
			continue
		}
		stopping := ctx.Err() != nil
		if stopping {
			_ = p.o.Pipe.SetReadDeadline(time.Time{})
			if end.IsZero() {
				end, rest = time.Now().Add(stopPipe), p.drain.limit
			} else if rest <= 0 && time.Now().After(end) {
				p.finish(join.Quiet)
				return nil
			}
		}
		data, err := p.drain.peek(buf, !stopping)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if p.limits.on() {
				p.tellDue(false)
			}
			if p.quiet.IsZero() || time.Now().Before(p.quiet) {
				continue
			}
			// We may have been kept from looking: what came meanwhile goes first.
			if err := p.o.Pipe.SetReadDeadline(time.Time{}); err != nil {
				return fmt.Errorf("reading pipe %s: %w", p.o.Name, err)
			}
			if data, err = p.drain.peek(buf, false); errors.Is(err, errEmpty) {
				p.flush(join.Quiet)
				continue
			}
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // a stop or a canary, just now
			continue
		case errors.Is(err, errEmpty):
			p.finish(join.Quiet)
			return nil
		case errors.Is(err, io.EOF):
			p.finish(join.Over)
			return nil
		case err != nil:
			return fmt.Errorf("reading pipe %s: %w", p.o.Name, err)
		}
		rest -= len(data)
		if err := p.step(data); err != nil {
			return fmt.Errorf("reading pipe %s: %w", p.o.Name, err)
		}
	}
}

// step frames, takes and copies what was seen at the front of the pipe.
func (p *Pipe) step(data []byte) error {
	if !p.o.Raw {
		p.frame(data)
	}
	if err := p.drain.take(len(data)); err != nil {
		return err
	}
	if p.o.Raw {
		p.pos += uint64(len(data)) // what frame does otherwise
	}
	p.n.position.Store(int64(p.pos))
	p.copy(data)
	return nil
}

func (p *Pipe) copy(data []byte) {
	if p.o.Copy != nil {
		p.o.Copy(data)
	}
}

// frame turns the bytes into records and commits them.
func (p *Pipe) frame(data []byte) {
	p.sh.Masker.Refresh()
	if p.sh.Spool != nil {
		p.fill = p.sh.Spool.Fill()
	}
	p.records(data, join.More)
	p.commit()
	p.wait()
}

// records makes the records that data completes. What is left is carried, and kept in the spool: it is taken from the
// pipe although it made no record yet.
func (p *Pipe) records(data []byte, end join.End) {
	held := len(p.carry) > 0
	buf := data
	if held {
		p.carry = append(p.carry, data...)
		buf = p.carry
		p.builder.ReadAt(p.since)
	}
	p.pos += uint64(len(data))
	at := 0
	for p.join.Take(buf[at:], end) {
		at += p.join.Group.Bytes
		p.record(p.pos - uint64(len(buf)-at))
		if len(data) > 0 { // what follows what was held has just come
			p.builder.ReadAt(time.Time{})
		}
	}
	p.builder.ReadAt(time.Time{})
	if at > 0 || !held {
		p.since = time.Now()
	}
	p.saved = max(p.saved-at, 0)
	if p.carry = append(p.carry[:0], buf[at:]...); p.batch != nil && p.fill+p.o.Behind < shedAll { // else the place stays where it is
		grown := len(p.carry) > p.saved
		if p.limits.behind || grown && p.behind {
			p.prove(p.pos-uint64(len(p.carry)), p.join.Mark().Pieces())
		}
		if grown {
			p.batch.Carry(p.pos, p.carry[p.saved:])
			p.saved = len(p.carry)
		}
	}
	if cap(p.carry) > 256<<10 && len(p.carry) == 0 {
		p.carry = nil
	}
}

// wait sets the time until which what is held waits.
func (p *Pipe) wait() {
	p.quiet = time.Time{}
	if len(p.carry) == 0 {
		if !p.loss.None() {
			p.quiet = time.Now().Add(lossWait)
		}
		return
	}
	lines, sure := p.join.Held()
	p.quiet = due(time.Now(), p.since, lines > 0, sure, p.carry[len(p.carry)-1] != '\n')
}

// due is when what is held falls due: since it waits lines (for sure of a trace), and behind them perhaps a line without
// an end.
func due(now, since time.Time, lines, sure, unended bool) time.Time {
	wait := joinWait
	if unended {
		wait = partialWait
	}
	due := now.Add(wait)
	if !lines {
		return due
	}
	if sure {
		wait = joinAge
	}
	if latest := since.Add(wait); latest.Before(due) {
		return latest
	}
	return due
}

// record makes the record of a group of lines that ends at pos, or lets it go.
func (p *Pipe) record(pos uint64) {
	g := &p.join.Group
	rec := event.Bounded(p.builder.Group(g, p.seq+1), g.Bytes)
	if rec == nil || rec.Severity < p.o.MinSeverity {
		if p.batch != nil {
			p.markUntold(g, pos)
			p.batch.Mark(pos, p.seq)
		}
		return
	}
	if p.limits.on() {
		if rec = p.limit(g, rec, pos); rec == nil {
			return
		}
	}
	if p.sh.Emit != nil {
		p.sh.Emit(p.o.Name, rec)
	}
	p.n.records.Add(1)
	if p.o.Name != "hubs" {
		var s Severities
		s.add(rec.Severity)
		p.sh.Counts.add(s)
	}
	if p.batch == nil {
		p.seq++
		return
	}
	if shed(p.fill+p.o.Behind, rec.Severity) {
		p.seq++
		p.lose(event.ReasonQuota, rec.Severity, g.Bytes)
		return
	}
	if !p.loss.None() && p.told.None() && time.Since(p.toldAt) >= lossEvery {
		p.tellLoss(pos-uint64(g.Bytes), taken(g))
		rec = event.Bounded(p.builder.Group(g, p.seq+1), g.Bytes)
	} else {
		p.markUntold(g, pos)
	}
	p.seq++
	p.batch.Record(pos, p.seq, rec)
	if g.Open {
		p.prove(pos, p.join.Mark().Pieces())
	}
	p.pending = append(p.pending, pendingRecord{rec.Severity, g.Bytes})
	if p.batch.Len() >= 1<<20 { // lines that grew: do not outgrow a segment
		p.commit()
	}
}

// commit writes the batch. What cannot be written is shed: the pipe has to move.
func (p *Pipe) commit() {
	p.n.learn(p.builder)
	p.n.limited.Add(p.limits.taken())
	if p.batch == nil || p.batch.Len() == 0 {
		return
	}
	err := p.sh.Spool.Commit(p.batch)
	if err != nil {
		reason := event.ReasonWrite
		if errors.Is(err, spool.ErrFull) {
			reason = event.ReasonQuota
		} else if p.loss.None() && p.told.None() {
			p.sh.Log.Warn().Err(err).Str("source", p.o.Name).Msg("records are lost: the spool cannot be written")
		}
		p.told.Merge(p.loss)
		p.loss = p.told
		for _, r := range p.pending {
			p.n.lose(&p.loss, reason, r.severity, r.bytes)
		}
		p.behind = !p.loss.None()
		p.batch.Reset()
		p.saved = 0
		p.limits.carry(p.limitTold)
		p.limits.behind = p.limits.on() // what the batch said of it is to be said again
	}
	p.limitTold = limit.Tally{}
	p.told, p.pending = event.Loss{}, p.pending[:0]
}

// finish takes the last of it.
func (p *Pipe) finish(end join.End) {
	p.flush(end)
	if p.limits.on() {
		p.tellDue(true)
	}
	p.keepLoss()
}

// flush takes what is held as it stands, and tells of a loss.
func (p *Pipe) flush(end join.End) {
	p.quiet = time.Time{}
	if p.o.Raw {
		return
	}
	if p.sh.Spool != nil {
		p.fill = p.sh.Spool.Fill()
	}
	p.records(nil, end)
	p.commit()
	if !p.loss.None() && p.batch != nil && p.fill < shedAll {
		p.tellLoss(p.pos, p.join.Mark().Pieces())
		p.commit()
	}
	if !p.loss.None() {
		p.quiet = time.Now().Add(lossWait)
	}
}
