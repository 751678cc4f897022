// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"time"

	"cloud4.internal/hub/loghub/internal/event"
	"golang.org/x/sys/unix"
)

// scoutBytes is how much of all files that wait is looked through in one look: 16 MiB a second, 2 ms of each 250.
const scoutBytes = 4 << 20

// scouts go ahead of the readers where those are behind, so that what is truncated or deleted before it is read can be told
// in lines. They keep none of it. Each byte is looked at once, mostly while it is in the page cache still.
type scouts struct {
	piece int64     // bytes in one look
	turn  int       // which of Files.hot was the last that a look had bytes for
	at    time.Time // last look
}

// scout is how far a file was looked through, nil where its reader is not behind.
type scout struct {
	to    imprint // the place, and by what the file is known up to it
	lines int64   // ends of lines from the reader's place to this one
	stood stamp   // the file as it was when nothing but zeros stood there
}

// scoutAhead has every file that is behind looked through, as far as a look's bytes reach.
func (f *Files) scoutAhead(now time.Time) {
	f.ahead.at = now
	left, first := f.ahead.piece, f.ahead.turn
	for i := range f.hot {
		f.ahead.turn = (first + i) % len(f.hot)
		t := f.hot[f.ahead.turn]
		left -= t.scoutOn(left)
		t.n.waiting.Store(t.waiting())
		if left <= 0 {
			return
		}
	}
}

// scoutOn looks through some bytes more, about so many at most, and returns how many it read.
func (t *tail) scoutOn(most int64) (read int64) {
	if !t.checked || t.f == nil || t.offset >= t.size || t.held || t.packed {
		return 0
	}
	if t.ahead == nil {
		t.ahead = &scout{to: t.imprint}
	}
	s := t.ahead
	for s.to.at < t.size && read < most && s.stood != t.stamp {
		buf := t.files.buf[:min(int64(len(t.files.buf)), t.size-s.to.at, most-read)]
		n, err := t.f.ReadAt(buf, s.to.at)
		read += int64(n)
		if err != nil || n < len(buf) { // it is truncated at this moment, or cannot be read: the next look sees that
			return read
		}
		s.see(t, buf)
	}
	return read
}

// waiting is how many lines of it are known to wait.
func (t *tail) waiting() int64 {
	if t.ahead == nil {
		return 0
	}
	return t.ahead.lines
}

// see goes on behind data. Zeros are treated as the reader does: those that something follows are passed over, others
// may be written over yet.
func (s *scout) see(t *tail, data []byte) {
	if k := nuls(data); k == len(data) {
		if next, err := t.f.Seek(s.to.at, unix.SEEK_DATA); err == nil && next > s.to.at && next < t.size {
			s.to.addZeros(next - s.to.at)
		} else {
			s.stood = t.stamp
		}
		return
	}
	zeros := nuls(data)
	lines, _ := beforeNULs(data[zeros:], s.to.at+int64(len(data)) >= t.size)
	data = data[:zeros+len(lines)]
	s.lines += int64(bytes.Count(data, []byte{'\n'}))
	s.to.add(data)
}

// passed says that data, the bytes before the place, were read.
func (t *tail) passed(data []byte) {
	switch s := t.ahead; {
	case s == nil:
	case s.to.at <= t.offset:
		t.ahead = nil
	default:
		s.lines -= int64(bytes.Count(data, []byte{'\n'}))
	}
}

// shown is by what the content of a file is known; at 0: nothing was seen of it.
func (t *tail) shown() imprint {
	if t.offset == 0 && t.ahead != nil {
		return t.ahead.to
	}
	return t.imprint
}

// same says whether the file still is what was seen of it.
func (t *tail) same() (bool, error) {
	if t.ahead != nil {
		ok, err := t.ahead.to.proof().holds(t.f)
		if ok || err != nil {
			return ok, err
		}
		if t.offset < headBytes { // too little: every log may begin with it
			return false, nil
		}
	}
	ok, err := t.imprint.proof().holds(t.f)
	if ok { // what was not read is another
		t.ahead = nil
	}
	return ok, err
}

// unread is what stands between the place and size, as far as it was seen.
func (t *tail) unread(size int64, now time.Time) (l event.Loss) {
	lines, counted := int64(0), int64(0)
	if s := t.ahead; s != nil {
		lines, counted = s.lines, min(s.to.at, size)-t.offset
		if s.to.at >= size && s.to.inLine() {
			lines++
		}
	}
	if counted > 0 {
		l.AddLines(event.ReasonUnread, lines, counted, now)
	}
	if rest := size - t.offset - counted; rest > 0 {
		l.AddBytes(event.ReasonUnread, rest, now)
	}
	return l
}
