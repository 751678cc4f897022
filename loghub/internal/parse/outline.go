// SPDX-License-Identifier: AGPL-3.0-or-later

package parse

// outline says how a line goes on behind the date and time it begins with. Of a layout it holds what may be, of a line what is;
// that rules out nine of ten layouts at the price of a few comparisons.
type outline struct {
	sep    charKinds // between date and time; a slash for one within the date
	first  charKinds // behind the time
	second charKinds // behind that and blanks
	third  charKinds // if that is a letter: behind its word and blanks
}

// charKinds is a set of kinds of characters, a bit each.
type charKinds uint16

const (
	blankKind charKinds = 1 << iota
	capitalKind
	smallKind
	digitKind
	openKind  // [
	parenKind // (
	closeKind // ]
	dashKind
	barKind
	colonKind
	slashKind
	otherKind
	anyKind = otherKind<<1 - 1
)

var kindOf = func() (table [256]charKinds) {
	for c := range table {
		switch {
		case c >= 'A' && c <= 'Z':
			table[c] = capitalKind
		case c >= 'a' && c <= 'z':
			table[c] = smallKind
		case c >= '0' && c <= '9':
			table[c] = digitKind
		default:
			table[c] = otherKind
		}
	}
	for c, k := range map[byte]charKinds{
		' ': blankKind, '[': openKind, '(': parenKind, ']': closeKind, '-': dashKind, '|': barKind, ':': colonKind, '/': slashKind,
	} {
		table[c] = k
	}
	return table
}()

// meets says whether a line may have a layout: one that begins with date and time, or neither does.
func (o *outline) meets(line *outline) bool {
	if o.sep == 0 {
		return line.sep == 0
	}
	return o.sep&line.sep != 0 && o.first&line.first != 0 && o.second&line.second != 0 && o.third&line.third != 0
}

// outlineOf gives the outline of a line whose time has the given size.
func outlineOf(line []byte, size int) outline {
	o := outline{sep: kindOf[line[10]], third: anyKind}
	switch {
	case line[4] == '/':
		o.sep = slashKind
	case o.sep == smallKind: // 2026-11-21t
		o.sep = capitalKind
	}
	rest := line[size:]
	if len(rest) == 0 {
		return outline{}
	}
	o.first = kindOf[rest[0]]
	if rest = rest[1:]; len(rest) == 0 {
		return outline{}
	}
	rest = rest[blanks(rest):]
	if o.second = kindAt(rest); o.second&(capitalKind|smallKind) != 0 {
		rest = rest[letters(rest):]
		if len(rest) > 1 && (rest[0] == '+' || rest[0] == '-') && digitByte(rest[1]) {
			rest = rest[2:]
		}
		o.third = kindAt(rest[blanks(rest):])
	}
	return o
}

// kindAt is the kind of the first character; the end of a line passes for a blank.
func kindAt(b []byte) charKinds {
	if len(b) == 0 {
		return blankKind
	}
	return kindOf[b[0]]
}

// outlined finds the outline of a layout; of one that does not begin with date and time it is zero.
func (l *layout) outlined() outline {
	steps := l.steps
	if steps[0].text == "[" && len(steps) > 1 {
		steps = steps[1:]
	}
	o := outline{first: anyKind, second: anyKind, third: anyKind}
	switch steps[0].part {
	case partTime:
		o.sep = anyKind
	case partISOTime:
		o.sep = capitalKind
	case partSQLTime:
		o.sep = blankKind
	default:
		return outline{}
	}
	steps = steps[1:]
	if len(steps) == 0 {
		return o
	}
	o.first = steps[0].begins()
	if steps[0].part == partText && len(steps[0].text) > 1 {
		o.second = kindOf[steps[0].text[1]]
		return o
	}
	steps, second := behind(steps[1:])
	if second == nil {
		return o
	}
	o.second = second.begins()
	if _, third := behind(steps); third != nil && second.isLevel() {
		o.third = third.begins()
	}
	return o
}

// behind takes the next step that is not blanks.
func behind(steps []step) (rest []step, next *step) {
	for i, s := range steps {
		if s.part != partBlanks && s.part != partMaybeBlanks {
			return steps[i+1:], &s
		}
	}
	return nil, nil
}

func (s *step) isLevel() bool {
	return s.part == partLevel || s.part == partCapitals || s.part == partThree
}

// begins says what a step may begin with.
func (s *step) begins() charKinds {
	switch s.part {
	case partText:
		return kindOf[s.text[0]]
	case partBlanks:
		return blankKind
	case partLevel:
		return capitalKind | smallKind
	case partCapitals, partThree, partFour, partLetter:
		return capitalKind
	case partNumber:
		return digitKind
	}
	return anyKind
}
