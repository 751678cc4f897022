// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// heredocs follows the here documents of a script (XCU 2.7.4).
type heredocs struct {
	// angles counts the < just met.
	angles int
	// delimiter is what is read of the word behind <<; quote is open in it.
	delimiter *heredoc
	quote     byte
	// due are those whose text begins at the next line, or has begun.
	due     []heredoc
	started bool
	// line of the text so far; valued: a value is in it.
	line    strings.Builder
	valued  bool
	escaped bool
	// expands: an expansion that may hold a command has begun in the text; dollar: $ and letters were last.
	expands, dollar bool
}

type heredoc struct {
	word string
	// literal: the delimiter was quoted, so that the text is not expanded.
	literal bool
	// tabs at the start of a line are dropped.
	tabs bool
}

var (
	errHeredocEnd    = errors.New("makes a line that would end the here document")
	errHeredocAlmost = errors.New("makes a line that begins as the here document's delimiter and goes on beyond ASCII, of which dash loses a byte")
)

// body reports whether the text of a here document stands here.
func (h *heredocs) body() bool { return h.started }

// reading reports whether a delimiter is being read.
func (h *heredocs) reading() bool { return h.delimiter != nil || h.angles == 2 }

// redirect takes a byte of << and its word, and reports whether it did.
func (h *heredocs) redirect(c byte, f *shellFormat) (bool, error) {
	if h.delimiter != nil {
		return h.word(c, f), nil
	}
	if f.escaped || f.top() != 0 && f.top() != '(' && f.top() != '`' {
		h.angles = 0
		return false, nil
	}
	switch {
	case c == '<':
		h.angles++
	case h.angles == 2 && f.substituted():
		// It may be a shift in $(( )), and its text may hold the ) of the substitution.
		f.lost, h.angles = true, 0
	case h.angles == 2:
		h.angles = 0
		h.delimiter = &heredoc{}
		if c == '-' {
			h.delimiter.tabs = true
			return true, nil
		}
		return h.word(c, f), nil
	default:
		h.angles = 0
	}
	return false, nil
}

func (h *heredocs) word(c byte, f *shellFormat) bool {
	d := h.delimiter
	switch {
	case h.quote != 0 && c == h.quote:
		h.quote = 0
	case h.quote != 0:
		d.word += string(rune(c))
	case c == '\'' || c == '"':
		h.quote, d.literal = c, true
	case c == '\\':
		d.literal = true
	case (c == ' ' || c == '\t') && d.word == "" && !d.literal:
	case wordEnd(c):
		h.due, h.delimiter = append(h.due, *d), nil
		return false
	case c == '$' || c == '`':
		f.lost = true
		d.word += string(rune(c))
	default:
		d.word += string([]byte{c})
	}
	return true
}

// newline begins the texts that are due.
func (h *heredocs) newline() {
	if len(h.due) > 0 {
		h.started = true
		h.line.Reset()
		h.valued = false
	}
}

func (h *heredocs) step(c byte) error {
	name := h.dollar && (alphanumeric(rune(c)) || c == '_')
	h.expands = h.expands || !h.escaped && (c == '`' || h.dollar && (c == '(' || c == '{'))
	h.dollar = c == '$' && !h.escaped || name
	if c != '\n' {
		var err error
		if h.valued && c >= 0x80 && h.almost() {
			err = errHeredocAlmost
		}
		h.line.WriteByte(c)
		h.escaped = c == '\\' && !h.escaped
		return err
	}
	h.escaped = false
	line, valued := h.line.String(), h.valued
	h.line.Reset()
	h.valued = false
	if h.due[0].tabs {
		line = strings.TrimLeft(line, "\t")
	}
	if line != h.due[0].word {
		return nil
	}
	h.due, h.expands, h.dollar = h.due[1:], false, false
	h.started = len(h.due) > 0
	if valued {
		return errHeredocEnd
	}
	return nil
}

// value is a value in the text of a here document.
func (h *heredocs) value(word string) (string, error) {
	d := h.due[0]
	bad := func(r rune) bool { return control(r) && (r != '\t' || d.tabs) }
	if r, is := firstRune(word, bad); is {
		return "", cannot(r, "a here document")
	}
	if !d.literal {
		if h.escaped {
			return "", errEscaped
		}
		if h.expands || h.dollar {
			return "", errors.New("stands in or behind an expansion in the here document: set a variable before, and use that")
		}
		word = heredocEscaper.Replace(word)
	}
	for i := range len(word) {
		if word[i] >= 0x80 && h.almost() {
			return "", errHeredocAlmost
		}
		h.line.WriteByte(word[i])
	}
	h.valued = true
	return word, nil
}

// almost reports whether the line so far is a beginning of the delimiter: dash then loses a byte that is not ASCII.
func (h *heredocs) almost() bool {
	line := h.line.String()
	if h.due[0].tabs {
		line = strings.TrimLeft(line, "\t")
	}
	return line != "" && strings.HasPrefix(h.due[0].word, line)
}

var heredocEscaper = strings.NewReplacer(`\`, `\\`, "$", `\$`, "`", "\\`")
