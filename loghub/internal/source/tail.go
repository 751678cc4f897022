// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/spool"
)

// batchBytes is after how much a batch of a file is committed.
const batchBytes = 128 << 10

// tail is one file that is followed.
type tail struct {
	sh    *Shared
	files *Files
	f     *os.File
	id    fileID
	path  string // under which it was first seen
	set   string
	n     counters

	severities Severities // in the batch
	history    int64      // what is before it was there before loghub was: its severities are no news

	builder *event.Builder
	src     *spool.Source
	batch   *spool.Batch
	aux     fileAux

	imprint imprint // of offset
	ahead   *scout  // nil: there is nothing behind offset that was looked through
	proof   []byte
	offset  int64 // committed: the beginning of the first line not framed
	next    int64 // in the batch
	copied  int64 // so far the copy has its records, though they may not be committed
	seq     uint64
	join    *join.Joiner // shared: it works on one chunk at a time
	mark    join.Mark    // of offset
	waits   time.Time    // since when lines at offset wait for others
	stamp   stamp
	size    int64
	before  int64     // size when it was the file that was read for certain
	grown   time.Time // when it was last written to
	intact  time.Time // when it was that for certain
	checked bool      // since it last changed: it still is the file that was read
	deleted bool
	names   []string  // paths that lead to it now
	left    time.Time // when it lost the last of them
	cold    bool      // see Files.cold
	fresh   bool      // it came while we looked, and nothing of it was read
	born    time.Time
	limits  limited
	scanned int64 // so far there are zeros from the place on
	packed  bool  // it is compressed
	held    bool  // nothing but zeros follow, and it did not change since
}

// start goes on where the known file was, or begins at the first byte.
func (t *tail) start(k *known) error {
	if t.sh.Spool == nil { // nobody remembers a place: what is new from now on
		if t.begin(); k != nil {
			t.resume(k)
		} else if t.files.first {
			t.offset = t.size
		}
		return t.measure()
	}
	key := filePrefix + t.id.String()
	old := key
	if k == nil {
		t.begin()
		if t.fresh = !t.files.first; t.files.first {
			t.history = t.size
		}
	} else {
		old = k.key
		t.resume(k)
	}
	if err := t.measure(); err != nil {
		return err
	}
	st, err := t.state()
	if err != nil {
		return err
	}
	if t.src, err = t.sh.Spool.Take(old, key, st); err != nil {
		return err
	}
	t.batch = spool.NewBatch(t.src)
	return nil
}

// resume takes over the place and the names of a known file.
func (t *tail) resume(k *known) {
	t.offset, t.seq = k.pos, k.seq
	if k.pos > 0 || t.set == "" { // else no line is known by the old path yet
		t.path = k.aux.Path
	}
	if t.set == "" {
		t.set = k.aux.Set
	}
	t.aux = fileAux{Path: t.path, Raw: rawPath(t.path), Set: t.set, Generation: k.aux.Generation, ID: k.aux.ID}
	t.builder, t.ahead = nil, nil
	t.limits.rate = t.files.rate(t.set)
	t.limits.carry(k.untold)
}

// measure makes the imprint of the place where reading begins.
func (t *tail) measure() (err error) {
	t.n.position.Store(t.offset)
	if t.imprint, err = readImprint(t.f, t.offset); err == nil && t.imprint.inLine() {
		t.mark = join.InLine(1)
	}
	return err
}

// begin starts a generation of the file.
func (t *tail) begin() {
	t.aux = fileAux{Path: t.path, Raw: rawPath(t.path), Set: t.set, Generation: strconv.FormatInt(time.Now().UnixMicro(), 36), ID: t.id.String()}
	t.imprint, t.mark, t.copied = imprint{}, join.Mark{}, 0
	t.builder, t.ahead = nil, nil
}

func (t *tail) newBuilder() *event.Builder {
	return event.New(event.Options{
		Masker: t.sh.Masker, Canaries: t.sh.Canaries, Parse: t.files.parse(t.set), UID: t.aux.ID + "." + t.aux.Generation + "@",
		Attrs: []otlp.KeyValue{
			{Key: event.AttrPath, Value: otlp.String(t.path)},
			{Key: event.AttrFiles, Value: otlp.String(t.set)},
		},
	})
}

func (t *tail) state() (spool.State, error) {
	text, err := json.Marshal(t.aux)
	return spool.State{Aux: string(text), Pos: uint64(t.offset), Seq: t.seq, Proof: t.limits.appendUntold(t.imprint.proof().append(nil), t.seq, limit.Tally{})}, err
}

// look sees what became of the file, and begins anew where it is another one than was read.
func (t *tail) look(now time.Time) error {
	if t.f == nil && !t.changed(now) {
		return nil
	}
	switch err := t.unpark(); {
	case errors.Is(err, errGone):
		t.deleted = true
		return nil
	case errors.Is(err, errLater):
		return nil
	case err != nil:
		return err
	}
	if err := t.stat(now); err != nil {
		return err
	}
	defer func() { t.n.lag.Store(max(t.size-t.offset, 0)) }()
	err := t.check()
	t.intact = now
	return err
}

// read takes what was added. again says that there is more.
func (t *tail) read(now time.Time, last bool) (again bool, err error) {
	if !t.checked || t.f == nil || t.size == t.offset || t.held || t.mayBeCopy(now) {
		return false, nil
	}
	defer func() { t.n.lag.Store(max(t.size-t.offset, 0)) }()
	if t.offset == 0 {
		if t.packed = isPacked(t.f); t.packed {
			t.held = true
			t.files.refuse(t.path, errCompressed)
			return false, nil
		}
	}
	t.ready()
	done := int64(0)
	for t.offset < t.size && done < turnBytes {
		n, err := t.chunk(now, last)
		if errors.Is(err, spool.ErrFull) {
			return false, nil // the bytes stay where they are
		}
		if err != nil || n == 0 {
			return t.scanned > t.offset && !t.held, err
		}
		done += n
	}
	return t.offset < t.size, nil
}

// check begins a new generation if this is not the file that was read.
func (t *tail) check() error {
	if t.checked {
		return nil
	}
	if t.size >= t.offset {
		same, err := t.same()
		if err != nil {
			return fmt.Errorf("comparing: %w", err)
		}
		if t.checked = same; same {
			return nil
		}
	}
	return t.anew()
}

func (t *tail) update() error {
	if t.src == nil {
		return nil
	}
	st, err := t.state()
	if err != nil {
		return err
	}
	return t.sh.Spool.Update(t.src, st)
}

// chunk reads one buffer, frames its lines and commits them. n is how many bytes
// it got on.
func (t *tail) chunk(now time.Time, last bool) (n int64, err error) {
	buf := t.files.buf
	got, err := t.f.ReadAt(buf, t.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading: %w", err)
	}
	t.sh.Masker.Refresh()
	data := buf[:got]
	if t.batch != nil {
		// Where more is to be read than this, the file may keep this too until it is acknowledged: it is no worse off than what
		// stands behind it. The first piece is what tells the file from others, so it has to be in the log; and what is limited
		// is judged once, since what was told cannot be taken back. A deleted file goes with this process.
		t.batch.Again = t.offset > 0 && t.offset+int64(got) < t.size && !t.limits.on() && !t.deleted
	}
	if got > 0 && data[0] == 0 {
		n, again, err := t.passNULs(data)
		t.held = n == 0 && !again && err == nil
		return n, err
	}
	data, cut := beforeNULs(data, t.offset+int64(got) >= t.size)
	start := t.offset
	t.next = start
	t.join.Apart = t.files.apart(t.set)
	t.join.Rewind(t.mark)
	t.builder.ReadAt(time.Now()) // asking the clock for each line would cost more than finding its end
	defer t.builder.ReadAt(time.Time{})
	if data, err = t.records(buf, start, data, join.More); err != nil {
		return t.offset - start, err
	}
	if t.next == start && got == len(buf) && !cut { // more than the buffer holds
		t.files.buf = make([]byte, 2*len(buf))
		return t.chunk(now, last)
	}
	if t.next > start {
		t.waits = now
	}
	if data = t.overdue(data, now, last, cut); len(data) > 0 {
		t.builder.ReadAt(t.waits)
		if _, err = t.records(buf, start, data, join.Quiet); err != nil {
			return t.offset - start, err
		}
	}
	if len(t.files.buf) > readBytes && t.next > start {
		t.files.buf = make([]byte, readBytes)
	}
	n = t.next - start
	return n, t.commit(buf[t.offset-start : n])
}

// records makes the records of data, which was read to buf from start on. rest is what waits for more.
func (t *tail) records(buf []byte, start int64, data []byte, end join.End) (rest []byte, err error) {
	for t.join.Take(data, end) {
		data = data[t.join.Group.Bytes:]
		t.record()
		if t.batch != nil && t.batch.Len() >= batchBytes {
			if err := t.commit(buf[t.offset-start : t.next-start]); err != nil {
				return data, err
			}
		}
	}
	return data, nil
}

// overdue is what of the rest of the file has waited long enough: for the lines behind it, or for its end.
func (t *tail) overdue(rest []byte, now time.Time, last, end bool) []byte {
	lines, _ := t.join.Held()
	if lines == 0 || t.waits.IsZero() {
		t.waits = now
	}
	switch {
	case (end || t.next+int64(len(rest)) >= t.size) && (last || now.Sub(t.grown) >= fileQuiet):
		return rest
	case lines > 0 && now.Sub(t.waits) >= joinAge: // they come and come
		t.waits = now
		return rest[:bytes.LastIndexByte(rest, '\n')+1]
	}
	return nil
}

// record makes the record of a group of lines.
func (t *tail) record() {
	g := &t.join.Group
	rec := event.Bounded(t.builder.Group(g, uint64(t.next)), g.Bytes)
	t.next += int64(g.Bytes)
	if rec == nil { // the place that commit writes covers it
		return
	}
	if t.limits.on() {
		if rec = t.limit(g, rec); rec == nil {
			return
		}
	}
	if t.sh.Emit != nil && t.next > t.copied {
		t.sh.Emit("stdout", rec)
		t.copied = t.next
	}
	t.n.records.Add(1)
	if t.next > t.history {
		t.severities.add(rec.Severity)
	}
	t.seq++
	if t.batch != nil {
		t.batch.Record(uint64(t.next), t.seq, rec)
	}
}

// commit writes the batch and with it the place behind data, which was read;
// only then the place moves.
func (t *tail) commit(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	next := t.imprint
	next.add(data)
	return t.commitTo(next, data)
}

// commitTo commits the batch with the imprint of its end, which is that of data.
func (t *tail) commitTo(next imprint, data []byte) error {
	if t.batch != nil {
		t.proof = t.limits.appendUntold(next.proof().append(t.proof[:0]), t.seq, limit.Tally{})
		t.batch.Prove(uint64(t.next), t.seq, t.proof)
		if err := t.sh.Spool.Commit(t.batch); err != nil {
			t.n.records.Add(-int64(t.batch.Records()))
			t.seq -= uint64(t.batch.Records())
			t.next = t.offset
			t.severities = Severities{}
			t.batch.Reset()
			t.limits.back()
			return err
		}
	}
	t.offset, t.imprint, t.mark = t.next, next, t.join.Mark()
	t.passed(data)
	t.limits.save()
	t.n.limited.Add(t.limits.taken())
	t.n.position.Store(t.offset)
	t.n.learn(t.builder)
	t.sh.Counts.add(t.severities)
	t.severities = Severities{}
	return nil
}

func (t *tail) forget() {
	t.oweLimited()
	if t.src != nil {
		if err := t.sh.Spool.Forget(t.src); err != nil {
			t.sh.Log.Warn().Err(err).Str("path", t.path).Msg("forgetting a log file")
		}
	}
	t.close()
}

func (t *tail) close() {
	if t.f == nil {
		return
	}
	t.files.open--
	if err := t.f.Close(); err != nil {
		t.sh.Log.Warn().Err(err).Str("path", t.path).Msg("closing a log file")
	}
}
