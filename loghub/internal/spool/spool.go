// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	// restoredIDs are the ids of restored sources in the segments of this run.
	restoredIDs map[string]uint64
	sources     []*Source // registered, by id; nil: forgotten
	active      segment
	number      uint64 // of active
	size        int64  // of active, what is committed
	sizes       map[uint64]int64
	used        int64
	unsynced    []segment // full segments that Sync has to force and close
	dirty       bool      // active was written since the last Sync
	ack         cursor
	backlog     int64
	total       uint64 // records committed since Open
	corrupt     int
	skipped     int64

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
		restored: make(map[string]State), restoredIDs: make(map[string]uint64), sizes: make(map[uint64]int64),
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
		fault("segment-full")
		if err := s.begin(s.number + 1); err != nil {
			return err
		}
	}
	if _, err := s.active.WriteAt(b, s.size); err != nil {
		return fmt.Errorf("writing the spool: %w", err)
	}
	fault("batch-written")
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
		fault("cursor-synced")
	}
	s.ackMu.Unlock()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("forcing the spool to the disk: %w", err)
	}
	fault("sync-done")
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
