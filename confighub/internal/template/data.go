// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// The library prints what it finds with fmt, and takes for false what reflection says is empty. The types
// here give each value of JSON the kind it takes for true or false as mustache has it, and print, behind a
// mark, what the value was: "\x00", a letter for its type, the length in bytes, ":", the text. None has a
// method without arguments but the Item ones, since the library calls such methods from templates.

// Letters of value types in marks.
const (
	typeString  = 's'
	typeNumber  = 'n'
	typeBoolean = 'b'
	typeNull    = '0'
	typeObject  = 'o'
	typeList    = 'l'
)

type (
	textValue    string
	booleanValue bool
	numberValue  string
	nullValue    struct{}
	objectValue  map[string]any
	// plainObject is an object that no tag of the template writes. It has no method: the library asks for the methods
	// of every object that it looks a name up in, which takes reflection longer than all the rest.
	plainObject map[string]any
	// zeroValue is a number that is zero. Its length is 0, so the library takes it for false; the literal lies
	// in its capacity.
	zeroValue []byte
	// listValue has what the library iterates as its length, and a hiddenList behind that.
	listValue []any
	// rowValue is a list in a list.
	rowValue []any
	// itemValue is a scalar in a list that counts as true, and its place: a map, since fields of a struct could be named
	// by tags.
	itemValue map[string]any
	// falseItem is a scalar in a list that counts as false, of length 0 as zeroValue.
	falseItem []itemScalar
)

// hiddenList lies behind the last element of a listValue or rowValue.
type hiddenList struct {
	source []any
	item   item
}

type itemScalar struct {
	value any
	item  item
}

// unnamable is a key that no tag can name.
const unnamable = "\x00"

// item is the place of a value in a list.
type item struct{ index, count int }

// atNames maps what templates write to the method names that the library calls.
var atNames = map[string]string{"@index": "MustacheItemIndex", "@first": "MustacheItemFirst", "@last": "MustacheItemLast"}

func libraryName(name string) string {
	if method := atNames[name]; method != "" {
		return method
	}
	return name
}

func (i item) lookup(name string) any {
	switch name {
	case "@index":
		return json.Number(strconv.Itoa(i.index))
	case "@first":
		return i.index == 0
	}
	return i.index == i.count-1
}

func mark(w io.Writer, letter byte, text string) {
	_, _ = io.WriteString(w, "\x00"+string(letter)+strconv.Itoa(len(text))+":"+text) // memory takes it
}

func (v textValue) Format(f fmt.State, _ rune)    { mark(f, typeString, string(v)) }
func (v booleanValue) Format(f fmt.State, _ rune) { mark(f, typeBoolean, strconv.FormatBool(bool(v))) }
func (v numberValue) Format(f fmt.State, _ rune)  { mark(f, typeNumber, string(v)) }
func (v zeroValue) Format(f fmt.State, _ rune)    { mark(f, typeNumber, string(v[:cap(v)])) }
func (nullValue) Format(f fmt.State, _ rune)      { mark(f, typeNull, "") }
func (v objectValue) Format(f fmt.State, _ rune)  { mark(f, typeObject, jsonText(v[unnamable])) }
func (v listValue) Format(f fmt.State, _ rune)    { mark(f, typeList, jsonText(hidden(v).source)) }
func (v rowValue) Format(f fmt.State, _ rune)     { mark(f, typeList, jsonText(hidden(v).source)) }
func (v itemValue) Format(f fmt.State, _ rune)    { fmt.Fprint(f, v[unnamable]) }
func (v falseItem) Format(f fmt.State, _ rune)    { fmt.Fprint(f, v[:1][0].value) }

func hidden(list []any) hiddenList { return list[:len(list)+1][len(list)].(hiddenList) }

// The names by which the library reaches the place of an item.

func (v falseItem) MustacheItemIndex() any { return wrap(v[:1][0].item.lookup("@index")) }
func (v falseItem) MustacheItemFirst() any { return wrap(v[:1][0].item.lookup("@first")) }
func (v falseItem) MustacheItemLast() any  { return wrap(v[:1][0].item.lookup("@last")) }
func (v rowValue) MustacheItemIndex() any  { return wrap(hidden(v).item.lookup("@index")) }
func (v rowValue) MustacheItemFirst() any  { return wrap(hidden(v).item.lookup("@first")) }
func (v rowValue) MustacheItemLast() any   { return wrap(hidden(v).item.lookup("@last")) }

// wrapper turns values of JSON into what the library is given.
type wrapper struct {
	// written: some tag writes a whole object.
	written bool
}

func wrap(v any) any { return wrapper{written: true}.wrap(v) }

func (w wrapper) wrap(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return w.object(w.fields(v, 0), v)
	case []any:
		return w.list(v, item{})
	case string:
		return textValue(v)
	case bool:
		return booleanValue(v)
	case json.Number:
		if isZero(string(v)) {
			return zeroValue(slices.Clip([]byte(v)))[:0]
		}
		return numberValue(v)
	}
	return nullValue{}
}

// fields wraps an object's, with room for more.
func (w wrapper) fields(v map[string]any, more int) map[string]any {
	fields := make(map[string]any, len(v)+more+1)
	for name, value := range v {
		fields[name] = w.wrap(value)
	}
	return fields
}

// object makes a value of wrapped fields.
func (w wrapper) object(fields, source map[string]any) any {
	if !w.written {
		return plainObject(fields)
	}
	fields[unnamable] = source
	return objectValue(fields)
}

func (w wrapper) list(v []any, at item) listValue {
	list := make(listValue, 0, len(v)+1)
	for i, value := range v {
		list = append(list, w.item(value, item{i, len(v)}))
	}
	return append(list, hiddenList{source: v, item: at})[:len(v)]
}

// item is wrap for a list item, which knows its place.
func (w wrapper) item(v any, at item) any {
	switch v := v.(type) {
	case map[string]any:
		fields := w.fields(v, len(atNames))
		w.place(fields, at)
		return w.object(fields, v)
	case []any:
		return rowValue(w.list(v, at))
	}
	if !truthy(v) {
		return falseItem{itemScalar{value: w.wrap(v), item: at}}[:0]
	}
	scalar := itemValue{unnamable: w.wrap(v)}
	w.place(scalar, at)
	return scalar
}

// place adds the place of an item to its fields.
func (w wrapper) place(fields map[string]any, at item) {
	for name, method := range atNames {
		fields[method] = w.wrap(at.lookup(name))
	}
}

// truthy is what mustache takes a value of JSON for: false are null, false, numbers that are zero, strings of
// white space, and empty lists.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return strings.TrimSpace(v) != ""
	case json.Number:
		return !isZero(string(v))
	case []any:
		return len(v) > 0
	}
	return true
}

// isZero reports whether a number literal of JSON is zero: no digit but 0 before the exponent.
func isZero(number string) bool {
	mantissa, _, _ := strings.Cut(strings.ToLower(number), "e")
	return !strings.ContainsAny(mantissa, "123456789")
}

func jsonText(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "null"
	}
	return strings.TrimSuffix(b.String(), "\n")
}
