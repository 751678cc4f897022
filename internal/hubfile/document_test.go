// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type documentItem struct {
	Size int `json:"size" default:"1" min:"1" max:"9"`
}

type document struct {
	Items map[string]documentItem `json:"items"`
}

func (d *document) CheckSettings(report func(key, message string)) {
	if _, ok := d.Items["bad"]; ok {
		report("items.bad", "is no name")
	}
}

func TestDecode(t *testing.T) {
	var d document
	if err := Decode("list.json", []byte("{\n  // what there is\n  \"items\": {\"a\": {}, \"b\": {\"size\": 2},},\n}"), &d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(document{map[string]documentItem{"a": {1}, "b": {2}}}, d); diff != "" {
		t.Error(diff)
	}
}

// What a document of its own is refused for stands with file, line and key, all of it at once.
func TestDecodeSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\"items\": {\"a\": {\"size\": 10},\n\"bad\": {}},\n\"thing\": 1}": "list.json:2: items.a.size: must be between 1 and 9, got 10\nlist.json:3: items.bad: is no name\nlist.json:4: thing: unknown key; known here: items",
		"{\n\"items\": {\"bad\": {}}}":                                        "list.json:2: items.bad: is no name",
		"[]":                                                                  "list.json:1: must be an object, got a list",
		"{\n\"items\"":                                                        "list.json:3: column 1: ",
	} {
		err := Decode("list.json", []byte(text), new(document))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
