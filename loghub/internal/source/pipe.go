// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/parse"
	"cloud4.internal/hub/loghub/internal/spool"
)

// partialWait is how long a line without an end waits for its rest.
const partialWait = 700 * time.Millisecond

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
	// Drained is how many bytes hubinit has read from the pipe so far.
	Drained int64
	// Copy gets the bytes as they are; it must not block, nor keep them.
	Copy func([]byte)
	// Raw says that Copy is all there is to do: no records.
	Raw bool
}

// Pipe is one pipe. Run is its only goroutine.
type Pipe struct {
	o  PipeOptions
	sh *Shared
	n  counters

	drain   *drain
	builder *event.Builder
	src     *spool.Source
	batch   *spool.Batch

	pos   uint64 // bytes framed since the pipe was made
	seq   uint64
	carry []byte
	loss  event.Loss

	pending []pendingRecord // in batch
	told    event.Loss      // the loss that a record in batch tells
	toldAt  time.Time       // when a loss was last told
	quiet   time.Time       // when the carry or the loss falls due
	fill    float64
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
	return event.New(event.Options{Masker: p.sh.Masker, Parse: p.o.Parse, UID: epoch + ".", Attrs: p.o.Attrs})
}

// Stat returns the pipe's figures.
func (p *Pipe) Stat() Stat { return p.n.stat(p.o.Name) }

// Run reads the pipe until ctx is done, then what stands in it still, or until
// all writers are gone.
func (p *Pipe) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, p.drain.close()) }()
	stop := context.AfterFunc(ctx, func() { _ = p.o.Pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, p.drain.limit)
	for {
		var due time.Time
		if !p.quiet.IsZero() {
			due = p.quiet
		}
		if err := p.o.Pipe.SetReadDeadline(due); err != nil {
			return fmt.Errorf("reading pipe %s: %w", p.o.Name, err)
		}
		stopping := ctx.Err() != nil
		if stopping {
			_ = p.o.Pipe.SetReadDeadline(time.Time{})
		}
		data, err := p.drain.peek(buf, !stopping)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if !p.quiet.IsZero() && !time.Now().Before(p.quiet) {
				p.flush()
			}
			continue
		case errors.Is(err, errEmpty), errors.Is(err, io.EOF):
			p.flush()
			return nil
		case err != nil:
			return fmt.Errorf("reading pipe %s: %w", p.o.Name, err)
		}
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
	for {
		line, n, continues := frame.Next(data, len(p.carry))
		if n == 0 && !continues {
			break
		}
		if len(p.carry) > 0 {
			p.carry = append(p.carry, line...)
			line = p.carry
		}
		data = data[n:]
		p.pos += uint64(n)
		p.line(line, continues)
		p.carry = p.carry[:0]
	}
	if len(data) > 0 {
		p.carry = append(p.carry, data...)
		p.pos += uint64(len(data))
		if p.batch != nil {
			p.batch.Carry(p.pos, data)
		}
	}
	p.commit()
	p.quiet = time.Time{}
	switch {
	case len(p.carry) > 0:
		p.quiet = time.Now().Add(partialWait)
	case !p.loss.None():
		p.quiet = time.Now().Add(lossWait)
	}
	if cap(p.carry) > 256<<10 && len(p.carry) == 0 {
		p.carry = nil
	}
}

// line makes one record, or lets it go.
func (p *Pipe) line(line []byte, continues bool) {
	rec := p.builder.Line(line, p.seq+1, continues)
	if rec == nil || rec.Severity < p.o.MinSeverity {
		if p.batch != nil {
			p.batch.Mark(p.pos, p.seq)
		}
		return
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
	if shed(p.fill, rec.Severity) {
		p.seq++
		p.n.lose(&p.loss, event.ReasonQuota, rec.Severity, len(line))
		return
	}
	if !p.loss.None() && p.told.None() && time.Since(p.toldAt) >= lossEvery {
		p.tellLoss()
		rec = p.builder.Line(line, p.seq+1, continues)
	}
	p.seq++
	p.batch.Record(p.pos, p.seq, rec)
	p.pending = append(p.pending, pendingRecord{rec.Severity, len(line)})
	if p.batch.Len() >= 1<<20 { // lines that grew: do not outgrow a segment
		p.commit()
	}
}

// tellLoss puts the record of the loss in its place, before the next record.
func (p *Pipe) tellLoss() {
	p.seq++
	p.batch.Record(p.pos, p.seq, p.builder.Loss(&p.loss, p.o.Name, p.seq))
	p.told, p.loss, p.toldAt = p.loss, event.Loss{}, time.Now()
}

// commit writes the batch. What cannot be written is shed: the pipe has to move.
func (p *Pipe) commit() {
	p.n.learn(p.builder)
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
		if !p.told.None() {
			p.loss = p.told
		}
		for _, r := range p.pending {
			p.n.lose(&p.loss, reason, r.severity, r.bytes)
		}
		p.batch.Reset()
	}
	p.told, p.pending = event.Loss{}, p.pending[:0]
}

// flush takes the unfinished line as it stands, and tells of a loss.
func (p *Pipe) flush() {
	p.quiet = time.Time{}
	if p.o.Raw {
		return
	}
	if p.sh.Spool != nil {
		p.fill = p.sh.Spool.Fill()
	}
	if len(p.carry) > 0 {
		p.line(p.carry, false)
		p.carry = p.carry[:0]
	}
	p.commit()
	if !p.loss.None() && p.batch != nil && p.fill < shedAll {
		p.tellLoss()
		p.commit()
	}
	if !p.loss.None() {
		p.quiet = time.Now().Add(lossWait)
	}
}
