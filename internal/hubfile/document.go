// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"fmt"
	"reflect"
)

// Decode reads a document that is no settings file into a struct, by the same rules: comments and trailing commas are
// fine, unknown keys, keys given twice, values out of range and what a [Checker] reports are errors, all of them told
// at once. name is the document's in messages. The error is Problems; then into is not to be used. into is a pointer to a
// struct of tagged fields.
func Decode(name string, data []byte, into any) error {
	typ := reflect.TypeOf(into)
	if typ == nil || typ.Kind() != reflect.Pointer || typ.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("hubfile: %s: need a pointer to a struct, got %v", name, typ))
	}
	found := &findings{}
	if root := parse(data, 0, name, found); root != nil {
		d := &decoder{found: found, checkers: true, main: position{name: name}, origins: map[string]string{}}
		d.value(root, compile(typ.Elem(), name, nil), reflect.ValueOf(into).Elem(), "")
	}
	if problems := found.sorted(found.problems); len(problems) > 0 {
		return problems
	}
	return nil
}
