// SPDX-License-Identifier: AGPL-3.0-or-later

// Package changes shows people what of a file would become different, as a unified diff that holds no secret.
//
// Of a new text its rendering says which parts are secret: they stand as ***. The old text is what was found on the
// disk, and nobody says what in it is secret. A line of it that a known text has too is shown as that is. Once there is a
// secret in any of the known texts, one that is like a line with a secret, but for that, is shown as that one, and
// every other as ***, unless everybody may read the file. Values of present secrets are never shown. Control characters stand as dots.
package changes

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
)

// File is a file before or after. The zero File is none.
type File struct {
	Exists bool
	Bytes  []byte
	Mode   fs.FileMode
	// Owner is "33:33"; "" is not compared.
	Owner string
}

// Change is one file before and after.
type Change struct {
	Name     string
	Old, New File
	// Text says what in New is secret; Known are other texts that Old may be, such as that of the version in place.
	Text  Text
	Known []Text
	// Redact are the values of present secrets.
	Redact []string
}

// hidden ends a line of the old text that is not shown as it is, so that it differs from the new one that it looks like.
const hidden = "\x00"

// Write writes what differs, and reports whether anything does.
func (c Change) Write(w io.Writer) (differs bool, err error) {
	var b bytes.Buffer
	c.attributes(&b)
	if c.Old.Exists != c.New.Exists || !bytes.Equal(c.Old.Bytes, c.New.Bytes) {
		c.content(&b)
	}
	_, err = w.Write(b.Bytes())
	return b.Len() > 0, err
}

func (c Change) attributes(b *bytes.Buffer) {
	if !c.Old.Exists || !c.New.Exists {
		return
	}
	if c.Old.Mode != c.New.Mode {
		fmt.Fprintf(b, "%s: mode %04o becomes %04o\n", c.Name, c.Old.Mode, c.New.Mode)
	}
	if c.Old.Owner != c.New.Owner && c.Old.Owner != "" && c.New.Owner != "" {
		fmt.Fprintf(b, "%s: owner %s becomes %s\n", c.Name, c.Old.Owner, c.New.Owner)
	}
}

func (c Change) content(b *bytes.Buffer) {
	old, new := "/dev/null", "/dev/null"
	if c.Old.Exists {
		old = c.Name
	}
	if c.New.Exists {
		new = c.Name
	}
	whole := c.Text.wholly()
	for _, t := range c.Known {
		whole = whole || t.wholly()
	}
	switch {
	case whole:
		fmt.Fprintf(b, "%s: %s (secret)\n", c.Name, c.verb())
		return
	case binary(c.Old.Bytes) || binary(c.New.Bytes):
		fmt.Fprintf(b, "%s: %s (binary)\n", c.Name, c.verb())
		return
	}
	text := diff.Diff(old, []byte(c.oldText()), new, []byte(c.Text.shown()))
	_, text, _ = bytes.Cut(text, []byte("\n")) // the line "diff old new"
	if len(text) == 0 {
		// An empty file comes or goes.
		text = fmt.Appendf(nil, "--- %s\n+++ %s\n", old, new)
	}
	b.Write(bytes.Map(printable, bytes.ReplaceAll(text, []byte(hidden), nil)))
}

// printable shows what could steer a terminal as a dot.
func printable(r rune) rune {
	if r != '\n' && r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
		return '·'
	}
	return r
}

func (c Change) verb() string {
	switch {
	case !c.Old.Exists:
		return "is new"
	case !c.New.Exists:
		return "goes"
	}
	return "differs"
}

// oldText is what of the old text can be shown.
func (c Change) oldText() string {
	o := oldLines{texts: append([]Text{c.Text}, c.Known...), known: map[string]string{}, redact: c.Redact}
	o.open = c.Old.Mode&0o004 != 0 || !slices.ContainsFunc(o.texts, Text.secret)
	for _, t := range o.texts {
		for _, l := range t.lines {
			if _, ok := o.known[l.raw]; !ok || l.secret() {
				o.known[l.raw] = l.shown()
			}
		}
	}
	var b strings.Builder
	for line := range strings.Lines(string(c.Old.Bytes)) {
		bare := strings.TrimRight(line, "\r\n")
		b.WriteString(o.show(bare))
		b.WriteString(line[len(bare):])
	}
	return b.String()
}

// oldLines decides how lines of an old text are shown.
type oldLines struct {
	texts []Text
	// known: line of a known text → as it is shown; where it is once secret and once not, it is secret.
	known  map[string]string
	redact []string
	// open: there is nothing to hide in a line that nobody knows.
	open bool
}

func (o oldLines) show(bare string) string {
	if shown, ok := o.known[bare]; ok {
		return shown
	}
	for _, t := range o.texts {
		if shown, ok := t.like(bare); ok {
			return shown + hidden
		}
	}
	if !o.open {
		return mask + hidden
	}
	shown := bare
	for _, secret := range o.redact {
		shown = strings.ReplaceAll(shown, secret, mask)
	}
	if shown != bare {
		shown += hidden
	}
	return shown
}

// binary reports whether a text is none.
func binary(text []byte) bool { return bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text) }

// Colour writes a diff for a terminal: what goes is red, what comes is green.
func Colour(w io.Writer, text []byte) error {
	const red, green, cyan, end = "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[0m"
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
			b.WriteString(line)
		case strings.HasPrefix(line, "-"):
			b.WriteString(red + line + end)
		case strings.HasPrefix(line, "+"):
			b.WriteString(green + line + end)
		case strings.HasPrefix(line, "@@"):
			b.WriteString(cyan + line + end)
		default:
			b.WriteString(line)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}
