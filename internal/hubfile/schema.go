// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Schema describes the settings file as JSON Schema, draft 2020-12 (https://json-schema.org/draft/2020-12), for
// editors and for whoever writes settings with a program. Sections that are not given are allowed and not described. Rules of more than one field, and
// limits of durations and sizes, are beyond it: [Load] has the last word. A null stands for a key left out.
func Schema(sections ...Section) ([]byte, error) {
	shapes := compileSections(sections)
	properties := map[string]any{schemaKey: map[string]any{"type": "string", "description": "where this schema is, for editors"}}
	for _, name := range sectionNames {
		properties[name] = true
	}
	for i, section := range sections {
		properties[section.Name] = shapes[i].schema(true)
	}
	data, err := json.MarshalIndent(map[string]any{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "settings of the hubs",
		"type":                 "object",
		"properties":           properties,
		"additionalProperties": false,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	return append(data, '\n'), nil
}

// Patterns of the scalars that JSON writes as strings.
const (
	durationPattern = `^[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
	bytesPattern    = `^ *[0-9]+(\.[0-9]+)? *([kMGT]?B|[KMGT]iB)? *$`
)

// schema describes a shape. In a list nothing can be left out by a null, elsewhere everything can.
func (s *shape) schema(null bool) map[string]any {
	out := map[string]any{}
	kinds := s.rules(out)
	var values []any
	for _, value := range s.enum {
		values = append(values, s.literal(value))
	}
	if null && kinds != nil {
		kinds = append(kinds, "null")
	}
	if null && values != nil {
		values = append(values, nil)
	}
	switch {
	case len(kinds) == 1:
		out["type"] = kinds[0]
	case kinds != nil:
		out["type"] = kinds
	}
	if values != nil {
		out["enum"] = values
	}
	return out
}

// rules puts what holds for the class into out and returns the JSON types it takes; nil: all.
func (s *shape) rules(out map[string]any) (kinds []string) {
	switch s.class {
	case classString, classText:
		s.lengths(out, "minLength", "maxLength")
		return []string{"string"}
	case classBool:
		return []string{"boolean"}
	case classInt:
		s.bounds(out)
		return []string{"integer"}
	case classFloat:
		s.bounds(out)
		return []string{"number"}
	case classDuration:
		out["pattern"] = durationPattern
		return []string{"string"}
	case classBytes:
		out["pattern"], out["minimum"] = bytesPattern, 0
		return []string{"string", "integer"}
	case classStruct:
		properties := map[string]any{}
		for _, f := range s.fields {
			properties[f.name] = f.schema()
		}
		out["properties"], out["additionalProperties"] = properties, false
		return []string{"object"}
	case classMap:
		out["additionalProperties"] = s.elem.schema(true)
		s.lengths(out, "minProperties", "maxProperties")
		return []string{"object"}
	case classList:
		out["items"] = s.elem.schema(s.elem.pointer)
		s.lengths(out, "minItems", "maxItems")
		return []string{"array"}
	}
	return nil
}

// schema describes a field: its shape, what it is, and its default.
func (f field) schema() map[string]any {
	out := f.shape.schema(true)
	if f.doc != "" {
		out["description"] = f.doc
	}
	if f.removed != "" {
		out["deprecated"], out["description"] = true, "no longer used: "+f.removed
	}
	if f.fallback != nil {
		out["default"] = f.shape.literal(*f.fallback)
	}
	return out
}

// literal is the JSON value of a default or an enum tag.
func (s *shape) literal(tag string) any {
	switch s.class {
	case classBool:
		b, _ := strconv.ParseBool(tag) // compileField has parsed it before
		return b
	case classInt, classFloat:
		return json.Number(tag)
	case classList:
		words := []any{}
		for _, word := range strings.Fields(tag) {
			words = append(words, s.elem.literal(word))
		}
		return words
	}
	return tag
}

// bounds puts min and max where they limit a number.
func (s *shape) bounds(out map[string]any) {
	for name, tag := range map[string]string{"minimum": s.min, "maximum": s.max} {
		if tag != "" {
			out[name] = json.Number(tag)
		}
	}
}

// lengths puts min and max where they limit a number of things.
func (s *shape) lengths(out map[string]any, least, most string) {
	for name, tag := range map[string]string{least: s.min, most: s.max} {
		if n, err := strconv.Atoi(tag); err == nil {
			out[name] = n
		}
	}
}
