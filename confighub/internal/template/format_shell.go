// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"errors"
	"strings"
)

// shellFormat knows bare words, both kinds of quotes and comments of the POSIX shell (XCU 2.2, 2.3). In a here
// document, backquotes or $( ) inside of double quotes it takes only what needs no quoting anywhere.
type shellFormat struct {
	// quote: 0 bare, '\'' or '"', '#' a comment.
	quote   byte
	escaped bool
	// opaque: a construct whose end this scanner does not follow has begun; it stays so to the file's end for
	// a here document, to the end of the word otherwise.
	opaque  bool
	heredoc bool
	last    byte
}

const shellSafe = "_./:@%+,-"

func (f *shellFormat) literal(text string) {
	for i := 0; i < len(text); i++ {
		f.step(text[i])
		f.last = text[i]
	}
}

func (f *shellFormat) step(c byte) {
	switch {
	case f.escaped:
		f.escaped = false
		return
	case f.quote == '#':
		if c == '\n' {
			f.quote = 0
		}
		return
	case f.quote == '\'':
		if c == '\'' {
			f.quote = 0
		}
		return
	case c == '\\':
		f.escaped = true
		return
	case c == '`', c == '(' && f.last == '$', c == '{' && f.last == '$':
		f.opaque = true
	case f.quote == '"':
		if c == '"' {
			f.quote = 0
		}
		return
	case c == '"', c == '\'':
		f.quote = c
		f.opaque = f.opaque || f.last == '$'
	case c == '#' && wordEnd(f.last):
		f.quote = '#'
	case c == '<' && f.last == '<':
		f.heredoc = true
	case c == '\n' && !f.heredoc:
		f.opaque = false
	}
}

// wordEnd reports whether a word of the shell ends at c, or the file does.
func wordEnd(c byte) bool { return c == 0 || strings.IndexByte(" \t\n;&|()<>", c) >= 0 }

func (f *shellFormat) value(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	last := f.last
	f.last = 'x'
	unsafe, needs := firstRune(word, not(onlyOf(shellSafe)))
	switch {
	case f.escaped:
		return "", errors.New("stands behind a backslash")
	case f.quote == '#':
		if r, bad := firstRune(word, control); bad {
			return "", cannot(r, "a comment")
		}
		return word, nil
	case f.opaque || f.heredoc:
		if needs {
			return "", cannot(unsafe, "a place in a here document, backquotes, $( ), ${ } or $' '")
		}
		return word, nil
	case f.quote == '\'':
		return strings.ReplaceAll(word, "'", `'\''`), nil
	case f.quote == '"':
		return shellDouble.Replace(word), nil
	}
	whole := at.before != touching && (wordEnd(last) || last == '=') && wordEnd(at.after)
	switch {
	case !needs && word != "":
		return word, nil
	case whole:
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'", nil
	case needs:
		return "", cannot(unsafe, "the middle of a word (put double quotes around the whole)")
	}
	return "", nil
}

var shellDouble = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`")
