// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// list is a JSON list of n ones.
func list(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }

func TestManyProblemsAreCut(t *testing.T) {
	var targets []string
	for i := range 5000 {
		targets = append(targets, fmt.Sprintf("%q: 1", fmt.Sprintf("/%04d", i)))
	}
	_, err := Read(tree(map[string]string{"bundle.json": "{\"targets\": {\n" + strings.Join(targets, ",\n") + "}}"}))
	problems, _ := errors.AsType[Problems](err)
	lines := problems.Lines()
	if len(lines) != maxProblems+1 || lines[99] != "bundle.json:101: targets./0099: must be an object, is a number" ||
		lines[100] != "bundle.json:101: and 4900 more problems from here on" {
		t.Errorf("got %d lines, %q", len(lines), lines[max(0, len(lines)-2):])
	}
}

// The most that the limits let through costs a container what it can bear.
func TestMostCostsLittle(t *testing.T) {
	deep := strings.Repeat("d", 300)
	for name, data := range map[string]string{
		"values": `{"l": ` + list(MaxValues-10) + "}",
		"keys":   `{"` + deep + `": ` + list(MaxValues-10) + "}",
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b, err := Read(tree(map[string]string{"data/a.json": data}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Pack(b); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if cost := (after.TotalAlloc - before.TotalAlloc) >> 20; cost > 300 {
				t.Errorf("allocates %d MiB", cost)
			}
		})
	}
}

// What small files multiply to is bounded.
func TestSchemaBombs(t *testing.T) {
	words := make([]string, 50_000)
	for i := range words {
		words[i] = fmt.Sprintf("%q", fmt.Sprint("w", i))
	}
	many := "[" + strings.Join(words, ",") + "]"
	const tooMany = "schema.json: asks for more than 2000000 comparisons with this data"
	for name, tt := range map[string]struct{ schema, data, want string }{
		"enum":      {`{"properties": {"l": {"items": {"enum": ` + strings.Replace(many, `"w0"`, `"v0"`, 1) + `}}}}`, `{"l": ` + many + "}", tooMany},
		"all":       {`{"properties": {"l": {"items": {"allOf": [` + strings.Repeat("{},", 50_000) + "]}}}}", `{"l": ` + many + "}", tooMany},
		"required":  {`{"properties": {"l": {"items": {"required": ` + many + "}}}}", `{"l": [` + strings.Repeat(`{"a": 1},`, 20_000) + "]}", tooMany},
		"pattern":   {`{"properties": {"l": {"items": {"pattern": "^w[0-9]{1,1000}` + strings.Repeat("x?", 1000) + `$"}}}}`, `{"l": ` + strings.Join(strings.SplitAfter(many, ",")[:1000], "") + "]}", ""},
		"long text": {`{"properties": {"l": {"pattern": "^[a-z]{1,1000}$"}}}`, `{"l": "` + strings.Repeat("w", 1<<20) + `"}`, tooMany},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := Read(tree(map[string]string{"schema.json": tt.schema, "data/a.json": tt.data}))
			if got := fmt.Sprint(err); err != nil && got != tt.want || err == nil && tt.want != "" {
				t.Errorf("got %.300s", got)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestFragmentsHaveRoomTogether(t *testing.T) {
	var fragments []*Fragment
	for i := range 2 {
		f, err := ReadFragment(tree(map[string]string{"data/a.json": fmt.Sprintf(`{"l%d": %s}`, i, list(MaxValues/2+1))}), "")
		if err != nil {
			t.Fatal(err)
		}
		fragments = append(fragments, f)
	}
	b, err := Assemble(fragments...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Pack(b); err == nil || err.Error() != "packing the bundle: data/data.json makes the JSON of the bundle hold more than 200000 values" {
		t.Errorf("got %v", err)
	}
}
