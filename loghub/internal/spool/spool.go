// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Mode says where events wait.
type Mode string

// The modes, in the words that people read.
const (
	OnDisk      Mode = "disk"
	InMemory    Mode = "memory"
	MemoryFirst Mode = "memory first" // and on the disk what waits for long
)

// Options say where a spool lives.
type Options struct {
	Mode        Mode          // default OnDisk with a Dir, else InMemory
	Dir         string        // what waits there is sent in each mode; "": none
	Memory      *os.File      // nil: a memfd of its own, which dies with this process
	Quota       int64         // bytes of all segments, default 64 MiB
	MemoryQuota int64         // of those in memory, default Quota
	Flush       time.Duration // how often Run forces to the disk, default 1 s
	DiskAfter   time.Duration // MemoryFirst: how long events wait in memory alone, default 10 s
	DiskPerDay  int64         // MemoryFirst: bytes written to the disk in 24 hours, default 1 GiB

	// For tests: tiers, clock, and the machine's present life.
	mem, disk store
	now       func() time.Time
	boot      uint64
	segment   int64         // bytes after which the next begins
	pending   int64         // bytes that may wait outside the log …
	patience  time.Duration // … and how long Commit waits for room there
}

func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = InMemory
		if o.Dir != "" || o.disk != nil {
			o.Mode = OnDisk
		}
	}
	setDefault(&o.Quota, 64<<20)
	setDefault(&o.segment, segmentBytes)
	setDefault(&o.MemoryQuota, o.Quota)
	setDefault(&o.Flush, time.Second)
	setDefault(&o.pending, min(pendingBytes, min(o.Quota, o.MemoryQuota)/pendingShare))
	setDefault(&o.patience, o.Flush)
	setDefault(&o.DiskAfter, 10*time.Second)
	setDefault(&o.DiskPerDay, 1<<30)
	if o.now == nil {
		o.now = time.Now
	}
	if o.boot == 0 {
		o.boot = bootID()
	}
	return o
}

func setDefault[T int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// ErrFull is returned by Commit when the quota leaves no room; without records there is room a little longer.
var ErrFull = errors.New("the spool is full")

// Spool is the log. Commit may be called from several goroutines, each with its
// own Batch; Peek and Ack from one.
//
// Locks are taken in the order syncMu, readMu, mu; nobody who holds mu waits for
// the disk to be forced.
type Spool struct {
	o     Options
	mem   store
	disk  store         // nil: none that can be used
	first uint64        // number of the first segment of this run
	more  chan struct{} // holds one token after a Commit
	// urgent and press hold one token for Run: after a record that is an error, and
	// when memory fills.
	urgent, press chan struct{}

	syncMu sync.Mutex // one at a time forces, spills and removes
	stuck  bool       // a file stays that could not be removed, or not be read; guarded by syncMu
	readMu sync.Mutex // held while frames are read, and while what is read from goes away

	mu       sync.Mutex
	restored map[string]State // key → state found at Open and not registered yet
	// restoredIDs are the ids of restored sources in the segments of this run.
	restoredIDs map[string]uint64
	sources     []*Source // registered, by id; nil: forgotten
	segs        map[uint64]*extent
	taken       map[uint64]bool // numbers of segments that are not ours to touch
	active      handle
	used        int64 // bytes of all segments
	doneBytes   int64 // of those in front of the cursor, see held
	doneAt      [3]uint64
	inMem       int64 // of those in memory
	full        []handle
	created     bool // a file was created that the directory does not know for sure
	moved       bool // places or records came since they were last on the disk
	ack         cursor
	backlog     int64
	total       int64 // records committed since Open
	waiting     []waypoint
	corrupt     int
	foreign     int
	skipped     int64
	trouble     trouble
	keptAt      time.Time // when places went to the disk

	queue queue

	cur cursors
	rd  reader
}

// Open opens or makes a spool and starts a new segment in it. What the directory
// holds never makes it fail, nor does a directory that cannot be used: then events
// wait in memory, and Stats say why. Want of descriptors or memory does, when it does not
// pass within a second: what is there must not be taken for lost.
func Open(o Options) (*Spool, error) {
	o = o.withDefaults()
	mem := o.mem
	if mem == nil {
		m, err := newMemStore(o.Memory)
		if err != nil {
			return nil, fmt.Errorf("opening the spool: %w", err)
		}
		mem = m
	}
	for wait := openWait; ; wait *= 2 {
		s, err := try(o, mem)
		if err == nil {
			return s, nil
		}
		if !passes(err) || wait > openWaitMost {
			return nil, errors.Join(fmt.Errorf("opening the spool: %w", err), mem.close())
		}
		time.Sleep(wait)
	}
}

// Between tries of Open: all in all 1.27 s.
const openWait, openWaitMost = 10 * time.Millisecond, 640 * time.Millisecond

// try is Open once. mem stays open after an error.
func try(o Options, mem store) (*Spool, error) {
	s := &Spool{
		o: o, mem: mem, disk: o.disk,
		more: make(chan struct{}, 1), urgent: make(chan struct{}, 1), press: make(chan struct{}, 1),
		restored: make(map[string]State), restoredIDs: make(map[string]uint64),
		segs: make(map[uint64]*extent), taken: make(map[uint64]bool),
		queue: queue{room: make(chan struct{}, 1)},
	}
	if s.disk == nil && o.Dir != "" {
		d, err := openDirStore(o.Dir, o.Mode == InMemory)
		switch {
		case passes(err):
			return nil, err
		case err != nil:
			s.trouble.disk(err)
		case d != nil:
			s.disk = d
		}
	}
	err := s.load()
	if err != nil && s.cur.disk != nil {
		err = errors.Join(err, s.cur.disk.Close())
	}
	return s, err
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

// Take registers a source that was restored under another key. That one is
// forgotten in the same write.
func (s *Spool) Take(old, key string, st State) (*Source, error) {
	if old == key {
		return s.Register(key, st)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	src := &Source{key: key, id: uint64(len(s.sources)), state: st}
	src.state.Carry = slices.Clone(st.Carry)
	if err := s.write(s.appendForgetRestored(appendSource(nil, src.id, key, st), old)); err != nil {
		return nil, fmt.Errorf("registering %s: %w", key, err)
	}
	delete(s.restored, old)
	delete(s.restored, key)
	s.sources = append(s.sources, src)
	return src, nil
}

// Update changes what the source wants to find again.
func (s *Spool) Update(src *Source, st State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.logPending(); err != nil { // the place is behind its records
		return fmt.Errorf("updating %s: %w", src.key, err)
	}
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
	if err := s.logPending(); err != nil {
		return fmt.Errorf("forgetting %s: %w", src.key, err)
	}
	b, at := beginFrame(nil, kindForget, 0)
	b = binary.AppendUvarint(b, src.id)
	endFrame(b, at)
	s.sources[src.id] = nil
	return s.write(b)
}

// ForgetRestored drops a source that was found at Open and is gone.
func (s *Spool) ForgetRestored(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.restored[key]; !ok {
		return nil
	}
	if err := s.write(s.appendForgetRestored(nil, key)); err != nil {
		return fmt.Errorf("forgetting %s: %w", key, err)
	}
	delete(s.restored, key)
	return nil
}

func (s *Spool) appendForgetRestored(dst []byte, key string) []byte {
	if _, ok := s.restored[key]; !ok {
		return dst
	}
	dst, at := beginFrame(dst, kindForget, 0)
	dst = binary.AppendUvarint(dst, s.restoredID(key))
	endFrame(dst[at:], 0)
	return dst
}

// Commit writes the batch and empties it. When it returns nil the frames
// survive the death of this process, but for those of a batch whose source can be
// read again: then its place does not count either until they are acknowledged or written.
// After an error nothing was committed and the batch is as it was.
func (s *Spool) Commit(b *Batch) error {
	if len(b.buf) == 0 {
		return nil
	}
	if done, err := s.offer(b); done || err != nil {
		return err
	}
	seal(b.buf)
	s.mu.Lock()
	if s.crowded(b) {
		s.mu.Unlock()
		return ErrFull
	}
	err := s.write(b.buf)
	if err == nil {
		b.apply()
		s.came(b.records)
	}
	pressed := s.pressed()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if b.records > 0 {
		signal(s.more)
	}
	if b.urgent {
		signal(s.urgent)
	}
	if pressed {
		signal(s.press)
	}
	b.Reset()
	return nil
}

// came counts records that were written to the log. mu is held.
func (s *Spool) came(records int) {
	s.backlog += int64(records)
	s.total += int64(records)
	if records > 0 {
		s.segs[s.active.number].records = true
	}
}

// signal leaves a token, unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// write appends frames to the active segment, or to the next when that is full.
// A disk that takes nothing more is left for memory.
func (s *Spool) write(b []byte) error {
	if len(b) > maxBatchBytes {
		return fmt.Errorf("writing the spool: %d bytes at once, at most %d", len(b), maxBatchBytes)
	}
	if s.isFull(len(b)) {
		fault("segment-full")
		if err := s.begin(s.active.number + 1); err != nil {
			return err
		}
	}
	err := s.put(b)
	if err != nil && s.active.disk {
		s.diskFailed(err)
		if err := s.begin(s.active.number + 1); err != nil {
			return err
		}
		err = s.put(b)
	}
	return err
}

// isFull says whether the active segment has no room for n bytes more. Where thousands of sources make its head large, it
// grows with it: most of what is written is to be records.
func (s *Spool) isFull(n int) bool {
	room := max(s.o.segment, headShare*s.segs[s.active.number].head)
	return s.active.size >= room || s.active.size+int64(n) > strideBytes
}

// put appends to the active segment. What a write cut short has left is taken
// away: it was not committed, and the next one may be shorter.
func (s *Spool) put(b []byte) error {
	a := &s.active
	if _, err := a.seg.WriteAt(b, a.size); err != nil {
		_ = a.seg.Truncate(a.size)
		return fmt.Errorf("writing the spool: %w", err)
	}
	fault("batch-written")
	n := int64(len(b))
	a.size += n
	x := s.segs[a.number]
	x.size = a.size
	if a.disk {
		x.disk = a.size
	} else {
		s.inMem += n
	}
	s.used += n
	s.moved = true
	return nil
}

// More holds a token when records were committed since it was last received from.
func (s *Spool) More() <-chan struct{} { return s.more }
