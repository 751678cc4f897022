// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/spool"
	"golang.org/x/sys/unix"
)

// A rotation may compress a file before it was read to its end: while loghub was down, or at once after copytruncate. What is
// left of it is read from there then, one such file after the other, each as a stream: known by the same proof as a plain
// file, from the place where the reader was, under the same uids. It stands in the spool under the compressed file's inode, so
// that a later process goes on. What no compressed file is proved to hold is left to those who asked.

// leastProof is of how many bytes a file must be known: every generation of a log may begin with fewer.
const leastProof = markBytes

// maxPacked is how many compressed files of a directory are looked at for one that was followed.
const maxPacked = 100

// unpackTurn is how much is taken out of a compressed file before others have their turn.
const unpackTurn = 4 << 20

// leftover is what is left of a file that was compressed.
type leftover struct {
	t      *tail // has the place; it is none of Files.tails
	k      *known
	in     []packedFile     // that may hold it, the newest first
	lost   func(why string) // called if none does
	from   *unpacker        // of the first of them; nil: it is not open yet
	proved bool             // it holds what is known
	found  bool             // and was read up to the place
	buf    []byte           // behind the place
	over   error            // why there is nothing behind it
}

type packedFile struct {
	path string
	id   fileID
	at   time.Time // when it was written to before it was compressed
}

// leave has what is left of a known file read from a compressed one, if there is any that may hold it. since is when it was
// not compressed yet. lost is called if none holds it after all.
func (f *Files) leave(k *known, since time.Time, lost func(why string)) bool {
	if !k.proved || k.proof.at < leastProof || slices.ContainsFunc(f.leftovers, k.same) {
		return false
	}
	in := f.packedOf(k, since)
	if len(in) == 0 {
		return false
	}
	l := &leftover{k: k, in: in, lost: lost}
	l.t = &tail{sh: f.sh, files: f, id: in[0].id, path: k.aux.Path, set: k.aux.Set, join: new(join.Joiner), checked: true}
	l.t.resume(k)
	if err := l.keep(f, k.proof); err != nil {
		f.sh.Log.Warn().Err(err).Str("path", k.aux.Path).Msg("keeping the place in a log file that was compressed")
		return false
	}
	f.leftovers = append(f.leftovers, l)
	return true
}

// keep writes down the place under the inode of the compressed file.
func (l *leftover) keep(f *Files, shown proof) (err error) {
	if f.sh.Spool == nil {
		return nil
	}
	st, err := l.t.state()
	if err != nil {
		return err
	}
	st.Proof = l.t.limits.appendUntold(shown.append(nil), l.t.seq, limit.Tally{})
	if l.t.src != nil {
		return f.sh.Spool.Update(l.t.src, st)
	}
	l.t.src, err = f.sh.Spool.Take(l.k.key, filePrefix+l.t.id.String(), st)
	return err
}

// same says whether a leftover is of the same file: a kill may have left its place under two inodes.
func (k *known) same(l *leftover) bool {
	return l.k.aux.ID == k.aux.ID && l.k.aux.Generation == k.aux.Generation
}

// leaveAway does it for the files that an earlier life read and that are not there.
func (f *Files) leaveAway(there func(*known) bool) {
	f.away = slices.DeleteFunc(f.away, func(k *known) bool {
		if !k.wanted || there(k) {
			return false
		}
		if slices.ContainsFunc(f.leftovers, k.same) {
			f.forget(k.key)
			return true
		}
		return f.leave(k, time.Time{}, func(why string) {
			f.tellGone(k)
			if why != "" {
				f.loseRest(k.aux, k.aux.Path, uint64(k.pos), why)
			}
		})
	})
}

// packedOf finds compressed files that are named after a known one, begin as it did, and are not being read.
func (f *Files) packedOf(k *known, since time.Time) (in []packedFile) {
	dir, name := filepath.Split(k.aux.Path)
	stem, _, _ := strings.Cut(strings.TrimPrefix(name, "."), ".")
	entries, err := os.ReadDir(dir)
	if err != nil || stem == "" {
		return nil
	}
	for _, e := range entries {
		name := strings.TrimPrefix(e.Name(), ".")
		if !e.Type().IsRegular() || !strings.HasPrefix(name, stem) || !strings.HasSuffix(name, ".gz") {
			continue
		}
		var st unix.Stat_t
		path := filepath.Join(dir, e.Name())
		if unix.Lstat(path, &st) == nil && !time.Unix(st.Ctim.Unix()).Before(since) {
			in = append(in, packedFile{path, fileID{uint64(st.Dev), st.Ino}, time.Unix(st.Mtim.Unix())})
		}
	}
	slices.SortFunc(in, func(a, b packedFile) int { return b.at.Compare(a.at) })
	in = in[:min(len(in), maxPacked)]
	return slices.DeleteFunc(in, func(p packedFile) bool { return !f.beginsAs(p, k) })
}

// beginsAs says whether a compressed file, that is not being read, begins as a known one did.
func (f *Files) beginsAs(p packedFile, k *known) bool {
	if slices.ContainsFunc(f.leftovers, func(l *leftover) bool { return l.t.id == p.id }) {
		return false
	}
	u, err := f.openPacked(p)
	if err != nil {
		return false
	}
	defer u.close()
	head := make([]byte, min(k.proof.at, headBytes))
	n, err := u.Read(head)
	return n == len(head) && (err == nil || errors.Is(err, io.EOF)) && crc32.Checksum(head, castagnoli) == k.proof.head
}

// openPacked opens a compressed file by the rules for all log files.
func (f *Files) openPacked(p packedFile) (*unpacker, error) {
	c, err := f.candidate(p.path, "")
	if err != nil {
		return nil, err
	}
	var u *unpacker
	if err = errGone; c.id == p.id {
		u, err = unpack(c.f)
	}
	if err != nil {
		return nil, errors.Join(err, c.f.Close())
	}
	return u, nil
}

// readLeft goes on with the first of the leftovers. again says that there is more.
func (f *Files) readLeft() (again bool) {
	if len(f.leftovers) == 0 {
		return false
	}
	l := f.leftovers[0]
	again, err := l.step(f)
	switch {
	case errors.Is(err, spool.ErrFull):
		return false // it stays where it is
	case err != nil:
		f.say(l.k.aux.Path+err.Error(), func() { f.sh.Log.Warn().Err(err).Str("path", l.k.aux.Path).Msg("reading what is left of a log file") })
		return false
	case again:
		return true
	}
	f.leftovers = f.leftovers[1:]
	return len(f.leftovers) > 0
}

// step goes on for a turn. again says that this was not all.
func (l *leftover) step(f *Files) (again bool, err error) {
	for done := 0; done < unpackTurn && l.over == nil; {
		n := 0
		switch {
		case l.from == nil && len(l.in) == 0:
			return false, l.giveUp(f, "")
		case l.from == nil:
			l.open(f)
		case !l.found:
			n, err = l.prove(f)
		default:
			n, err = l.read(f)
		}
		if done += n; err != nil {
			return false, err
		}
	}
	if l.over == nil {
		return true, nil
	}
	return false, l.end(f)
}

// open begins with the first of the files.
func (l *leftover) open(f *Files) {
	u, err := f.openPacked(l.in[0])
	if err != nil {
		l.in = l.in[1:]
		return
	}
	l.from, l.t.imprint = u, imprint{}
	l.buf = make([]byte, 0, readBytes)
}

// prove reads on to the place, and looks whether the file is the known one.
func (l *leftover) prove(f *Files) (n int, err error) {
	at, stop := &l.t.imprint, l.k.pos
	if !l.proved {
		stop = l.k.proof.at
	}
	if at.at < stop {
		part := l.buf[:min(int64(cap(l.buf)), stop-at.at)]
		n, err = l.from.Read(part)
		at.add(part[:n])
		switch {
		case errors.Is(err, errBomb):
			l.over = err
		case n < len(part):
			l.next()
		}
		return n, nil
	}
	switch {
	case l.proved:
		return 0, l.follow(f)
	case at.proof() != l.k.proof:
		l.next()
	default:
		if l.proved = true; at.at > l.k.pos { // it was looked at further than it was read
			l.from.close()
			l.open(f)
		}
	}
	return 0, nil
}

// next gives up the first of the files.
func (l *leftover) next() {
	l.from.close()
	l.from, l.in, l.proved = nil, l.in[1:], false
}

// follow goes on from the place.
func (l *leftover) follow(f *Files) error {
	t := l.t
	if t.imprint.inLine() {
		t.mark = join.InLine(1)
	}
	if err := l.keep(f, t.imprint.proof()); err != nil {
		return err
	}
	l.found = true
	f.mu.Lock()
	f.figures.add(t)
	f.mu.Unlock()
	f.sh.Log.Info().Str("path", t.path).Str("in", l.in[0].path).Int64("read", t.offset).
		Msg("log file was compressed before it was read to its end: it is read on there")
	return nil
}

// read makes records of what comes next. n is how many bytes that is.
func (l *leftover) read(f *Files) (n int, err error) {
	t := l.t
	if len(l.buf) == cap(l.buf) { // a line, or a trace, that is longer
		l.buf = slices.Grow(l.buf, len(l.buf))
	}
	have := len(l.buf)
	n, over := l.from.Read(l.buf[have:cap(l.buf)])
	l.buf = l.buf[:have+n]
	end := join.More
	if over != nil {
		end = join.Over
	}
	if err := l.take(f, end); err != nil {
		return n, err
	}
	l.over = over
	t.n.position.Store(t.offset)
	return n, nil
}

// take makes records of the buffer and commits them.
func (l *leftover) take(f *Files, end join.End) error {
	t := l.t
	t.ready()
	f.sh.Masker.Refresh()
	start := t.offset
	t.next = start
	t.join.Apart = f.apart(t.set)
	t.join.Rewind(t.mark)
	_, err := t.records(l.buf, start, l.buf, end)
	if err == nil {
		err = t.commit(l.buf[t.offset-start : t.next-start])
	}
	l.buf = l.buf[:copy(l.buf, l.buf[t.offset-start:])]
	return err
}

// end lets go of the file, of which all was read that can be.
func (l *leftover) end(f *Files) error {
	why := ""
	switch {
	case errors.Is(l.over, errBomb):
		why = event.ReasonBomb
	case !errors.Is(l.over, io.EOF):
		why = event.ReasonPacked
	}
	if !l.found {
		return l.giveUp(f, why)
	}
	if err := l.t.tellDue(time.Now(), true); err != nil {
		return err
	}
	l.from.close()
	if why != "" {
		f.loseRest(l.t.aux, l.t.path, uint64(l.t.offset), why)
	}
	f.forgetTail(l.t)
	return nil
}

// giveUp says that no compressed file holds it.
func (l *leftover) giveUp(f *Files, why string) error {
	if l.from != nil {
		l.from.close()
	}
	l.lost(why)
	l.t.forget()
	return nil
}

// loseRest owes a loss of nobody knows how many bytes.
func (f *Files) loseRest(aux fileAux, path string, at uint64, why string) {
	now := time.Now()
	f.sh.Log.Warn().Str("path", path).Uint64("read", at).Msg("what is left of a log file that was compressed is lost: " + why)
	f.owe(aux.owed(path, at, event.Loss{Reason: why, First: now, Last: now}))
}
