// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// class is what kind of value a shape takes.
type class int

const (
	classString class = iota
	classBool
	classInt // any width, signed or not
	classFloat
	classDuration
	classBytes
	classText // has UnmarshalText
	classStruct
	classList
	classMap
	classAny
	classRaw // json.RawMessage
)

// shape is a type that settings can be decoded into, with the rules of its tags.
type shape struct {
	class    class
	typ      reflect.Type // without the pointer
	pointer  bool         // the field is a pointer to typ
	fields   []field      // classStruct, in the order of the type
	elem     *shape       // classList, classMap
	min, max string       // as in the tag; "" is none
	enum     []string
}

// field is a field of a struct and its tags.
type field struct {
	name     string // in JSON
	index    int    // in the struct
	shape    *shape
	fallback *string // the default tag; nil: none
	doc      string
	removed  string // what to do instead of using this key; "" for a key that is in use
}

// scalar reports whether an environment variable can hold such a value.
func (s *shape) scalar() bool { return s.class <= classText }

// compileSections gives the shape of each section. Mistakes in types and tags are the program's and panic.
func compileSections(sections []Section) []*shape {
	shapes := make([]*shape, len(sections))
	for i, section := range sections {
		typ := reflect.TypeOf(section.Into)
		if typ == nil || typ.Kind() != reflect.Pointer || typ.Elem().Kind() != reflect.Struct {
			panic(fmt.Sprintf("hubfile: section %q: need a pointer to a struct, got %v", section.Name, typ))
		}
		shapes[i] = compile(typ.Elem(), section.Name, nil)
	}
	return shapes
}

// compile gives the shape of a type. key is for the message of a panic, outer are the structs around it.
func compile(typ reflect.Type, key string, outer []reflect.Type) *shape {
	s := &shape{typ: typ}
	if typ.Kind() == reflect.Pointer {
		s.typ, s.pointer = typ.Elem(), true
	}
	s.class = classify(s.typ, key)
	switch s.class {
	case classList, classMap:
		s.elem = compile(s.typ.Elem(), key+"[]", outer)
	case classStruct:
		for _, o := range outer {
			if o == s.typ {
				panic(fmt.Sprintf("hubfile: %s: type %v contains itself", key, s.typ))
			}
		}
		outer = append(outer[:len(outer):len(outer)], s.typ)
		for i := range s.typ.NumField() {
			if f, ok := compileField(s.typ.Field(i), i, key, outer); ok {
				s.fields = append(s.fields, f)
			}
		}
	}
	return s
}

// classify finds the class of a type.
func classify(typ reflect.Type, key string) class {
	switch {
	case typ == reflect.TypeFor[time.Duration]():
		return classDuration
	case typ == reflect.TypeFor[Bytes]():
		return classBytes
	case typ == reflect.TypeFor[json.RawMessage]():
		return classRaw
	case reflect.PointerTo(typ).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return classText
	}
	switch typ.Kind() {
	case reflect.String:
		return classString
	case reflect.Bool:
		return classBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return classInt
	case reflect.Float32, reflect.Float64:
		return classFloat
	case reflect.Struct:
		return classStruct
	case reflect.Slice:
		return classList
	case reflect.Map:
		if typ.Key().Kind() == reflect.String {
			return classMap
		}
	case reflect.Interface:
		if typ.NumMethod() == 0 {
			return classAny
		}
	}
	panic(fmt.Sprintf("hubfile: %s: no setting can be of type %v", key, typ))
}

// compileField reads the tags of a field; ok is false for one that is no setting.
func compileField(sf reflect.StructField, i int, key string, outer []reflect.Type) (f field, ok bool) {
	name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
	if !sf.IsExported() || name == "-" {
		return field{}, false
	}
	key = Join(key, name)
	if name == "" {
		panic(fmt.Sprintf("hubfile: %s: field %s has no json tag", key, sf.Name))
	}
	f = field{name: name, index: i, doc: sf.Tag.Get("doc"), removed: sf.Tag.Get("removed")}
	f.shape = compile(sf.Type, key, outer)
	f.shape.min, f.shape.max = sf.Tag.Get("min"), sf.Tag.Get("max")
	if enum := sf.Tag.Get("enum"); enum != "" {
		rule := f.shape
		for rule.elem != nil { // of a list or a map, each entry
			rule = rule.elem
		}
		rule.enum = strings.Split(enum, "|")
	}
	if err := f.shape.checkTags(); err != nil {
		panic(fmt.Sprintf("hubfile: %s: %v", key, err))
	}
	if fallback, ok := sf.Tag.Lookup("default"); ok {
		f.fallback = &fallback
		if err := f.shape.setText(reflect.New(f.shape.typ).Elem(), fallback); err != nil {
			panic(fmt.Sprintf("hubfile: %s: default %v", key, err))
		}
	}
	return f, true
}
