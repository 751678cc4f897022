// SPDX-License-Identifier: AGPL-3.0-or-later

package join

import (
	"cloud4.internal/hub/loghub/internal/frame"
)

// Bounds of one record.
const (
	MaxLines = 1000
	MaxBytes = frame.MaxLine // with the ends of the lines
	// maxUnsure is how many lines are held that may turn out not to belong to those before them.
	maxUnsure = 16
)

// End says what is known of the bytes behind data.
type End uint8

// Ends.
const (
	More  End = iota // they may come at any moment
	Quiet            // none came for so long that what is held is taken as it stands
	Over             // none will come
)

// Group is one record's part of the data.
type Group struct {
	Text  []byte // the lines without the end of the last; shares the data
	Bytes int    // how many bytes of data they take
	Lines int
	Part  int   // from 2 on: the lines go on with those of the group before
	Cut   bool  // a limit cut the lines: they may go on in the next group
	Trace Trace // what was thrown; zero for other lines

	Piece int  // from 1 on: a line comes in pieces, and this is one
	Open  bool // another piece of the (last) line may follow
}

// Joiner finds the groups in the bytes of one stream. The zero Joiner is ready; one goroutine uses it.
type Joiner struct {
	Group Group // what the last Take found
	Apart bool  // each line is a record of its own

	at Mark // what is known at the beginning of data

	now   state // behind what was judged
	trace Trace // of what was judged
	held  int   // bytes of the lines judged
	seen  int   // bytes behind them that hold no end of a line

	lines  int   // that belong together for certain
	bytes  int   // of them
	sure   Trace // of them
	unsure int   // lines behind them that may belong to them
}

// Mark is what a Joiner remembers from one group to the next.
type Mark struct {
	state state // where the lines before left the machine
	part  int   // groups that were taken of a trace that may go on
	piece int   // pieces that were taken of a line that goes on
}

// InLine is the mark of a place in the middle of a line of which so many pieces were taken.
func InLine(pieces int) Mark { return Mark{piece: pieces} }

// Pieces is how many pieces were taken of the line that goes on at the mark; 0: a line begins there.
func (m Mark) Pieces() int { return m.piece }

// Mark returns what is known at the beginning of data.
func (j *Joiner) Mark() Mark { return j.at }

// Rewind forgets what was judged: the data from the mark on is given again.
func (j *Joiner) Rewind(m Mark) { j.from(m) }

// Held is how many lines wait for those behind them; sure says that they are a trace.
func (j *Joiner) Held() (lines int, sure bool) {
	return j.lines + j.unsure, j.lines > 1 || j.at.part > 0
}

// Take finds the first group in data, which begins where the group before ended and holds all that was read since. It
// puts it into j.Group and says whether there is one; if not, all of data has to wait for more.
func (j *Joiner) Take(data []byte, end End) bool {
	for {
		line, n, cut := frame.Next(data[j.held:], j.seen)
		if n == 0 && !cut {
			j.seen = len(data) - j.held
			switch {
			case j.lines > 0 && len(data) > MaxBytes:
				j.overflow(data)
				return true
			case end == More || len(data) == 0:
				return false
			}
			return j.last(data, end)
		}
		j.seen = 0
		switch {
		case j.lines > 0 && j.held+n > MaxBytes:
			j.overflow(data)
			return true
		case cut || j.at.piece > 0:
			j.piece(line, n, cut)
			return true
		case j.Apart, j.now.in == idle && plain(line):
			j.one(line, n)
			return true
		}
		if j.judge(data, frame.Trim(line), n) {
			return true
		}
	}
}

// last takes a group although nothing may be known of what follows.
func (j *Joiner) last(data []byte, end End) bool {
	line := data[j.held:]
	switch {
	case len(line) == 0:
		j.release(data, true)
		return true
	case j.at.piece > 0, j.lines == 0 && (j.Apart || blank(line)):
		j.piece(line, len(line), end == Quiet)
		return true
	}
	if !j.judge(data, frame.Trim(line), len(line)) { // it is held
		j.release(data, j.unsure == 0)
	}
	if end == Quiet && j.Group.Bytes == len(data) {
		j.Group.Piece, j.Group.Open = 1, true
		j.at.piece = 1
	}
	return true
}

// one takes a line that has nothing to do with others.
func (j *Joiner) one(line []byte, n int) {
	j.Group = Group{Text: line, Bytes: n, Lines: 1}
	j.at, j.now = Mark{}, state{}
}

// piece takes a part of a line. Of holes in a file, which are blank, no pieces are counted.
func (j *Joiner) piece(line []byte, n int, open bool) {
	m := j.at
	if m.piece == 0 {
		m = Mark{}
	}
	j.Group = Group{Text: line, Bytes: n, Lines: 1}
	if m.part > 0 {
		m.part++
		j.Group.Part = m.part
	}
	if m.piece > 0 || !blank(line) {
		m.piece++
		j.Group.Piece, j.Group.Open = m.piece, open
	}
	if !open {
		m.piece = 0
	}
	j.from(m)
}

// judge asks the machine about the next line. It says whether that made a group.
func (j *Joiner) judge(data, line []byte, n int) bool {
	if j.lines+j.unsure >= MaxLines {
		j.full(data, line)
		return true
	}
	verdict := no
	if j.now.in != idle {
		verdict = j.next(data, line)
		if verdict == maybe && (j.lines == 0 || j.unsure == j.now.patience()) {
			verdict = no
		}
	}
	switch {
	case verdict != no:
		j.hold(verdict, n)
		if verdict == final {
			j.release(data, false)
			return true
		}
		return false
	case j.lines > 0:
		j.release(data, false)
		return true
	}
	return j.first(data, line, n)
}

// next asks the machine about a line behind others. The second line of a group may show that both have a prefix.
func (j *Joiner) next(data, line []byte) answer {
	verdict := j.now.follow(line)
	if verdict == no && j.lines == 1 && j.unsure == 0 && j.at.part == 0 && j.now.front == nil {
		return j.prefixed(frame.Trim(cutEnd(data[:j.held])), line)
	}
	return verdict
}

// first judges a line with nothing held.
func (j *Joiner) first(data, line []byte, n int) bool {
	j.at, j.now, j.trace = Mark{}, state{}, Trace{}
	s, ok := begin(line)
	if !ok {
		j.one(line, n)
		return true
	}
	j.now = s
	j.hold(yes, n)
	return false
}

// full ends a group of as many lines as it may have. If the line goes on with it, so will the next group.
func (j *Joiner) full(data, line []byte) {
	after := j.now
	more := j.unsure == 0 && after.follow(line) != no
	j.release(data, more)
	j.Group.Cut = more && j.at.part > 0
}

// overflow ends a group that would be too large with the line behind it, however little of that is known: no more than
// one group has to be kept. Nobody can say whether the line would have gone on with it.
func (j *Joiner) overflow(data []byte) {
	sure := j.unsure == 0
	j.release(data, sure)
	j.Group.Cut = sure && j.at.part > 0
}

// hold takes the line into the group, or behind it.
func (j *Joiner) hold(verdict answer, n int) {
	if j.now.thrown {
		j.trace = Trace{kind: j.now.in, line: j.lines + j.unsure, front: j.now.front}
		j.now.thrown = false
	}
	j.held += n
	if verdict == maybe {
		j.unsure++
		return
	}
	j.lines, j.unsure = j.lines+j.unsure+1, 0
	j.bytes, j.sure = j.held, j.trace
}

// release takes the lines that belong together. With open the machine goes on where it is; lines that were not sure to
// belong to them are judged again by themselves.
func (j *Joiner) release(data []byte, open bool) {
	j.Group = Group{Text: cutEnd(data[:j.bytes]), Bytes: j.bytes, Lines: j.lines}
	if j.lines > 1 && (j.sure.kind != logged || j.lines > j.sure.line+1) { // what was logged is a trace if one follows
		j.Group.Trace = j.sure
	}
	at := Mark{}
	if j.at.part > 0 {
		j.Group.Part = j.at.part + 1
	}
	if open && j.unsure == 0 && (j.lines > 1 || j.at.part > 0) {
		at = Mark{state: j.now, part: j.at.part + 1}
	}
	j.from(at)
}

// from makes m the beginning of data.
func (j *Joiner) from(m Mark) {
	j.at, j.now = m, m.state
	j.trace, j.sure = Trace{}, Trace{}
	j.held, j.seen, j.lines, j.bytes, j.unsure = 0, 0, 0, 0, 0
}
