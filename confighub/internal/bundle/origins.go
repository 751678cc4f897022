// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"encoding/json"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"cloud4.internal/hub/confighub/internal/seal"
)

// MaxOrigins bounds origins.json in bytes. What finds no room is left out, single items of lists first.
const MaxOrigins = 1 << 20

// Place is where something was written.
type Place struct {
	// File is the path in the tree of the fragments (services/web/data/a.json), or in the bundle's own directory.
	File string
	// Line counts from 1; 0 when the whole file is meant.
	Line int
}

// String is "services/web/data/a.json:4", without the line when there is none.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// Origin is where something of a bundle comes from.
type Origin struct {
	Place
	// Replaced is what the place prevailed over, the first layer first. It is known only where the bundle was
	// assembled: it is not packed.
	Replaced []Place
}

// Origins is where everything of a bundle comes from, for people: nothing is decided by it. A nil one knows nothing.
// In a packed bundle it is origins.json:
//
//	{"data": {"/upstream/port": "hosts/vm1/data/a.json:4"},
//	 "targets": {"/etc/nginx/nginx.conf": "services/web/bundle.json:3"},
//	 "templates": {"nginx.conf": "services/web/templates/nginx.conf"}, "dropped": 0}
//
// It is read without trust: more than MaxOrigins bytes, another form and names that cannot be shown are passed over.
type Origins struct {
	// Data: JSON pointer (RFC 6901) of every value that replaces as a whole, which is all but objects that are not sealed,
	// and of the items of lists, as far as there is room.
	Data map[string]Origin
	// Targets by path. As targets merge, the place is that of the last layer with a word on it.
	Targets map[string]Origin
	// Templates by name below templates/, with extension.
	Templates map[string]Origin
	// Dropped is how many entries found no room.
	Dropped int
}

// Value says where the value at a JSON pointer comes from: an item that has no entry by the list around it, what is in a
// sealed value by that. An object that was merged has no single origin.
func (o *Origins) Value(pointer string) (Origin, bool) {
	if o == nil {
		return Origin{}, false
	}
	for at := pointer; at != ""; at = at[:max(0, strings.LastIndexByte(at, '/'))] {
		if found, ok := o.Data[at]; ok {
			return found, true
		}
	}
	return Origin{}, false
}

// Target says where a target comes from.
func (o *Origins) Target(path string) (Origin, bool) {
	if o == nil {
		return Origin{}, false
	}
	found, ok := o.Targets[path]
	return found, ok
}

// Template says where the template of this file name below templates/ comes from.
func (o *Origins) Template(file string) (Origin, bool) {
	if o == nil {
		return Origin{}, false
	}
	found, ok := o.Templates[file]
	return found, ok
}

// packedOrigins is origins.json.
type packedOrigins struct {
	Data      map[string]string `json:"data,omitempty"`
	Targets   map[string]string `json:"targets,omitempty"`
	Templates map[string]string `json:"templates,omitempty"`
	Dropped   int               `json:"dropped,omitempty"`
}

// marshal is origins.json; nil for nothing.
func (o *Origins) marshal() ([]byte, error) {
	if o == nil {
		return nil, nil
	}
	flat := func(all map[string]Origin) map[string]string {
		places := make(map[string]string, len(all))
		for key, origin := range all {
			places[key] = origin.String()
		}
		return places
	}
	return marshal(packedOrigins{Data: flat(o.Data), Targets: flat(o.Targets), Templates: flat(o.Templates), Dropped: o.Dropped})
}

// readOrigins reads origins.json as far as it can be used; nil for what is of another form.
func readOrigins(raw []byte) *Origins {
	var packed packedOrigins
	if len(raw) == 0 || len(raw) > MaxOrigins || json.Unmarshal(raw, &packed) != nil {
		return nil
	}
	w := originsWriter{room: MaxOrigins, origins: newOrigins()}
	w.origins.Dropped = max(0, packed.Dropped)
	for key, text := range packed.Data {
		w.add(w.origins.Data, key, Origin{Place: parsePlace(text)})
	}
	for key, text := range packed.Targets {
		w.add(w.origins.Targets, key, Origin{Place: parsePlace(text)})
	}
	for key, text := range packed.Templates {
		w.add(w.origins.Templates, key, Origin{Place: Place{File: text}})
	}
	return w.origins
}

// parsePlace reads what Place.String wrote of a place with a line.
func parsePlace(text string) Place {
	if at := strings.LastIndexByte(text, ':'); at > 0 {
		if line, err := strconv.Atoi(text[at+1:]); err == nil && line > 0 {
			return Place{File: text[:at], Line: line}
		}
	}
	return Place{File: text}
}

func newOrigins() *Origins {
	return &Origins{Data: map[string]Origin{}, Targets: map[string]Origin{}, Templates: map[string]Origin{}}
}

// originsWriter fills origins within their room.
type originsWriter struct {
	origins *Origins
	room    int
}

// add notes one entry, if there is room for it and it can be shown.
func (w *originsWriter) add(to map[string]Origin, key string, origin Origin) {
	if !fs.ValidPath(origin.File) || !printable(key) || !printable(origin.File) {
		return
	}
	// Two quotes each, colon, comma, the line; a character may take six bytes as an escape.
	cost := len(strconv.Quote(key)) + len(strconv.Quote(origin.File)) + 24 + 5*strings.Count(key+origin.File, "<>&")
	if w.room < cost {
		w.room = 0 // what comes later is less worth
		w.origins.Dropped++
		return
	}
	w.room -= cost
	to[key] = origin
}

// originOf takes the last of the places for the one that prevails.
func originOf(places []Place) (o Origin) {
	for i, place := range places {
		if i > 0 {
			o.Replaced = append(o.Replaced, o.Place)
		}
		o.Place = place
	}
	return o
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == '\uFFFD' })
}

// trace remembers which documents wrote a value of the merged data, and mirrors MergePatch.
type trace struct {
	// doc wrote it last; it is nil for an object, which many write.
	doc *document
	// over wrote it before, the first one first.
	over []*document
	// kids is nil unless the value is an object; a sealed one is a value.
	kids map[string]*trace
}

func (t *trace) lay(doc *document, patch map[string]any) {
	for key, value := range patch {
		old := t.kids[key]
		object, ok := value.(map[string]any)
		switch {
		case value == nil:
			delete(t.kids, key)
		case ok && !seal.Is(object):
			if old == nil || old.kids == nil {
				old = &trace{over: old.writers(), kids: map[string]*trace{}}
				t.kids[key] = old
			}
			old.lay(doc, object)
			if len(object) == 0 {
				old.doc = doc // an empty object is a value
			}
		default:
			t.kids[key] = &trace{doc: doc, over: old.writers()}
		}
	}
}

// writers is who wrote the value and what it is made of.
func (t *trace) writers() (docs []*document) {
	if t == nil {
		return nil
	}
	docs = t.over
	if t.doc != nil {
		docs = append(docs, t.doc)
	}
	for _, key := range slices.Sorted(maps.Keys(t.kids)) {
		for _, doc := range t.kids[key].writers() {
			if !slices.Contains(docs, doc) {
				docs = append(docs, doc)
			}
		}
	}
	return docs
}

// originsOf is where everything of a bundle comes from that was assembled of these fragments.
func originsOf(b *Bundle, fragments []*Fragment) *Origins {
	w := originsWriter{room: MaxOrigins - 64, origins: newOrigins()}
	w.targets(b, fragments)
	w.templates(b, fragments)
	root := &trace{kids: map[string]*trace{}}
	for _, f := range fragments {
		for _, doc := range f.data {
			if object, ok := doc.value.(map[string]any); ok {
				root.lay(doc, object)
			}
		}
	}
	w.values(root, b.Data, new(spot), w.value)
	w.values(root, b.Data, new(spot), w.items)
	return w.origins
}

func (w *originsWriter) targets(b *Bundle, fragments []*Fragment) {
	for _, name := range slices.Sorted(maps.Keys(b.Manifest.Targets)) {
		var places []Place
		for _, f := range fragments {
			if f.manifest == nil {
				continue
			}
			object, _ := f.manifest.value.(map[string]any)
			targets, _ := object["targets"].(map[string]any)
			switch value, there := targets[name]; {
			case there && value == nil:
				places = nil
			case there:
				places = append(places, f.manifest.place(new(spot).into("targets").into(name)))
			}
		}
		w.add(w.origins.Targets, name, originOf(places))
	}
}

func (w *originsWriter) templates(b *Bundle, fragments []*Fragment) {
	for _, file := range slices.Sorted(maps.Keys(b.Templates)) {
		var places []Place
		bare := strings.TrimSuffix(file, Extension)
		for _, f := range fragments {
			for _, name := range []string{bare, bare + Extension} {
				if _, ok := f.templates[name]; ok {
					places = append(places, Place{File: f.path(templatesDir + "/" + name)})
				}
			}
		}
		w.add(w.origins.Templates, file, originOf(places))
	}
}

// values calls note for every value that replaces as a whole, in order of its keys.
func (w *originsWriter) values(t *trace, value any, at *spot, note func(*trace, any, *spot)) {
	object, ok := value.(map[string]any)
	if !ok || len(object) == 0 || seal.Is(object) {
		note(t, value, at)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if w.room <= 0 {
			w.origins.Dropped++
			continue
		}
		w.values(t.kids[key], object[key], at.into(key), note)
	}
}

func (w *originsWriter) value(t *trace, _ any, at *spot) {
	if t.doc == nil {
		return // an object that became empty as others took away what was in it
	}
	var places []Place
	for _, doc := range append(slices.Clone(t.over), t.doc) {
		places = append(places, doc.place(at))
	}
	w.add(w.origins.Data, at.pointer(), originOf(places))
}

// items notes what a list holds: all of it is of the same document.
func (w *originsWriter) items(t *trace, value any, at *spot) {
	if _, ok := value.([]any); ok {
		w.inside(t.doc, value, at)
	}
}

func (w *originsWriter) inside(doc *document, value any, at *spot) {
	one := func(at *spot, value any) {
		if w.room <= 0 {
			w.origins.Dropped++
			return
		}
		w.add(w.origins.Data, at.pointer(), Origin{Place: doc.place(at)})
		w.inside(doc, value, at)
	}
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			one(at.item(i), item)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			one(at.into(key), value[key])
		}
	}
}
