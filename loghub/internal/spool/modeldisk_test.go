// SPDX-License-Identifier: AGPL-3.0-or-later

package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
)

const sectorBytes = 512

var errNoSpace = errors.New("no space left on device")

// modelTier is a store whose machine can crash. Of what was written since the last
// Sync of a file a crash leaves any version of each sector that there was; of the
// files made and removed since the directory was forced down, any.
type modelTier struct {
	r       *rand.Rand
	volatil bool // a crash of the machine takes everything
	names   map[uint64]*modelFile
	cur     *modelFile
	forced  map[uint64]*modelFile // names as of the last sync of the directory
	gone    map[uint64]bool       // removed since
	untold  bool                  // one was removed while the cursor could not be forced down

	full    bool // nothing more can be allocated
	late    bool // that is often found out when something is forced down, and takes from the cursor and from unlink too
	refuse  bool // nothing can be forced down
	killIn  int  // operations until the process dies; 0: never
	lazy    bool // trap: Sync does nothing
	lazyDir bool // trap: sync does nothing
}

func newModelTier(r *rand.Rand, volatil bool) *modelTier {
	t := &modelTier{r: r, volatil: volatil}
	t.clear()
	return t
}

func (t *modelTier) clear() {
	t.names, t.forced, t.gone = map[uint64]*modelFile{}, map[uint64]*modelFile{}, map[uint64]bool{}
	t.cur = &modelFile{t: t}
}

// step counts an operation, and says that the process dies in this one.
func (t *modelTier) step() bool {
	if t.killIn == 0 {
		return false
	}
	t.killIn--
	return t.killIn == 0
}

func (t *modelTier) die() {
	if t.step() {
		panic(died{})
	}
}

// crash is what a loss of power does.
func (t *modelTier) crash() {
	if t.volatil {
		t.clear()
		return
	}
	for _, n := range slices.Sorted(maps.Keys(t.names)) {
		if t.forced[n] != t.names[n] && t.r.IntN(2) == 0 {
			delete(t.names, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(t.gone)) {
		if f := t.forced[n]; f != nil && t.r.IntN(2) == 0 {
			t.names[n] = f
		}
	}
	t.forced, t.gone = maps.Clone(t.names), map[uint64]bool{}
	for _, n := range slices.Sorted(maps.Keys(t.names)) {
		t.names[n].crash()
	}
	t.cur.crash()
}

func (t *modelTier) segments() (known, foreign []uint64, err error) {
	return slices.Sorted(maps.Keys(t.names)), nil, nil
}

func (t *modelTier) create(n uint64) (segment, error) {
	t.die()
	if t.names[n] != nil {
		return nil, fs.ErrExist
	}
	if t.full && t.r.IntN(2) == 0 {
		return nil, errNoSpace
	}
	f := &modelFile{t: t}
	t.names[n] = f
	return f, nil
}

func (t *modelTier) open(n uint64) (segment, error) {
	f := t.names[n]
	if f == nil {
		return nil, fs.ErrNotExist
	}
	return f, nil
}

func (t *modelTier) remove(n uint64) error {
	t.die()
	if t.full && t.late && t.r.IntN(4) == 0 {
		return errNoSpace
	}
	t.untold = t.untold || t.cur.behind
	delete(t.names, n)
	t.gone[n] = true
	return nil
}

func (t *modelTier) cursor() (segment, error) { return t.cur, nil }

func (t *modelTier) sync() error {
	t.die()
	if t.full && t.late && t.r.IntN(3) == 0 {
		return errNoSpace
	}
	if !t.lazyDir {
		t.forced, t.gone = maps.Clone(t.names), map[uint64]bool{}
	}
	return nil
}

func (t *modelTier) close() error { return nil }

// modelFile is a file of a modelTier.
type modelFile struct {
	t    *modelTier
	data []byte
	// versions are what the disk may hold of a sector in place of what is in data: its
	// content at the last Sync (nil: the file was shorter) and after each write since.
	versions map[int64][][]byte
	fails    bool // the last write did
	behind   bool // what was written last was not forced down, and that was tried in vain
}

func (f *modelFile) sector(i int64) []byte {
	from := i * sectorBytes
	if from >= int64(len(f.data)) {
		return nil
	}
	return bytes.Clone(f.data[from:min(from+sectorBytes, int64(len(f.data)))])
}

// change applies a write and keeps the versions.
func (f *modelFile) change(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	if f.versions == nil {
		f.versions = map[int64][][]byte{}
	}
	first, last := off/sectorBytes, (off+int64(len(p))-1)/sectorBytes
	for i := first; i <= last; i++ {
		f.versions[i] = append(f.versions[i], f.sector(i))
	}
	if end := int(off) + len(p); end > len(f.data) {
		f.data = append(f.data, make([]byte, end-len(f.data))...)
	}
	copy(f.data[off:], p)
}

func (f *modelFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *modelFile) WriteAt(p []byte, off int64) (int, error) {
	if f.t.step() {
		f.change(p[:f.t.r.IntN(len(p)+1)], off)
		panic(died{})
	}
	if f.t.full && f.t.late && f == f.t.cur && f.t.r.IntN(3) == 0 {
		f.fails, f.behind = true, true
		return 0, errNoSpace
	}
	if room := int64(len(f.data)) - off; f.t.full && int64(len(p)) > room {
		n := max(room, 0)
		n += int64(f.t.r.IntN(len(p) - int(n)))
		f.change(p[:n], off)
		f.fails, f.behind = true, true
		return int(n), errNoSpace
	}
	f.change(p, off)
	f.fails = false
	return len(p), nil
}

func (f *modelFile) Truncate(size int64) error {
	f.t.die()
	if size < int64(len(f.data)) {
		f.change(make([]byte, int64(len(f.data))-size), size)
		f.data = f.data[:size]
	}
	return nil
}

func (f *modelFile) Size() (int64, error) { return int64(len(f.data)), nil }

func (f *modelFile) Sync() error {
	f.t.die()
	if len(f.versions) > 0 && (f.t.refuse || f.t.full && f.t.late && f.t.r.IntN(3) == 0) {
		f.behind = true
		return errNoSpace
	}
	f.behind = f.behind && f.fails
	if !f.t.lazy || f == f.t.cur {
		f.versions = nil
	}
	return nil
}

func (f *modelFile) Close() error { return nil }

// crash leaves any version of each sector.
func (f *modelFile) crash() {
	for _, i := range slices.Sorted(maps.Keys(f.versions)) {
		old := f.versions[i]
		k := f.t.r.IntN(len(old) + 1)
		if k == len(old) {
			continue
		}
		from := i * sectorBytes
		to := min(from+sectorBytes, int64(len(f.data)))
		if from >= to {
			continue
		}
		clear(f.data[from:to])
		copy(f.data[from:to], old[k])
		if to == int64(len(f.data)) { // the end moves back with what was appended there
			f.data = f.data[:from+int64(min(len(old[k]), int(to-from)))]
		}
	}
	f.versions = nil
}
