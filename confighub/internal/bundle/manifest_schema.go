// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// schemaKey may stand in a bundle.json, for editors.
const schemaKey = "$schema"

// ManifestSchema describes bundle.json as JSON Schema, draft 2020-12 (https://json-schema.org/draft/2020-12), for editors and
// for whoever writes bundles with a program. It is that of a layer: nothing is required, and null takes away what an
// earlier layer says (RFC 7396). What keys say of each other is beyond it: [Assemble] has the last word.
func ManifestSchema() ([]byte, error) {
	schema := shapeOf(reflect.TypeFor[Manifest]())
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "bundle.json of a configuration bundle"
	schema["type"] = "object"
	schema["properties"].(map[string]any)[schemaKey] = map[string]any{"type": "string", "description": "where this schema is, for editors"}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	return b.Bytes(), nil
}

// fieldRules are what single fields of a target take, beside their type.
func fieldRules() map[string]map[string]any {
	return map[string]map[string]any{
		"identity": {"enum": []any{IdentityCert, IdentityKey, IdentityCombined, IdentityRoots, nil}},
		"escape":   {"enum": orNull(Formats())},
		"owner":    {"pattern": ownerForm.String()},
	}
}

func orNull(names []string) (list []any) {
	for _, name := range names {
		list = append(list, name)
	}
	return append(list, nil)
}

// shapeOf is the schema of a type of the manifest.
func shapeOf(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[Action]():
		return map[string]any{"anyOf": []any{
			map[string]any{"type": "string", "pattern": "(" + signalForm.String() + ")|(" + actionForm.String() + ")"},
			map[string]any{"type": "array", "items": map[string]any{"type": "string"}, "minItems": 1},
			map[string]any{"type": "null"},
		}}
	case reflect.TypeFor[*Mode]():
		return map[string]any{"type": []any{"string", "null"}, "pattern": "^0*[0-7]{1,3}$"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": []any{"boolean", "null"}}
	case reflect.String:
		return map[string]any{"type": []any{"string", "null"}}
	case reflect.Map:
		return map[string]any{"type": []any{"object", "null"}, "additionalProperties": shapeOf(t.Elem())}
	}
	properties := map[string]any{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := shapeOf(f.Type)
		schema["description"] = f.Tag.Get("doc")
		if t == reflect.TypeFor[Target]() {
			for word, rule := range fieldRules()[name] {
				schema[word] = rule
			}
		}
		properties[name] = schema
	}
	return map[string]any{"type": []any{"object", "null"}, "properties": properties, "additionalProperties": false}
}
