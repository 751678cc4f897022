// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/tailscale/hujson"

	"cloud4.internal/hub/confighub/internal/seal"
)

// document is one parsed JSON file that knows where its values stand.
type document struct {
	file string
	// value holds map[string]any, []any, string, bool, json.Number or nil.
	value any
	// lines: dotted key → line. Of those that share an entry, since a name in them holds a dot, the one without has it.
	lines map[string]int
	// exact: JSON pointer → line, for keys of which a name holds a dot or a bracket.
	exact map[string]int
}

// place is where the value at this spot stands.
func (d *document) place(at *spot) Place {
	line := d.lines[at.dotted]
	if len(d.exact) > 0 {
		if exact, ok := d.exact[at.pointer()]; ok {
			line = exact
		}
	}
	return Place{File: d.file, Line: line}
}

// parseDocument reads JSON with comments, as far as there is room for it. A key that stands twice is a problem.
func parseDocument(file string, raw []byte, room *room) (*document, Problems) {
	if line, message := room.take(raw); message != "" {
		return nil, Problems{{File: file, Line: line, Message: message}}
	}
	// A comment on the last line needs an end for the parser, and not for people.
	parsed, err := hujson.Parse(append(bytes.Clone(raw), '\n'))
	if err != nil {
		line, message := syntaxError(err)
		return nil, Problems{{File: file, Line: line, Message: message}}
	}
	w := walker{doc: &document{file: file, lines: map[string]int{}, exact: map[string]int{}}}
	for i, c := range raw {
		if c == '\n' {
			w.newlines = append(w.newlines, i)
		}
	}
	w.doc.value = w.walk(parsed, new(spot), parsed.StartOffset, false)
	return w.doc, w.problems
}

// ParseObject reads one JSON object with comments, for data that lies outside of a bundle. The limits are a bundle's.
func ParseObject(file string, raw []byte) (map[string]any, error) {
	doc, problems := parseDocument(file, raw, newRoom())
	if len(problems) > 0 {
		return nil, problems.err()
	}
	object, ok := doc.value.(map[string]any)
	if !ok {
		return nil, Problems{{File: file, Line: doc.lines[""], Message: "must be a JSON object, is " + kindOf(doc.value)}}
	}
	if problems := judgeSealed(doc); len(problems) > 0 {
		return nil, problems.err()
	}
	return MergePatch(nil, object), nil
}

// syntaxError takes the line out of the parser's message, so that it stands where our own do.
func syntaxError(err error) (int, string) {
	var line, column int
	message := strings.ReplaceAll(err.Error(), io.ErrUnexpectedEOF.Error(), "the file ends too early")
	if n, _ := fmt.Sscanf(message, "hujson: line %d, column %d:", &line, &column); n == 2 {
		_, message, _ = strings.Cut(message, fmt.Sprintf("column %d: ", column))
		return line, fmt.Sprintf("column %d: %s", column, message)
	}
	return 0, message
}

type walker struct {
	doc      *document
	newlines []int
	problems Problems
	// kept is how many bytes of keys the document's lines hold.
	kept int
}

// Limits of the dotted keys. Every value has one, so that long keys of objects multiply with what they hold.
const (
	maxKey  = 512
	maxKept = 16 << 20
)

func (w *walker) line(offset int) int { return 1 + sort.SearchInts(w.newlines, offset) }

// walk returns the value of v, which stands at this spot and is told of at offset. Odd: a name on the way to it holds a dot
// or a bracket.
func (w *walker) walk(v hujson.Value, at *spot, offset int, odd bool) any {
	if len(at.dotted) > maxKey {
		w.problems = append(w.problems, Problem{File: w.doc.file, Line: w.line(v.StartOffset), Key: strings.ToValidUTF8(at.dotted[:60], "") + "…", Message: fmt.Sprintf("is a path longer than %d bytes", maxKey)})
		return nil
	}
	w.keep(at, offset, odd)
	switch t := v.Value.(type) {
	case *hujson.Object:
		object := make(map[string]any, len(t.Members))
		for _, m := range t.Members {
			name := m.Name.Value.(hujson.Literal).String()
			child := at.into(name)
			if _, twice := object[name]; twice {
				w.problems = append(w.problems, Problem{File: w.doc.file, Line: w.line(m.Name.StartOffset), Key: child.dotted, Message: "stands twice"})
				continue
			}
			object[name] = w.walk(m.Value, child, m.Name.StartOffset, odd || strings.ContainsAny(name, ".["))
		}
		return object
	case *hujson.Array:
		list := make([]any, len(t.Elements))
		for i, e := range t.Elements {
			list[i] = w.walk(e, at.item(i), e.StartOffset, odd)
		}
		return list
	case hujson.Literal:
		return literal(t)
	}
	return nil
}

// keep remembers the line of a key. When there are too many of them, messages name the line of what is around.
func (w *walker) keep(at *spot, offset int, odd bool) {
	if w.kept += len(at.dotted); w.kept > maxKept {
		return
	}
	if odd {
		pointer := at.pointer()
		w.kept += len(pointer)
		w.doc.exact[pointer] = w.line(offset)
		if _, taken := w.doc.lines[at.dotted]; taken {
			return
		}
	}
	w.doc.lines[at.dotted] = w.line(offset)
}

func literal(l hujson.Literal) any {
	switch l.Kind() {
	case '"':
		return l.String()
	case 't', 'f':
		return l.Bool()
	case '0':
		return json.Number(bytes.Clone(l))
	}
	return nil
}

func joinKey(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

func kindOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	case json.Number:
		return "a number"
	}
	return "null"
}

// MergePatch applies patch to target as RFC 7396 says and returns the result. Neither is changed. A sealed value is one
// value: it is replaced whole, and replaces whole.
func MergePatch(target any, patch map[string]any) map[string]any {
	merged := map[string]any{}
	if old, ok := target.(map[string]any); ok && !seal.Is(old) {
		for k, v := range old {
			merged[k] = v
		}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(merged, k)
		case map[string]any:
			if seal.Is(v) {
				merged[k] = v
			} else {
				merged[k] = MergePatch(merged[k], v)
			}
		default:
			merged[k] = v
		}
	}
	return merged
}
