// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"golang.org/x/sys/unix"
	"hash/crc32"
	"os"
	"path/filepath"
	"time"
)

// Where copytruncate leaves a copy, and when.
const (
	copySlack  = 2 * time.Second  // between the clocks of files and ours, and the length of a look
	copyQuick  = time.Second      // in which a copy of less than copyLarge is followed by the truncation
	copySlow   = 10 * time.Second // and a larger one
	copyLarge  = 8 << 20
	maxBesides = 1000 // files of a directory that are looked at for a copy
)

// anew goes on with a file that holds something else now. What was added to the old content and not read is in the copy
// that was made of it, if there is one; else it is counted.
func (t *tail) anew() error {
	copied, err := t.files.readCopy(t)
	if err != nil {
		return err
	}
	if !copied {
		lose := t.losing(t.before)
		if !t.files.leave(t.asKnown(), t.intact.Add(-copySlack), func(string) { lose() }) {
			lose()
		}
	}
	t.oweLimited()
	t.sh.Log.Info().Str("path", t.path).Int64("read", t.offset).Int64("size", t.size).Bool("copied", copied).
		Msg("log file was " + change(t.size < t.before) + ": it is read anew from its beginning")
	t.offset, t.seq, t.before, t.scanned = 0, 0, t.size, 0
	t.n.position.Store(0)
	t.begin()
	t.checked = true
	return t.update()
}

// asKnown is the file as the spool would remember it.
func (t *tail) asKnown() *known {
	shown := t.shown()
	return &known{key: filePrefix + t.id.String(), id: t.id, aux: t.aux, pos: t.offset, seq: t.seq,
		proof: shown.proof(), proved: true, wanted: true}
}

// readCopy finds the copy of what t held before it was truncated, and has it read on from where t was read to.
func (f *Files) readCopy(t *tail) (bool, error) {
	k := t.asKnown()
	if k.proof.at == 0 { // nothing by which it could be known
		return false, nil
	}
	for _, o := range f.hot { // it matches a pattern
		if o == t || !o.fresh || o.offset > 0 || o.f == nil || o.size < k.proof.at || !sameDir(o.path, t.path) {
			continue
		}
		if ok, err := k.proof.holds(o.f); ok && err == nil {
			return true, f.adopt(o, k)
		}
	}
	c := f.copyBeside(t, k)
	if c == nil {
		return false, nil
	}
	n := f.newTail(c)
	if err := n.start(k); err != nil {
		n.close()
		return false, err
	}
	f.follow(n)
	return true, nil
}

// adopt has a file that was not read yet continue the known one.
func (f *Files) adopt(o *tail, k *known) (err error) {
	f.mu.Lock() // of its path
	o.resume(k)
	f.mu.Unlock()
	o.fresh = false
	if err := o.measure(); err != nil {
		return err
	}
	return o.update()
}

// copyBeside opens the file, matching no pattern, that was made of what t held since t was looked at last.
func (f *Files) copyBeside(t *tail, k *known) *candidate {
	dir := filepath.Dir(t.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	looked := 0
	for _, e := range entries {
		var st unix.Stat_t
		path := filepath.Join(dir, e.Name())
		if !e.Type().IsRegular() || looked >= maxBesides || unix.Lstat(path, &st) != nil {
			continue
		}
		looked++
		id := fileID{uint64(st.Dev), st.Ino}
		if st.Size < k.proof.at || f.tails[id] != nil || time.Unix(st.Ctim.Unix()).Before(t.intact.Add(-copySlack)) {
			continue
		}
		c, err := f.candidate(path, "")
		if err != nil {
			continue
		}
		if ok, err := k.proof.holds(c.f); ok && err == nil {
			return c
		}
		c.close(f.sh.Log)
	}
	return nil
}

// mayBeCopy says whether a new file may be the copy of another that is about to be truncated. Reading it now would make every
// line of it twice.
func (t *tail) mayBeCopy(now time.Time) bool {
	if !t.fresh || t.offset > 0 {
		return false
	}
	wait := copyQuick
	if t.size >= copyLarge {
		wait = copySlow
	}
	t.fresh = now.Sub(t.born) < wait && t.likeAnother()
	return t.fresh
}

// likeAnother says whether a new file begins as another one of its directory that was read further.
func (t *tail) likeAnother() bool {
	head := make([]byte, min(t.size, headBytes))
	if readFull(t.f, head, 0) != nil {
		return false
	}
	sum := crc32.Checksum(head, castagnoli)
	for _, o := range t.files.tails {
		if o == t || o.offset == 0 && o.ahead == nil || !sameDir(o.path, t.path) {
			continue
		}
		shown := o.shown()
		if t.size < shown.at { // the copy is being made
			if len(head) == headBytes && shown.head == sum {
				return true
			}
			continue
		}
		begins := sum
		if shown.at < headBytes {
			begins = crc32.Checksum(head[:shown.at], castagnoli)
		}
		if begins != shown.head {
			continue
		}
		if ok, err := shown.proof().holds(t.f); ok && err == nil {
			return true
		}
	}
	return false
}

func sameDir(a, b string) bool { return filepath.Dir(a) == filepath.Dir(b) }

// change names what happened to a file.
func change(shorter bool) string {
	if shorter {
		return "truncated"
	}
	return "truncated and written again, or replaced"
}

// rawPath is what JSON cannot hold of a path.
func rawPath(path string) []byte {
	if s := fmt.Sprintf("%q", path); len(s) == len(path)+2 {
		return nil
	}
	return []byte(path)
}
