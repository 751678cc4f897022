// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// yamlFormat follows YAML 1.2 (https://yaml.org/spec/1.2.2) as far as places go: plain and quoted scalars, block
// and flow collections. What stands whole is written bare when no reader of YAML 1.1 or 1.2 could take it for
// something else, else in double quotes; numbers, lists and objects as JSON.
type yamlFormat struct {
	place yamlPlace
	// resume is the place after a comment.
	resume yamlPlace
	// pending is a -, ? or : that the next byte makes an indicator or text.
	pending byte
	last    byte
	escape  backslash
	// flow holds the open brackets of flow collections; key: a key comes next in the innermost one.
	flow []byte
	key  bool
	// parent is the column of the innermost key or dash: what stands right of it on a later line belongs to it.
	// start is the column of the scalar that has begun last.
	column, parent, start int
	// fresh: only white space on this line so far.
	fresh bool
	// scalar is the text of a plain scalar.
	scalar strings.Builder
	// valued: a value is in the scalar that has begun last; stringy: one that is a string.
	valued, stringy bool
	// quotedNode: the node that ended was quoted or a flow collection.
	quotedNode bool
}

type yamlPlace byte

const (
	yamlExpect yamlPlace = iota // a node may begin
	yamlPlain
	yamlDone // a node has ended
	yamlSingle
	yamlSingleEnd // behind a ' that ends the scalar unless another follows
	yamlDouble
	yamlComment
	yamlBlock
	yamlProperty
	yamlOpaque // a directive, an explicit key or something odd, to the end of the line
)

var (
	errYAMLKey      = errors.New("stands in a key of YAML: keys are written in the template")
	errYAMLComment  = errors.New("stands in a comment of YAML: take it out, or move it to a value")
	errYAMLBlock    = errors.New(`stands in a block scalar of YAML: write it as key: {{name}}, which takes line breaks too`)
	errYAMLProperty = errors.New("stands in a tag, an anchor or an alias of YAML")
	errYAMLFollows  = errors.New("is not all of the scalar it stands in: put quotes around the whole")
	errYAMLNoNode   = errors.New("stands where YAML has a key, or nothing: is it indented deeper than its key?")
	errYAMLEmpty    = errors.New("is empty at the start of a line, or beside other text: put quotes around the whole")
	errYAMLType     = errors.New("becomes, with what stands around it, something that YAML does not read as a string: put quotes around the whole")
)

func (f *yamlFormat) literal(text string) error {
	var first error
	for i := 0; i < len(text); i++ {
		if err := f.step(text[i]); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (f *yamlFormat) step(c byte) error {
	err := f.settle(c)
	if c == '\n' || c == '\r' {
		if e := f.plainType(); err == nil {
			err = e
		}
		f.newline()
		// The document markers are plain text until here.
		if e := f.marker(); err == nil {
			err = e
		}
		return err
	}
	if f.fresh && c != ' ' && c != '\t' && c != '\r' {
		if e := f.firstOfLine(c); err == nil {
			err = e
		}
		f.fresh = false
	}
	if e := f.inLine(c); err == nil {
		err = e
	}
	f.column++
	f.last = c
	return err
}

// settle decides what a pending -, ? or : was, by the byte that follows.
func (f *yamlFormat) settle(c byte) error {
	p := f.pending
	f.pending = 0
	if p == 0 {
		return nil
	}
	indicator := blank(c) || p == ':' && len(f.flow) > 0 && (strings.IndexByte(",[]{}", c) >= 0 || f.place == yamlDone && f.quotedNode)
	switch {
	case p == ':' && indicator:
		return f.isKey()
	case p == '-' && indicator:
		f.parent = f.column - 1
	case p == '?' && indicator:
		f.place = yamlOpaque
	case f.place == yamlExpect:
		f.begin(yamlPlain, f.column-1)
		f.scalar.WriteByte(p)
	case f.place == yamlPlain:
		f.scalar.WriteByte(p)
	}
	return nil
}

// isKey makes what ended a key.
func (f *yamlFormat) isKey() error {
	valued := f.valued && f.place != yamlExpect
	if len(f.flow) == 0 {
		f.parent = f.start
		if f.place == yamlExpect {
			f.parent = f.column - 1
		}
	}
	f.place, f.key, f.valued = yamlExpect, false, false
	if valued {
		return errYAMLKey
	}
	return nil
}

func (f *yamlFormat) begin(place yamlPlace, column int) {
	f.place, f.start = place, column
	f.valued, f.stringy, f.quotedNode = false, false, place != yamlPlain
	f.scalar.Reset()
}

func (f *yamlFormat) newline() {
	switch f.place {
	case yamlComment:
		f.place = f.resume
	case yamlSingleEnd, yamlOpaque:
		f.place = yamlDone
	case yamlProperty:
		f.place = yamlExpect
	case yamlPlain:
		f.scalar.WriteByte(' ')
	}
	f.escape = backslash{}
	f.column, f.fresh, f.last = 0, true, '\n'
}

// marker ends the document at --- and ..., which look like plain scalars.
func (f *yamlFormat) marker() error {
	text := strings.TrimRight(f.scalar.String(), " ")
	if f.place != yamlPlain || f.start != 0 || text != "---" && text != "..." || len(f.flow) > 0 {
		return nil
	}
	f.place, f.parent = yamlExpect, -1
	f.scalar.Reset()
	if f.valued {
		return errYAMLFollows
	}
	return nil
}

// firstOfLine decides whether a line continues what came before it.
func (f *yamlFormat) firstOfLine(c byte) error {
	if len(f.flow) > 0 || f.column > f.parent {
		return nil
	}
	var err error
	switch f.place {
	case yamlPlain:
		err = f.endPlain()
	case yamlBlock, yamlDone, yamlExpect:
	default:
		return nil
	}
	f.place = yamlExpect
	if c == '%' && f.column == 0 {
		f.place = yamlOpaque
	}
	return err
}

// endPlain judges a plain scalar that has ended.
func (f *yamlFormat) endPlain() error {
	err := f.plainType()
	f.place, f.quotedNode = yamlDone, false
	return err
}

// plainType refuses to let strings become something else together.
func (f *yamlFormat) plainType() error {
	stringy := f.stringy && f.place == yamlPlain
	if stringy && yamlOther.MatchString(strings.TrimSpace(f.scalar.String())) {
		return errYAMLType
	}
	return nil
}

func (f *yamlFormat) inLine(c byte) error {
	white := c == ' ' || c == '\t' || c == '\r'
	switch f.place {
	case yamlDouble:
		if !f.escape.step(c) && c == '"' {
			f.place = yamlDone
		}
	case yamlSingleEnd:
		if c == '\'' {
			f.place = yamlSingle
			return nil
		}
		f.place = yamlDone
		return f.done(c)
	case yamlSingle:
		if c == '\'' {
			f.place = yamlSingleEnd
		}
	case yamlProperty:
		if white {
			f.place = yamlExpect
		} else if len(f.flow) > 0 && strings.IndexByte(",]}", c) >= 0 {
			f.place = yamlDone
			return f.done(c)
		} else if !asciiOf("_-!./")(rune(c)) {
			f.place = yamlOpaque // readers differ in where it ends
		}
	case yamlPlain:
		return f.plain(c, white)
	case yamlDone:
		return f.done(c)
	case yamlExpect:
		f.expect(c, white)
	}
	return nil
}

func (f *yamlFormat) plain(c byte, white bool) error {
	switch {
	case white:
		if err := f.marker(); err != nil || f.place == yamlExpect {
			return err
		}
		f.scalar.WriteByte(c)
	case c == ':':
		f.pending = c
	case c == '#' && blank(f.last):
		err := f.endPlain()
		f.comment()
		return err
	case len(f.flow) > 0 && strings.IndexByte(",[]{}", c) >= 0:
		err := f.endPlain()
		if e := f.done(c); err == nil {
			err = e
		}
		return err
	default:
		f.scalar.WriteByte(c)
	}
	return nil
}

func (f *yamlFormat) comment() { f.resume, f.place = f.place, yamlComment }

// done takes what follows a node.
func (f *yamlFormat) done(c byte) error {
	switch {
	case c == '\t' && f.fresh && f.valued:
		f.valued = false
		return errYAMLFollows // a tab at the start of a line is not always white space
	case c == ' ' || c == '\t' || c == '\r':
	case c == ':':
		f.pending = c
	case c == '#' && blank(f.last):
		f.comment()
	case len(f.flow) > 0 && (c == ']' || c == '}'):
		f.flow, f.quotedNode = f.flow[:len(f.flow)-1], true
	case len(f.flow) > 0 && c == ',':
		f.place, f.key = yamlExpect, f.flow[len(f.flow)-1] == '{'
	case f.valued:
		f.valued = false
		return errYAMLFollows
	}
	return nil
}

// expect takes what begins a node.
func (f *yamlFormat) expect(c byte, white bool) {
	inFlow := len(f.flow) > 0
	switch {
	case white:
	case c == '-' && !inFlow, c == '?', c == ':':
		f.pending = c
	case c == '"':
		f.begin(yamlDouble, f.column)
	case c == '\'':
		f.begin(yamlSingle, f.column)
	case (c == '|' || c == '>') && !inFlow:
		f.place = yamlBlock
	case c == '[' || c == '{':
		if !inFlow {
			f.begin(yamlExpect, f.column)
		}
		f.flow, f.key = append(f.flow, c), c == '{'
	case inFlow && (c == ']' || c == '}' || c == ','):
		_ = f.done(c) // no value has begun
		if c != ',' {
			f.place = yamlDone
		}
	case c == '&' || c == '!' || c == '*':
		f.place = yamlProperty
	case c == '#' && blank(f.last) || c == '#' && f.last == 0:
		f.comment()
	default:
		f.begin(yamlPlain, f.column)
		f.scalar.WriteByte(c)
	}
}
