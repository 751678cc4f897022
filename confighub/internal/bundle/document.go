// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	"github.com/tailscale/hujson"
)

// document is one parsed JSON file that knows where its values stand.
type document struct {
	file string
	// value holds map[string]any, []any, string, bool, json.Number or nil.
	value any
	// lines: dotted key → line. Keys that hold dots themselves may share an entry; it serves messages only.
	lines map[string]int
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
	w := walker{doc: &document{file: file, lines: map[string]int{}}}
	for i, c := range raw {
		if c == '\n' {
			w.newlines = append(w.newlines, i)
		}
	}
	w.doc.value = w.walk(parsed, "")
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
	return MergePatch(nil, object), nil
}

// syntaxError takes the line out of the parser's message, so that it stands where our own do.
func syntaxError(err error) (int, string) {
	var line, column int
	message := err.Error()
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

func (w *walker) walk(v hujson.Value, key string) any {
	if len(key) > maxKey {
		w.problems = append(w.problems, Problem{File: w.doc.file, Line: w.line(v.StartOffset), Key: strings.ToValidUTF8(key[:60], "") + "…", Message: fmt.Sprintf("is a path longer than %d bytes", maxKey)})
		return nil
	}
	w.keep(key, v.StartOffset)
	switch t := v.Value.(type) {
	case *hujson.Object:
		object := make(map[string]any, len(t.Members))
		for _, m := range t.Members {
			name := m.Name.Value.(hujson.Literal).String()
			child := joinKey(key, name)
			if _, twice := object[name]; twice {
				w.problems = append(w.problems, Problem{File: w.doc.file, Line: w.line(m.Name.StartOffset), Key: child, Message: "stands twice"})
				continue
			}
			object[name] = w.walk(m.Value, child)
			w.keep(child, m.Name.StartOffset)
		}
		return object
	case *hujson.Array:
		list := make([]any, len(t.Elements))
		for i, e := range t.Elements {
			list[i] = w.walk(e, fmt.Sprintf("%s[%d]", key, i))
		}
		return list
	case hujson.Literal:
		return literal(t)
	}
	return nil
}

// keep remembers the line of a key. When there are too many of them, messages name the line of what is around.
func (w *walker) keep(key string, offset int) {
	if w.kept += len(key); w.kept <= maxKept {
		w.doc.lines[key] = w.line(offset)
	}
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

// MergePatch applies patch to target as RFC 7396 says and returns the result. Neither is changed.
func MergePatch(target any, patch map[string]any) map[string]any {
	merged := map[string]any{}
	if old, ok := target.(map[string]any); ok {
		for k, v := range old {
			merged[k] = v
		}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(merged, k)
		case map[string]any:
			merged[k] = MergePatch(merged[k], v)
		default:
			merged[k] = v
		}
	}
	return merged
}
