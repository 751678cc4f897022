// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// strideBytes is the distance of the segments in the memory store.
const strideBytes = 8 << 20

// memStore keeps the segments in one memory file, at multiples of strideBytes;
// the cursor has the stride before the first. A free stretch is a hole. It is
// written and read with pwrite and pread, not mapped: 64 KiB into fresh pages took 35 to
// 70 µs by pwrite and 250 to 480 µs through a mapping, whose pages are faulted in one
// by one, and which would count as the process's own.
type memStore struct {
	f       *os.File
	slots   map[uint64]int64 // segment's number → its slot, 1 and up
	foreign map[uint64]int64 // those of a version we do not know
}

// stretch is a segment of a memStore.
type stretch struct {
	f    *os.File
	base int64
}

func (s stretch) ReadAt(p []byte, off int64) (int, error) { return s.f.ReadAt(p, s.base+off) }
func (s stretch) Sync() error                             { return nil }
func (s stretch) Close() error                            { return nil }

// WriteAt writes nothing that would reach into the next stretch: heads of very many sources are large.
func (s stretch) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > strideBytes {
		return 0, fmt.Errorf("a segment in memory has room for %d bytes, not for %d at %d", int64(strideBytes), len(p), off)
	}
	return s.f.WriteAt(p, s.base+off)
}
func (s stretch) Truncate(size int64) error {
	return punch(s.f, s.base+size, strideBytes-size)
}

// Size is where the last data of the stretch ends.
func (s stretch) Size() (int64, error) {
	fd, at, end := int(s.f.Fd()), s.base, s.base
	for {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) || err == nil && data >= s.base+strideBytes {
			return end - s.base, nil
		}
		if err != nil {
			return 0, err
		}
		if end, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
			return 0, err
		}
		end = min(end, s.base+strideBytes)
		at = end
	}
}

// newMemStore takes over f, or makes a memfd of its own when f is nil.
func newMemStore(f *os.File) (*memStore, error) {
	if f == nil {
		fd, err := unix.MemfdCreate("loghub-spool", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("making a memory file: %w", err)
		}
		f = os.NewFile(uintptr(fd), "memory spool")
	}
	m := &memStore{f: f, slots: make(map[uint64]int64), foreign: make(map[uint64]int64)}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var head [headerBytes]byte
	for slot := int64(1); slot*strideBytes < info.Size(); slot++ {
		if _, err := f.ReadAt(head[:], slot*strideBytes); err != nil {
			continue
		}
		n, v, ok := parseHeader(head[:])
		switch {
		case ok && v > version:
			m.foreign[n] = slot
		case ok:
			m.slots[n] = slot
		}
	}
	return m, nil
}

func (m *memStore) segments() (known, foreign []uint64, err error) {
	for n := range m.slots {
		known = append(known, n)
	}
	for n := range m.foreign {
		foreign = append(foreign, n)
	}
	slices.Sort(known)
	slices.Sort(foreign)
	return known, foreign, nil
}

func (m *memStore) create(n uint64) (segment, error) {
	if m.slots[n] != 0 || m.foreign[n] != 0 {
		return nil, fs.ErrExist
	}
	used := make(map[int64]bool, len(m.slots)+len(m.foreign))
	for _, slot := range m.slots {
		used[slot] = true
	}
	for _, slot := range m.foreign {
		used[slot] = true
	}
	slot := int64(1)
	for used[slot] {
		slot++
	}
	// A process that died between a failed header and its end may have left bytes.
	if err := punch(m.f, slot*strideBytes, strideBytes); err != nil {
		return nil, err
	}
	m.slots[n] = slot
	return stretch{m.f, slot * strideBytes}, nil
}

func (m *memStore) open(n uint64) (segment, error) {
	slot, ok := m.slots[n]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return stretch{m.f, slot * strideBytes}, nil
}

func (m *memStore) remove(n uint64) error {
	slot, ok := m.slots[n]
	if !ok {
		return nil
	}
	delete(m.slots, n)
	return punch(m.f, slot*strideBytes, strideBytes)
}

// punch gives pages back.
func punch(f *os.File, off, size int64) error {
	if size <= 0 {
		return nil
	}
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, size)
}

func (m *memStore) cursor() (segment, error) { return stretch{m.f, 0}, nil }
func (m *memStore) sync() error              { return nil }
func (m *memStore) close() error             { return m.f.Close() }
