// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// store is where segments live: a directory, or a memfd.
type store interface {
	segments() ([]uint64, error) // numbers, ascending
	create(n uint64) (segment, error)
	open(n uint64) (segment, error)
	remove(n uint64) error
	cursor() (segment, error) // opened once, kept
	close() error
}

// segment is one stretch of the log, or the cursor.
type segment interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error) // how far there may be data
	Sync() error
	Close() error
}

// dirStore keeps each segment in a file <dir>/<number>.seg.
type dirStore struct{ dir string }

// file is a segment of a dirStore.
type file struct{ *os.File }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f file) Sync() error { return unix.Fdatasync(int(f.Fd())) }

func newDirStore(dir string) (*dirStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &dirStore{dir: dir}, nil
}

func (d *dirStore) path(n uint64) string {
	return filepath.Join(d.dir, fmt.Sprintf("%016x.seg", n))
}

func (d *dirStore) segments() ([]uint64, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".seg")
		if !ok || len(name) != 16 {
			continue
		}
		n, err := strconv.ParseUint(name, 16, 64)
		if err != nil {
			continue
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}

func (d *dirStore) create(n uint64) (segment, error) {
	f, err := os.OpenFile(d.path(n), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d *dirStore) open(n uint64) (segment, error) {
	f, err := os.Open(d.path(n))
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d *dirStore) remove(n uint64) error {
	if err := os.Remove(d.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *dirStore) cursor() (segment, error) {
	f, err := os.OpenFile(filepath.Join(d.dir, "cursor"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (d *dirStore) close() error { return nil }

// memStore keeps the segments in one memory file, at multiples of strideBytes;
// the cursor has the stride before the first. A free stretch is a hole.
type memStore struct {
	f     *os.File
	slots map[uint64]int64 // segment's number → its slot, 1 and up
}

// stretch is a segment of a memStore.
type stretch struct {
	f    *os.File
	base int64
}

func (s stretch) ReadAt(p []byte, off int64) (int, error)  { return s.f.ReadAt(p, s.base+off) }
func (s stretch) WriteAt(p []byte, off int64) (int, error) { return s.f.WriteAt(p, s.base+off) }
func (s stretch) Sync() error                              { return nil }
func (s stretch) Close() error                             { return nil }

func (s stretch) Size() (int64, error) {
	info, err := s.f.Stat()
	if err != nil {
		return 0, err
	}
	return max(0, min(info.Size()-s.base, strideBytes)), nil
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
	m := &memStore{f: f, slots: make(map[uint64]int64)}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var head [headerBytes]byte
	for slot := int64(1); slot*strideBytes < info.Size(); slot++ {
		if _, err := f.ReadAt(head[:], slot*strideBytes); err != nil {
			continue
		}
		if n, ok := parseHeader(head[:]); ok {
			m.slots[n] = slot
		}
	}
	return m, nil
}

func (m *memStore) segments() ([]uint64, error) {
	var out []uint64
	for n := range m.slots {
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}

func (m *memStore) create(n uint64) (segment, error) {
	used := make(map[int64]bool, len(m.slots))
	for _, slot := range m.slots {
		used[slot] = true
	}
	slot := int64(1)
	for used[slot] {
		slot++
	}
	// A process that died between a failed header and its end may have left bytes.
	if err := m.punch(slot); err != nil {
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
	return m.punch(slot)
}

func (m *memStore) punch(slot int64) error {
	return unix.Fallocate(int(m.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, slot*strideBytes, strideBytes)
}

func (m *memStore) cursor() (segment, error) { return stretch{m.f, 0}, nil }
func (m *memStore) close() error             { return m.f.Close() }

// appendHeader appends the header of segment n; parseHeader reads one.
func appendHeader(dst []byte, n uint64) []byte {
	dst = append(dst, "CLSG"...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	return binary.LittleEndian.AppendUint64(dst, n)
}

func parseHeader(b []byte) (n uint64, ok bool) {
	if len(b) < headerBytes || string(b[:4]) != "CLSG" || binary.LittleEndian.Uint32(b[4:]) != version {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b[8:]), true
}

// cursor is a place in the log: everything before it is acknowledged.
type cursor struct {
	segment uint64
	offset  int64
}

// before says whether c stands in front of d.
func (c cursor) before(d cursor) bool {
	return c.segment < d.segment || c.segment == d.segment && c.offset < d.offset
}

const slotBytes = 64 // distance of the two slots of the cursor; 28 bytes are used

// readCursor returns the newer valid slot. ok is false when neither is.
func readCursor(s segment) (c cursor, generation uint64, ok bool) {
	for i := range int64(2) {
		var b [28]byte
		if _, err := s.ReadAt(b[:], i*slotBytes); err != nil {
			continue
		}
		if crc32.Checksum(b[:24], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(b[24:]) {
			continue
		}
		if g := binary.LittleEndian.Uint64(b[:]); g > generation {
			generation, ok = g, true
			c.segment = binary.LittleEndian.Uint64(b[8:])
			c.offset = int64(binary.LittleEndian.Uint64(b[16:]))
		}
	}
	return c, generation, ok
}

// writeCursor writes the slot of this generation; the other one stays good.
func writeCursor(s segment, c cursor, generation uint64) error {
	b := make([]byte, 0, 28)
	b = binary.LittleEndian.AppendUint64(b, generation)
	b = binary.LittleEndian.AppendUint64(b, c.segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.offset))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	_, err := s.WriteAt(b, int64(generation%2)*slotBytes)
	return err
}
