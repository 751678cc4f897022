// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

// Options say where a spool lives. With Dir it is on disk; else in memory, in
// Memory if that is not nil.
type Options struct {
	Dir    string
	Memory *os.File
	Quota  int64         // bytes of all segments, default 64 MiB
	Flush  time.Duration // how often Run forces to the disk, default 1 s
}

// Stats are the spool's figures at one moment.
type Stats struct {
	Bytes    int64 `json:"bytes"`    // of all segments
	Quota    int64 `json:"quota"`    // bytes
	Segments int   `json:"segments"` //
	Backlog  int64 `json:"backlog"`  // records not acknowledged
	Corrupt  int   `json:"corrupt"`  // places where frames failed their checksum, and segments of another version
	Skipped  int64 `json:"skipped"`  // bytes passed over there
}

// ErrFull is returned by Commit when the quota leaves no room.
var ErrFull = errors.New("the spool is full")

// Spool is the log. Commit may be called from several goroutines, each with its
// own Batch; Peek and Ack from one.
type Spool struct {
	store store
	quota int64
	flush time.Duration
	first uint64        // number of the first segment of this run
	more  chan struct{} // holds one token after a Commit

	mu       sync.Mutex
	restored map[string]State // key → state found at Open and not registered yet
	sources  []*Source        // registered, by id; nil: forgotten
	active   segment
	number   uint64 // of active
	size     int64  // of active, what is committed
	sizes    map[uint64]int64
	used     int64
	unsynced []segment // full segments that Sync has to force and close
	dirty    bool      // active was written since the last Sync
	ack      cursor
	backlog  int64
	total    uint64 // records committed since Open
	corrupt  int
	skipped  int64

	syncMu sync.Mutex // one Sync at a time, since it closes full segments

	curFile  segment // guarded by ackMu, as is what follows
	ackMu    sync.Mutex
	gen      uint64
	curDirty bool

	rd reader
}

// Open opens or makes a spool and starts a new segment in it.
func Open(o Options) (*Spool, error) {
	s := &Spool{
		quota: o.Quota, flush: o.Flush, more: make(chan struct{}, 1),
		restored: make(map[string]State), sizes: make(map[uint64]int64),
	}
	if s.quota <= 0 {
		s.quota = 64 << 20
	}
	if s.flush <= 0 {
		s.flush = time.Second
	}
	var err error
	if o.Dir != "" {
		s.store, err = newDirStore(o.Dir)
	} else {
		s.store, err = newMemStore(o.Memory)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the spool: %w", err)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the spool: %w", err), s.store.close())
	}
	return s, nil
}

// load reads everything that is there, then begins the next segment.
func (s *Spool) load() error {
	var err error
	if s.curFile, err = s.store.cursor(); err != nil {
		return err
	}
	s.ack, s.gen, _ = readCursor(s.curFile)
	numbers, err := s.store.segments()
	if err != nil {
		return err
	}
	next := s.ack.segment + 1
	for _, n := range numbers {
		next = max(next, n+1)
		size, err := s.loadSegment(n)
		if err != nil {
			return err
		}
		if size == 0 { // of another version: kept for whoever can read it
			continue
		}
		s.sizes[n] = size
		s.used += size
	}
	if len(numbers) > 0 && s.ack.before(cursor{numbers[0], headerBytes}) {
		s.ack = cursor{numbers[0], headerBytes}
	}
	if err := s.begin(next); err != nil {
		return err
	}
	s.first = next
	if err := s.Sync(); err != nil { // positions stand in the new segment: now the old ones may go
		return err
	}
	s.rd.at = s.ack
	if s.backlog > 0 {
		s.more <- struct{}{}
	}
	return s.retire()
}

// loadSegment takes positions and counts from an old segment. What cannot be
// read in it is counted, never an error.
func (s *Spool) loadSegment(n uint64) (size int64, err error) {
	seg, err := s.store.open(n)
	if err != nil {
		return 0, err
	}
	defer seg.Close()
	if size, err = seg.Size(); err != nil {
		return 0, err
	}
	if foreign(seg) {
		s.corrupt++
		return 0, nil
	}
	names := make(map[uint64]string)
	var sc scanner
	sc.reset(seg, headerBytes, size)
	for {
		at := sc.off
		f, err := sc.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.corrupt++
			}
			break
		}
		if f.kind == kindRecord && !(cursor{n, at}).before(s.ack) {
			s.backlog++
		}
		s.restore(names, f)
	}
	s.corrupt += sc.holes
	s.skipped += sc.skipped
	return max(sc.off, headerBytes), nil
}

// foreign says whether a segment is one of ours in a version we do not know.
func foreign(seg segment) bool {
	var head [headerBytes]byte
	if _, err := seg.ReadAt(head[:], 0); err != nil {
		return false
	}
	_, ok := parseHeader(head[:])
	return !ok && string(head[:4]) == "CLSG"
}

// restore follows the positions through one frame.
func (s *Spool) restore(names map[uint64]string, f frame) {
	var p place
	if f.kind == kindSource {
		rest, ok := uvarints(f.payload, &p.source, &p.pos, &p.seq)
		key, rest, ok1 := blob(rest)
		aux, rest, ok2 := blob(rest)
		carry, _, ok3 := blob(rest)
		if ok && ok1 && ok2 && ok3 {
			names[p.source] = string(key)
			s.restored[string(key)] = State{Aux: string(aux), Pos: p.pos, Seq: p.seq, Carry: append([]byte(nil), carry...)}
		}
		return
	}
	into := []*uint64{&p.source, &p.pos, &p.seq}
	if f.kind == kindCarry {
		into = into[:2]
	}
	if f.kind == kindForget {
		into = into[:1]
	}
	rest, ok := uvarints(f.payload, into...)
	key, known := names[p.source]
	if !ok || !known {
		return
	}
	st := s.restored[key]
	switch f.kind {
	case kindForget:
		delete(s.restored, key)
		return
	case kindCarry:
		st.Pos = p.pos
		st.Carry = append(st.Carry, rest...)
	default:
		st.Pos, st.Seq, st.Carry = p.pos, p.seq, nil
	}
	s.restored[key] = st
}

// begin starts segment n with a source frame for each source. s.mu is held, or
// nobody else knows s yet.
func (s *Spool) begin(n uint64) error {
	seg, err := s.store.create(n)
	if err != nil {
		return fmt.Errorf("beginning segment %d: %w", n, err)
	}
	head := appendHeader(nil, n)
	for _, src := range s.sources {
		if src != nil {
			head = appendSource(head, src.id, src.key, src.state)
		}
	}
	// What was not registered yet keeps its place under ids above those in use.
	id := uint64(1) << 32
	for key, st := range s.restored {
		head = appendSource(head, id, key, st)
		id++
	}
	if _, err := seg.WriteAt(head, 0); err != nil {
		return errors.Join(fmt.Errorf("beginning segment %d: %w", n, err), seg.Close(), s.store.remove(n))
	}
	if s.active != nil {
		s.unsynced = append(s.unsynced, s.active)
	}
	s.active, s.number, s.size, s.dirty = seg, n, int64(len(head)), true
	if s.backlog == 0 { // a log of marks alone must not grow either
		s.ack = cursor{n, headerBytes}
	}
	s.sizes[n] = s.size
	s.used += s.size
	return nil
}

func appendSource(dst []byte, id uint64, key string, st State) []byte {
	dst, at := beginFrame(dst, kindSource, 0)
	dst = binary.AppendUvarint(dst, id)
	dst = binary.AppendUvarint(dst, st.Pos)
	dst = binary.AppendUvarint(dst, st.Seq)
	dst = appendBlob(dst, []byte(key))
	dst = appendBlob(dst, []byte(st.Aux))
	dst = appendBlob(dst, st.Carry)
	endFrame(dst, at)
	return dst
}

// Restored returns the sources found at Open that were not registered since.
func (s *Spool) Restored() map[string]State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]State, len(s.restored))
	for k, v := range s.restored {
		v.Carry = slices.Clone(v.Carry)
		out[k] = v
	}
	return out
}

// Register makes a source known under key, beginning at st. It replaces what
// was restored for the key.
func (s *Spool) Register(key string, st State) (*Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := &Source{key: key, id: uint64(len(s.sources)), state: st}
	src.state.Carry = slices.Clone(st.Carry)
	if err := s.write(appendSource(nil, src.id, key, st)); err != nil {
		return nil, fmt.Errorf("registering %s: %w", key, err)
	}
	delete(s.restored, key)
	s.sources = append(s.sources, src)
	return src, nil
}

// Update changes what the source wants to find again.
func (s *Spool) Update(src *Source, st State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(appendSource(nil, src.id, src.key, st)); err != nil {
		return fmt.Errorf("updating %s: %w", src.key, err)
	}
	src.state = st
	src.state.Carry = slices.Clone(st.Carry)
	return nil
}

// Forget drops a source; its records stay.
func (s *Spool) Forget(src *Source) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, at := beginFrame(nil, kindForget, 0)
	b = binary.AppendUvarint(b, src.id)
	endFrame(b, at)
	s.sources[src.id] = nil
	return s.write(b)
}

// ForgetRestored drops a source that was found at Open and is gone.
func (s *Spool) ForgetRestored(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.restored, key)
}

// Commit writes the batch and empties it. When it returns nil the frames
// survive the death of this process. After an error nothing was committed and
// the batch is as it was.
func (s *Spool) Commit(b *Batch) error {
	if len(b.buf) == 0 {
		return nil
	}
	s.mu.Lock()
	if b.records > 0 && s.used+int64(len(b.buf)) > s.quota {
		s.mu.Unlock()
		return ErrFull
	}
	err := s.write(b.buf)
	if err == nil {
		b.apply()
		s.backlog += int64(b.records)
		s.total += uint64(b.records)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if b.records > 0 {
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
	b.Reset()
	return nil
}

// write appends frames to the active segment, or to the next when that is full.
// A write cut short leaves bytes behind the committed size; the next one goes over them.
func (s *Spool) write(b []byte) error {
	if len(b) > maxBatchBytes {
		return fmt.Errorf("writing the spool: %d bytes at once, at most %d", len(b), maxBatchBytes)
	}
	if s.size >= segmentBytes || s.size+int64(len(b)) > strideBytes {
		if err := s.begin(s.number + 1); err != nil {
			return err
		}
	}
	if _, err := s.active.WriteAt(b, s.size); err != nil {
		return fmt.Errorf("writing the spool: %w", err)
	}
	s.size += int64(len(b))
	s.sizes[s.number] = s.size
	s.used += int64(len(b))
	s.dirty = true
	return nil
}

// Fill is how much of the quota is used, 0 to 1 and a little above.
func (s *Spool) Fill() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return float64(s.used) / float64(s.quota)
}

// More holds a token when records were committed since it was last received from.
func (s *Spool) More() <-chan struct{} { return s.more }

// Stats returns the figures.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Bytes: s.used, Quota: s.quota, Segments: len(s.sizes), Backlog: s.backlog, Corrupt: s.corrupt, Skipped: s.skipped}
}

// Sync forces everything committed so far to the disk.
func (s *Spool) Sync() error {
	s.syncMu.Lock()
	defer s.syncMu.Unlock()
	s.mu.Lock()
	full, active, dirty := s.unsynced, s.active, s.dirty
	s.unsynced, s.dirty = nil, false
	s.mu.Unlock()
	var errs []error
	for _, seg := range full {
		errs = append(errs, seg.Sync(), seg.Close())
	}
	if dirty {
		errs = append(errs, active.Sync())
	}
	s.ackMu.Lock()
	if s.curDirty {
		s.curDirty = false
		errs = append(errs, s.curFile.Sync())
	}
	s.ackMu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("forcing the spool to the disk: %w", err)
	}
	return nil
}

// Run forces the spool to the disk at every interval until ctx is done. report
// hears of errors, and of nil after one.
func (s *Spool) Run(ctx context.Context, report func(error)) {
	tick := time.NewTicker(s.flush)
	defer tick.Stop()
	bad := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := errors.Join(s.Sync(), s.retire()); err != nil || bad {
			report(err)
			bad = err != nil
		}
	}
}

// Close forces everything to the disk and lets go of it.
func (s *Spool) Close() error {
	err := s.Sync()
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(err, s.active.Close(), s.rd.close(), s.curFile.Close(), s.store.close())
}
