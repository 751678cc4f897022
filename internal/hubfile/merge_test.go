// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mergePatch is the pseudocode of RFC 7396 §2 over plain values, to compare merge with.
func mergePatch(target, patch any) any {
	object, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	result, ok := target.(map[string]any)
	if !ok {
		result = map[string]any{}
	}
	for name, value := range object {
		if value == nil {
			delete(result, name)
		} else {
			result[name] = mergePatch(result[name], value)
		}
	}
	return result
}

func decode(t *testing.T, text string) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	var out any
	if err := decoder.Decode(&out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

func mustParse(t *testing.T, text string, rank int) *node {
	t.Helper()
	found := &findings{}
	n := parse([]byte(text), rank, fmt.Sprintf("file%d", rank), found)
	if n == nil || len(found.problems) > 0 {
		t.Fatalf("parsing %s: %v", text, found.problems)
	}
	return n
}

// TestMergeExamples merges the examples of RFC 7396, appendix A, put below a key since settings are always an object.
func TestMergeExamples(t *testing.T) {
	for _, test := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		got := merge(mustParse(t, `{"x":`+test.target+`}`, 0), mustParse(t, `{"x":`+test.patch+`}`, 1)).member("x").plain()
		if diff := cmp.Diff(decode(t, test.want), got); diff != "" {
			t.Errorf("%s with %s (-want +got):\n%s", test.target, test.patch, diff)
		}
	}
}

// randomValue makes a JSON text of few names, so that patches hit what is there.
func randomValue(r *rand.Rand, depth int) string {
	kinds := 7
	if depth == 0 {
		kinds = 5
	}
	switch r.IntN(kinds) {
	case 0:
		return "null"
	case 1:
		return fmt.Sprint(r.IntN(3))
	case 2:
		return fmt.Sprintf("%q", string(rune('x'+r.IntN(3))))
	case 3:
		return "true"
	case 4:
		return `[null, {"a": null}]`
	}
	return randomObject(r, depth-1)
}

func randomObject(r *rand.Rand, depth int) string {
	var out bytes.Buffer
	out.WriteString("{")
	comma := ""
	for _, name := range []string{"a", "b", "c", "d"} {
		if r.IntN(2) == 0 {
			fmt.Fprintf(&out, "%s%q: %s", comma, name, randomValue(r, depth))
			comma = ",\n"
		}
	}
	out.WriteString("}")
	return out.String()
}

// TestMergeProperty compares merge with the RFC's own algorithm on random settings and drop-ins, several over each other.
func TestMergeProperty(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7396))
		text := randomObject(r, 4)
		n, want := mustParse(t, text, 0), decode(t, text)
		for rank := range 1 + r.IntN(3) {
			patch := randomObject(r, 4)
			n, want = merge(n, mustParse(t, patch, rank+1)), mergePatch(want, decode(t, patch))
		}
		if diff := cmp.Diff(want, n.plain()); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

// TestMergeKeepsPlaces follows each value back to its file and line, and shows that the arguments stay as they were.
func TestMergeKeepsPlaces(t *testing.T) {
	base := mustParse(t, "{\n\"a\": {\n\"x\": 1,\n\"y\": 2},\n\"b\": 1}", 0)
	patch := mustParse(t, "{\"a\": {\n\"y\": 3,\n\"z\": {\"q\": null}}}", 1)
	before := fmt.Sprint(base.plain(), patch.plain())
	merged := merge(base, patch)
	for _, test := range []struct {
		path []string
		want string
	}{
		{[]string{"a"}, "file0:2"},
		{[]string{"a", "x"}, "file0:3"},
		{[]string{"a", "y"}, "file1:2"},
		{[]string{"a", "z"}, "file1:3"},
		{[]string{"b"}, "file0:5"},
	} {
		n := merged
		for _, name := range test.path {
			n = n.member(name)
		}
		if got := n.at.String(); got != test.want {
			t.Errorf("%v is at %s, want %s", test.path, got, test.want)
		}
	}
	if after := fmt.Sprint(base.plain(), patch.plain()); after != before {
		t.Errorf("arguments changed from %s to %s", before, after)
	}
}
