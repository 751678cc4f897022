// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/spool"
)

// batchBytes is after how much a batch of a file is committed.
const batchBytes = 256 << 10

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
	proof   []byte
	offset  int64 // committed: the beginning of the first line not framed
	next    int64 // in the batch
	seq     uint64
	size    int64
	grown   time.Time // when the size last changed
	checked bool      // since then: it still is the file that was read
	deleted bool
}

// start goes on where the known file was, or begins at the first byte.
func (t *tail) start(k *known) error {
	if t.sh.Spool == nil { // nobody remembers a place: what is new from now on
		t.offset = t.size
		t.begin()
		return t.measure()
	}
	key := filePrefix + t.id.String()
	old := key
	if k == nil {
		t.begin()
		if t.files.first {
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
	t.aux = fileAux{Path: t.path, Set: t.set, Generation: k.aux.Generation, ID: k.aux.ID}
	t.builder = t.newBuilder()
}

// measure makes the imprint of the place where reading begins.
func (t *tail) measure() (err error) {
	t.n.position.Store(t.offset)
	t.imprint, err = readImprint(t.f, t.offset)
	return err
}

// begin starts a generation of the file.
func (t *tail) begin() {
	t.aux = fileAux{Path: t.path, Set: t.set, Generation: strconv.FormatInt(time.Now().UnixMicro(), 36), ID: t.id.String()}
	t.imprint = imprint{}
	t.builder = t.newBuilder()
}

func (t *tail) newBuilder() *event.Builder {
	return event.New(event.Options{
		Masker: t.sh.Masker, Parse: t.files.parse(t.set), UID: t.aux.ID + "." + t.aux.Generation + "@",
		Attrs: []otlp.KeyValue{
			{Key: event.AttrPath, Value: otlp.String(t.path)},
			{Key: event.AttrFiles, Value: otlp.String(t.set)},
		},
	})
}

func (t *tail) state() (spool.State, error) {
	text, err := json.Marshal(t.aux)
	return spool.State{Aux: string(text), Pos: uint64(t.offset), Seq: t.seq, Proof: t.imprint.proof().append(nil)}, err
}

// read takes what was added. again says that there is more.
func (t *tail) read(now time.Time, last bool) (again bool, err error) {
	info, err := t.f.Stat()
	if err != nil {
		return false, err
	}
	t.deleted = links(info) == 0
	if info.Size() != t.size {
		t.size, t.grown, t.checked = info.Size(), now, false
	}
	defer func() { t.n.lag.Store(max(t.size-t.offset, 0)) }()
	if err := t.check(); err != nil {
		return false, err
	}
	if t.size == t.offset {
		return false, nil
	}
	done := int64(0)
	for t.offset < t.size && done < turnBytes {
		n, err := t.chunk(now, last)
		if errors.Is(err, spool.ErrFull) {
			return false, nil // the bytes stay where they are
		}
		if err != nil || n == 0 {
			return false, err
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
	same := t.size >= t.offset
	if same {
		var err error
		if same, err = t.imprint.proof().holds(t.f); err != nil {
			return fmt.Errorf("comparing: %w", err)
		}
	}
	t.checked = true
	if same {
		return nil
	}
	t.sh.Log.Info().Str("path", t.path).Int64("read", t.offset).Int64("size", t.size).
		Msg("log file was " + change(t.size < t.offset) + ": it is read anew from its beginning")
	t.offset, t.seq = 0, 0
	t.begin()
	return t.update()
}

// change names what happened to a file.
func change(shorter bool) string {
	if shorter {
		return "truncated"
	}
	return "truncated and written again, or replaced"
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
	start := t.offset
	t.next = start
	for {
		line, taken, continues := frame.Next(data, 0)
		if taken == 0 && !continues {
			break
		}
		t.line(line, int64(taken), continues)
		data = data[taken:]
		if t.batch != nil && t.batch.Len() >= batchBytes {
			if err := t.commit(buf[t.offset-start : t.next-start]); err != nil {
				return t.offset - start, err
			}
		}
	}
	if t.next == start && got == len(buf) { // a line longer than the buffer
		t.files.buf = make([]byte, min(2*len(buf), frame.MaxLine+1))
		return t.chunk(now, last)
	}
	if len(t.files.buf) > readBytes && t.next > start {
		t.files.buf = make([]byte, readBytes)
	}
	if len(data) > 0 && t.next+int64(len(data)) >= t.size && (now.Sub(t.grown) >= fileQuiet || last) {
		t.line(data, int64(len(data)), false) // it has no end, and nothing follows
	}
	n = t.next - start
	return n, t.commit(buf[t.offset-start : n])
}

// line makes the record of one line of taken bytes.
func (t *tail) line(line []byte, taken int64, continues bool) {
	rec := t.builder.Line(line, uint64(t.next), continues)
	t.next += taken
	if rec == nil { // the place that commit writes covers it
		return
	}
	if t.sh.Emit != nil {
		t.sh.Emit("stdout", rec)
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
	if t.batch != nil {
		t.proof = next.proof().append(t.proof[:0])
		t.batch.Prove(uint64(t.next), t.seq, t.proof)
		if err := t.sh.Spool.Commit(t.batch); err != nil {
			t.n.records.Add(-int64(t.batch.Records()))
			t.seq -= uint64(t.batch.Records())
			t.next = t.offset
			t.severities = Severities{}
			t.batch.Reset()
			return err
		}
	}
	t.offset, t.imprint = t.next, next
	t.n.position.Store(t.offset)
	t.n.learn(t.builder)
	t.sh.Counts.add(t.severities)
	t.severities = Severities{}
	return nil
}

// over says whether nothing more is to be expected of the file.
func (t *tail) over(now time.Time, named bool) bool {
	quiet := now.Sub(t.grown)
	switch {
	case named || t.offset < t.size:
		return false
	case t.deleted:
		return quiet >= deletedQuiet
	}
	return quiet >= renamedQuiet
}

func (t *tail) forget() {
	if t.src != nil {
		if err := t.sh.Spool.Forget(t.src); err != nil {
			t.sh.Log.Warn().Err(err).Str("path", t.path).Msg("forgetting a log file")
		}
	}
	t.close()
}

func (t *tail) close() {
	if err := t.f.Close(); err != nil {
		t.sh.Log.Warn().Err(err).Str("path", t.path).Msg("closing a log file")
	}
}

func statID(info fs.FileInfo) (dev, ino uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0
	}
	return uint64(st.Dev), uint64(st.Ino)
}

func links(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(st.Nlink)
}

func owner(info fs.FileInfo) uint32 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ^uint32(0)
	}
	return st.Uid
}
