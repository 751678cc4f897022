// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
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

const filePrefix = "file/"

// headBytes is how much of a file's beginning tells it from another one with
// the same inode.
const headBytes = 1024

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

	builder *event.Builder
	src     *spool.Source
	batch   *spool.Batch
	aux     fileAux

	offset  int64 // committed: the beginning of the first line not framed
	next    int64 // in the batch
	seq     uint64
	size    int64
	grown   time.Time // when the size last changed
	deleted bool
}

// fileAux is what the spool keeps of a file besides its place.
type fileAux struct {
	Path       string `json:"path"`
	Set        string `json:"set"`
	Generation string `json:"gen"`
	Head       int    `json:"head"` // bytes that Sum covers, at most headBytes
	Sum        uint32 `json:"sum"`
}

func parseFileAux(s string) (aux fileAux, ok bool) {
	return aux, json.Unmarshal([]byte(s), &aux) == nil && aux.Generation != ""
}

// resume finds the file's place in the spool, or begins at its first byte.
func (t *tail) resume(size int64) error {
	t.size = size
	if t.sh.Spool == nil { // nobody remembers a place: what is new from now on
		t.offset = size
		t.begin()
		return nil
	}
	st, known := t.sh.Spool.Restored()[filePrefix+t.id.String()]
	if known {
		t.aux, known = parseFileAux(st.Aux)
	}
	if known && int64(st.Pos) <= size && t.sameHead() {
		t.offset, t.seq = int64(st.Pos), st.Seq
		t.path, t.set = t.aux.Path, t.aux.Set
		t.builder = t.newBuilder()
	} else {
		t.begin()
	}
	t.n.position.Store(t.offset)
	return t.register()
}

// begin starts a generation of the file.
func (t *tail) begin() {
	t.aux = fileAux{Path: t.path, Set: t.set, Generation: strconv.FormatInt(time.Now().UnixMicro(), 36)}
	t.builder = t.newBuilder()
}

func (t *tail) newBuilder() *event.Builder {
	return event.New(t.sh.Masker, t.sh.Loc, t.id.String()+"."+t.aux.Generation+"@",
		otlp.KeyValue{Key: event.AttrPath, Value: otlp.String(t.path)},
		otlp.KeyValue{Key: event.AttrFiles, Value: otlp.String(t.set)})
}

func (t *tail) state() (spool.State, error) {
	text, err := json.Marshal(t.aux)
	return spool.State{Aux: string(text), Pos: uint64(t.offset), Seq: t.seq}, err
}

func (t *tail) register() error {
	st, err := t.state()
	if err != nil {
		return err
	}
	if t.src, err = t.sh.Spool.Register(filePrefix+t.id.String(), st); err != nil {
		return err
	}
	t.batch = spool.NewBatch(t.src)
	return nil
}

// sameHead says whether the file begins as it did.
func (t *tail) sameHead() bool {
	sum, err := t.sum(t.aux.Head)
	return err == nil && sum == t.aux.Sum
}

func (t *tail) sum(n int) (uint32, error) {
	buf := make([]byte, n)
	if _, err := t.f.ReadAt(buf, 0); err != nil {
		return 0, err
	}
	return crc32.Checksum(buf, crc32.MakeTable(crc32.Castagnoli)), nil
}

// read takes what was added. again says that there is more.
func (t *tail) read(now time.Time, last bool) (again bool, err error) {
	info, err := t.f.Stat()
	if err != nil {
		return false, err
	}
	t.deleted = links(info) == 0
	if info.Size() != t.size {
		t.size, t.grown = info.Size(), now
	}
	defer func() { t.n.lag.Store(max(t.size-t.offset, 0)) }()
	if t.size < t.offset || now.Equal(t.grown) && t.aux.Head > 0 && !t.sameHead() {
		if err := t.restart(); err != nil {
			return false, err
		}
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
	return t.offset < t.size, t.learnHead()
}

// restart begins a new generation: the file was truncated.
func (t *tail) restart() error {
	t.sh.Log.Info().Str("path", t.path).Int64("read", t.offset).Int64("size", t.size).
		Msg("log file was truncated: it is read anew from its beginning")
	t.offset, t.seq = 0, 0
	t.begin()
	return t.update()
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

// learnHead sums the beginning of the file once it was read, in two steps: as
// soon as there is something, and when it has its full length.
func (t *tail) learnHead() error {
	want := int(min(t.offset, headBytes))
	if t.src == nil || want <= t.aux.Head || t.aux.Head > 0 && want < headBytes {
		return nil
	}
	sum, err := t.sum(want)
	if err != nil {
		return err
	}
	t.aux.Head, t.aux.Sum = want, sum
	return t.update()
}

// chunk reads one buffer, frames its lines and commits them. n is how many bytes
// it got on.
func (t *tail) chunk(now time.Time, last bool) (n int64, err error) {
	buf := t.files.buf
	got, err := t.f.ReadAt(buf, t.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("reading: %w", err)
	}
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
			if err := t.commit(); err != nil {
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
	return t.next - start, t.commit()
}

// line makes the record of one line of taken bytes.
func (t *tail) line(line []byte, taken int64, continues bool) {
	rec := t.builder.Line(line, uint64(t.next), continues)
	t.next += taken
	if rec == nil {
		if t.batch != nil {
			t.batch.Mark(uint64(t.next), t.seq)
		}
		return
	}
	if t.sh.Emit != nil {
		t.sh.Emit("stdout", rec)
	}
	t.n.records.Add(1)
	t.seq++
	if t.batch != nil {
		t.batch.Record(uint64(t.next), t.seq, rec)
	}
}

// commit writes the batch; only then the place moves.
func (t *tail) commit() error {
	if t.batch != nil {
		if err := t.sh.Spool.Commit(t.batch); err != nil {
			t.n.records.Add(-int64(t.batch.Records()))
			t.seq -= uint64(t.batch.Records())
			t.next = t.offset
			t.batch.Reset()
			return err
		}
	}
	t.offset = t.next
	t.n.position.Store(t.offset)
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
