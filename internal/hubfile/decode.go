// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// sectionNames are the sections that settings have. A program asks for some of them and leaves the others unjudged.
var sectionNames = [...]string{"identity", "config", "health", "log"}

// schemaKey is the one top-level key that is no section: editors look there for the schema.
const schemaKey = "$schema"

// decoder fills structs from the merged settings.
type decoder struct {
	found    *findings
	checkers bool              // whether rules of several fields can be judged
	main     position          // of what stands nowhere
	origins  map[string]string // key → where its value came from
}

// judgeTop finds the top-level keys that are no section. sections are those asked for.
func (d *decoder) judgeTop(root *node, sections []Section) {
	known := append([]string{schemaKey}, sectionNames[:]...)
	for _, section := range sections {
		if !slices.Contains(known, section.Name) {
			known = append(known, section.Name)
		}
	}
	for _, m := range root.members {
		if !slices.Contains(known, m.name) {
			d.unknownKey(m, "", known)
		}
	}
}

// unknownKey tells of a member that nothing knows; known are the names that could stand there.
func (d *decoder) unknownKey(m member, key string, known []string) {
	const few = 12 // names that fit on the line of a message
	key = Join(key, m.name)
	switch near := nearest(m.name, known); {
	case near != "":
		d.found.problem(m.value.at, key, "unknown key, did you mean %q?", near)
	case len(known) <= few:
		d.found.problem(m.value.at, key, "unknown key; known here: %s", strings.Join(known, ", "))
	default:
		d.found.problem(m.value.at, key, "unknown key")
	}
}

// value decodes n into v, whose type is that of s. n is nil when nothing sets the value. It reports whether v is good
// by itself; what is wrong further down is the business of the structs there.
func (d *decoder) value(n *node, s *shape, v reflect.Value, key string) bool {
	if n == nil && (s.pointer || s.class != classStruct) {
		return true // keeps what it holds
	}
	if n != nil {
		d.origins[key] = n.at.String()
	}
	if s.pointer {
		v = deref(v)
	}
	if n != nil && !s.takes(n) {
		d.found.problem(n.at, key, "must be %s, got %s", expected[s.class], n.shown())
		return false
	}
	switch s.class {
	case classStruct:
		d.object(n, s, v, key)
		return true
	case classMap:
		return d.entries(n, s, v, key)
	case classList:
		return d.items(n, s, v, key)
	case classAny:
		v.Set(reflect.ValueOf(n.plain()))
		return true
	case classRaw:
		raw, err := json.Marshal(n.plain())
		if err != nil { // a node has only what JSON has
			panic(fmt.Sprintf("hubfile: %s: %v", key, err))
		}
		v.SetBytes(raw)
		return true
	}
	if err := s.setScalar(v, n); err != nil {
		d.found.problem(n.at, key, "%v, got %s", err, n.shown())
		return false
	}
	return true
}

// takes reports whether a composite shape can be decoded from n; scalars judge for themselves.
func (s *shape) takes(n *node) bool {
	switch s.class {
	case classStruct, classMap:
		return n.kind == kindObject
	case classList:
		return n.kind == kindList
	}
	return true
}

// object decodes a struct: defaults, then the keys of n, then its own rules.
func (d *decoder) object(n *node, s *shape, v reflect.Value, key string) {
	if n != nil {
		known := s.names()
		for _, m := range n.members {
			if !slices.ContainsFunc(s.fields, func(f field) bool { return f.name == m.name }) {
				d.unknownKey(m, key, known)
			}
		}
	}
	bad := map[string]bool{}
	for _, f := range s.fields {
		child, childKey := n.member(f.name), Join(key, f.name)
		if f.removed != "" {
			if child != nil {
				d.found.warn(child.at, childKey, "is no longer used: %s", f.removed)
			}
			continue
		}
		target := v.Field(f.index)
		if f.fallback != nil {
			if err := f.shape.setText(deref(target), *f.fallback); err != nil { // compileField has done it before
				panic(fmt.Sprintf("hubfile: %s: default %v", childKey, err))
			}
		}
		if !d.value(child, f.shape, target, childKey) {
			bad[f.name] = true
		}
	}
	if checker, ok := v.Addr().Interface().(Checker); ok && d.checkers {
		checker.CheckSettings(func(relative, message string) {
			// What is said of an item is about that item; what is said of a field may come from another one that is bad.
			if name, item := cutItem(relative); len(bad) == 0 || item && !bad[name] {
				d.report(n, key, relative, message)
			}
		})
	}
}

// cutItem returns the field that a relative key leads through, and whether it leads to an item of that.
func cutItem(relative string) (field string, item bool) {
	if i := strings.IndexAny(relative, ".["); i >= 0 {
		return relative[:i], true
	}
	return relative, false
}

// names lists the keys of a struct that are in use.
func (s *shape) names() []string {
	var names []string
	for _, f := range s.fields {
		if f.removed == "" {
			names = append(names, f.name)
		}
	}
	return names
}

// entries decodes a map, which replaces what stands in v.
func (d *decoder) entries(n *node, s *shape, v reflect.Value, key string) bool {
	good := true
	entries := reflect.MakeMapWithSize(s.typ, len(n.members))
	for _, m := range n.members {
		if m.value.kind == kindNull {
			continue
		}
		entry := reflect.New(s.typ.Elem()).Elem()
		if !d.value(m.value, s.elem, entry, Join(key, m.name)) {
			good = false
		}
		entries.SetMapIndex(reflect.ValueOf(m.name).Convert(s.typ.Key()), entry)
	}
	v.Set(entries)
	return d.count(n, s, v.Len(), key) && good
}

// items decodes a list, which replaces what stands in v.
func (d *decoder) items(n *node, s *shape, v reflect.Value, key string) bool {
	good := true
	items := reflect.MakeSlice(s.typ, len(n.items), len(n.items))
	for i, item := range n.items {
		itemKey := index(key, i)
		switch {
		case item.kind == kindNull && (s.elem.pointer || s.elem.class == classAny):
			continue // is nil
		case item.kind == kindNull && s.elem.class != classRaw: // in a list nothing can be left out
			d.found.problem(item.at, itemKey, "must be %s, got null", expected[s.elem.class])
			good = false
		case !d.value(item, s.elem, items.Index(i), itemKey):
			good = false
		}
	}
	v.Set(items)
	return d.count(n, s, len(n.items), key) && good
}

// count judges the number of entries of a list or a map.
func (d *decoder) count(n *node, s *shape, entries int, key string) bool {
	if err := s.checkCount(entries); err != nil {
		d.found.problem(n.at, key, "%v, got %d", err, entries)
		return false
	}
	return true
}

// report takes what a Checker says about a key relative to the struct that stands at key and came from n. A key that
// has a problem already is left at that.
func (d *decoder) report(n *node, key, relative, message string) {
	at, full := d.main, key
	if n != nil {
		at = n.at
	}
	if relative != "" {
		full = key + "." + relative
		if key == "" || strings.HasPrefix(relative, "[") {
			full = key + relative
		}
		at = locate(n, relative, at)
	}
	if !d.found.has(full) {
		d.found.problem(at, full, "%s", message)
	}
}

// locate gives the place of a key below n, or of as much of the way there as exists; at is the place of n.
func locate(n *node, key string, at position) position {
	if n == nil || key == "" {
		return at
	}
	below := func(child *node, step string) (position, bool) {
		rest, ok := strings.CutPrefix(strings.TrimPrefix(key, "."), step)
		if !ok || rest != "" && rest[0] != '.' && rest[0] != '[' {
			return at, false
		}
		return locate(child, rest, child.at), true
	}
	for _, m := range n.members {
		if found, ok := below(m.value, Join("", m.name)); ok {
			return found
		}
	}
	for i, item := range n.items {
		if found, ok := below(item, index("", i)); ok {
			return found
		}
	}
	return at
}
