// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadFields(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"nothing", `{}`, "-"},
		{"string", `{"a": {"b": "x"}}`, "x"},
		{"number", "{\"a\":\n\t{\"b\" : 1.5e3 }}\n", "1.5e3"},
		{"last one counts", `{"a":{"b":1},"a":{"b":2}}`, "2"},
		{"not in an array", `{"a":[{"b":1}],"x":[[],{}, [1, "}"]]}`, "-"},
		{"not deeper", `{"x":{"a":{"b":1}},"a":{"b":{"c":1}}}`, "-"},
		{"escapes", `{"a":{"c":"\\","b":"\u003ca\u003e \"\n\\"}}`, "<a> \"\n\\"},
		{"brackets in a string", `{"x":"{[\"","a":{"b":"]}"}}`, "]}"},
		{"empty file", ``, "error"},
		{"half", `{"a":{"b":"x"`, "error"},
		{"half a string", `{"a":{"b":"x\"`, "error"},
		{"no key", `{1:2}`, "error"},
		{"no colon", `{"a" "b"}`, "error"},
		{"no value", `{"a":}`, "error"},
		{"no comma", `{"a":1 "b":2}`, "error"},
		{"more than one", `{} {}`, "error"},
		{"too deep", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.json")
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := "-"
			if err := readFields(path, map[string]*string{"a.b": &got}); err != nil {
				got = "error"
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// FuzzScan: whatever encoding/json makes of a text is read as encoding/json reads it, and no input at all does harm.
func FuzzScan(f *testing.F) {
	f.Add("a <b> & \"c\"\\ \u2028 \x00 \xff é 😀")
	f.Add(`{"health":{"text":"\ud83d\ude00`)
	f.Fuzz(func(t *testing.T, text string) {
		broken := scanner{data: text, wanted: map[string]*string{}}
		_ = broken.value("", 0) // must end
		data, err := json.Marshal(map[string]any{"health": map[string]any{"text": text, "children": []string{text}}, text: text})
		if err != nil {
			t.Fatal(err)
		}
		var want struct {
			Health struct{ Text string }
		}
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		var got string
		s := scanner{data: string(data), wanted: map[string]*string{"health.text": &got}}
		if err := s.value("", 0); err != nil || s.next() != 0 || (got != want.Health.Text && text != "health" && text != "health.text") {
			t.Errorf("%s: %q, %v, want %q", data, got, err, want.Health.Text)
		}
	})
}
