// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/seal"
)

// sealed is a sealed value for this key of the data, as JSON.
func sealed(t testing.TB, key string) string {
	t.Helper()
	to, err := seal.EnsureKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text, err := seal.Seal(json.RawMessage(`"s3cret"`), seal.Place{Key: key}, []string{to.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"$sealed": %q}`, text)
}

// Whatever a layer below says, a sealed value replaces it whole, and is replaced whole.
func TestLayersReplaceSealed(t *testing.T) {
	first, second := sealed(t, "db"), sealed(t, "db")
	for name, tt := range map[string]struct{ below, above, want string }{
		"over a string":     {`"plain"`, second, second},
		"over an object":    {`{"user": "u", "port": 1}`, second, second},
		"over a sealed one": {first, second, second},
		"by an object":      {first, `{"user": "u"}`, `{"user": "u"}`},
		"by a list":         {first, `[1]`, `[1]`},
		"taken out":         {first, `null`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := ReadFragment(tree(map[string]string{"data/1.json": `{"db": ` + tt.below + `}`}), "defaults")
			if err != nil {
				t.Fatal(err)
			}
			over, err := ReadFragment(tree(map[string]string{"data/1.json": `{"db": ` + tt.above + `}`}), "hosts/vm1")
			if err != nil {
				t.Fatal(err)
			}
			b, err := Assemble(f, over)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]any{}
			if tt.want != "" {
				if err := json.Unmarshal([]byte(`{"db": `+tt.want+`}`), &want); err != nil {
					t.Fatal(err)
				}
			}
			got, err := json.Marshal(b.Data)
			if err != nil {
				t.Fatal(err)
			}
			wanted, err := json.Marshal(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(wanted), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOriginOfSealed(t *testing.T) {
	b, err := Assemble(layers(t, []string{"defaults", "hosts/vm1"}, map[string]map[string]string{
		"defaults":  {"data/a.json": "{\"a\": " + sealed(t, "a") + ",\n\"b\": {\"x\": 1}, \"c\": " + sealed(t, "c") + "}"},
		"hosts/vm1": {"data/h.json": "{\"a\": " + sealed(t, "a") + ",\n\"b\": " + sealed(t, "b") + ",\n\"c\": {\"x\": 1}}"},
	})...)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/a": "hosts/vm1/data/h.json:1 [defaults/data/a.json:1]", "/b": "hosts/vm1/data/h.json:2 [defaults/data/a.json:2]", "/c/x": "hosts/vm1/data/h.json:3",
	}
	if diff := cmp.Diff(want, told(b.Origins.Data)); diff != "" {
		t.Error(diff)
	}
}

func TestFormOfSealed(t *testing.T) {
	good := sealed(t, "db")
	cut := good[:40] + `"}`
	_, err := ReadFragment(tree(map[string]string{"data/a.json": strings.Join([]string{
		`{"good": ` + good,
		`"cut": ` + cut,
		`"text": {"$sealed": "secret"}`,
		`"number": {"$sealed": 1}`,
		`"more": {"$sealed": "age:", "other": 1}`,
		`"gone": {"$sealed": null}`,
		`"list": [1, {"x": {"$sealed": "age:===="}}]`,
		`"a.b": {"c": ` + good + `}`,
		`"lines": ` + strings.Replace(good, "age:YWdl", `age:YWdl\n`, 1) + `}`,
	}, ",\n")}), "services/web")
	const form = `$sealed must be what confighub seal prints: "age:" and an age file in base64`
	want := []string{
		"2: cut: is damaged: it is not whole base64. Seal the value anew",
		"3: text: " + form, "4: number: " + form,
		"5: more: has other keys beside $sealed: a sealed value is one whole",
		"6: gone: " + form,
		"7: list[1].x: is damaged: it is not whole base64. Seal the value anew",
		"8: a.b.c: lies below a key that is empty or holds a dot, a bracket or a control character, and no seal can name it: rename the key",
		"9: lines: is damaged: it is not whole base64. Seal the value anew",
	}
	problems, _ := errors.AsType[Problems](err)
	got := problems.Lines()
	for i := range want {
		want[i] = "services/web/data/a.json:" + want[i]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := ParseObject("given.json", []byte(good)); err == nil || err.Error() != "given.json:1: stands for all of the data: seal the values in it, each by its key" {
		t.Errorf("a document: %v", err)
	}
}

// What is sealed cannot be judged where nobody can open it; all else is.
func TestSchemaOfSealed(t *testing.T) {
	schema := `{"required": ["db", "port"], "additionalProperties": false, "properties": {
		"port": {"type": "integer"},
		"db": {"type": "object", "required": ["password"], "not": {"properties": {"user": {"const": "root"}}}, "properties": {
			"password": {"type": "string", "minLength": 12, "pattern": "^[a-z0-9]+$", "not": {"const": "password"}}, "user": {"anyOf": [{"type": "string"}]}}},
		"pins": {"items": {"enum": [1, 2]}, "uniqueItems": true}}}`
	files := map[string]string{"schema.json": schema, "data/a.json": `{"port": 1, "db": {"password": ` + sealed(t, "db.password") + `, "user": ` + sealed(t, "db.user") + `},
		"pins": [` + sealed(t, "pins[0]") + `, 2]}`}
	b, err := Read(tree(files))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := Pack(b)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = Unpack(packed); err != nil {
		t.Fatalf("in the container: %v", err)
	}
	files["data/b.json"] = `{"port": "x", "db": {"password": null}, "pins": [3]}`
	_, err = Read(tree(files))
	want := "data/b.json:1: db.password: is required and missing (schema.json)\ndata/b.json:1: pins[0]: must be one of [1,2] (schema.json)\n" +
		"data/b.json:1: port: must be of type integer, is a string (schema.json)"
	if err == nil || err.Error() != want {
		t.Errorf("what is not sealed:\n%v", err)
	}

	keys := []string{"db.password", "db.user", "pins[0]"}
	opened := func(password, user, pin any) map[string]any {
		return map[string]any{"port": json.Number("1"), "db": map[string]any{"password": password, "user": user}, "pins": []any{pin, json.Number("2")}}
	}
	if problems := b.CheckOpened(opened("longenough123", "app", json.Number("1")), keys); len(problems) > 0 {
		t.Errorf("what fits: %v", problems)
	}
	for name, tt := range map[string]struct {
		data map[string]any
		want []string
	}{
		"short":  {opened("s3cr3tpw", "app", json.Number("1")), []string{"data: db.password: what is sealed must have at least 12 characters (schema.json)"}},
		"const":  {opened("longenough123", "root", json.Number("1")), []string{"data: db: is what the schema excludes (schema.json)"}},
		"object": {opened("longenough123", map[string]any{"s3cr3tpw": 1}, json.Number("1")), []string{"data: db.user: what is sealed fits none of anyOf (schema.json)"}},
		"enum":   {opened("longenough123", "app", json.Number("4711")), []string{"data: pins[0]: what is sealed must be one of [1,2] (schema.json)"}},
		"twice":  {opened("longenough123", "app", json.Number("2")), []string{"data: pins[1]: stands twice in the list (schema.json)"}},
	} {
		problems := b.CheckOpened(tt.data, keys)
		if diff := cmp.Diff(tt.want, problems.Lines()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Nothing of what was sealed is in a problem: neither the value nor the names of its keys.
func TestSchemaTellsNothingOfSealed(t *testing.T) {
	b, err := Read(tree(map[string]string{
		"schema.json": `{"properties": {"db": {"additionalProperties": false, "propertyNames": {"maxLength": 1}, "properties": {"n": {"maximum": 1}, "s": {"maxLength": 1, "pattern": "^x"}}}}}`,
		"data/a.json": `{"db": ` + sealed(t, "db") + `}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	problems := b.CheckOpened(map[string]any{"db": map[string]any{"n": json.Number("4711"), "s": "s3cret", "s3cretname": true}}, []string{"db"})
	if len(problems) != 5 {
		t.Errorf("got %d problems, want 5: %v", len(problems), problems)
	}
	for _, line := range problems.Lines() {
		if strings.Contains(line, "4711") || strings.Contains(line, "s3cret") || !strings.HasPrefix(line, "data: db: in what is sealed, a value ") {
			t.Error(line)
		}
	}
}

// FuzzSealedLayers looks for layers, each of good form, that together make a sealed value of bad form, or lose one.
func FuzzSealedLayers(f *testing.F) {
	value := sealed(f, "k")
	f.Add(`{"a": "S", "b": {"c": "S"}, "l": ["S", 1]}`, `{"a": {"x": 1}, "b": "S", "l": null}`)
	f.Add(`{"a": {"x": {"y": 1}}}`, `{"a": {"x": "S", "$": "S"}, "b": {"b": {"b": "S"}}}`)
	f.Add(`{"a": {"$sealed": null}}`, `{"a": {"$sealed": "S"}}`)
	f.Fuzz(func(t *testing.T, below, above string) {
		var layers []*Fragment
		for i, text := range []string{below, above} {
			l, err := ReadFragment(tree(map[string]string{"data/1.json": strings.ReplaceAll(text, `"S"`, value)}), fmt.Sprint(i))
			if err != nil {
				return
			}
			layers = append(layers, l)
		}
		b, err := Assemble(layers...)
		if err != nil {
			return
		}
		found := 0
		seal.Visit(b.Data, func(f seal.Found) any {
			found++
			if f.Err != nil {
				t.Errorf("%s over %s: %s: %v", above, below, f.Key, f.Err)
			}
			return nil
		})
		// All of the upper layer prevails.
		var own int
		seal.Visit(layers[1].data[0].value, func(seal.Found) any { own++; return nil })
		if found < own {
			t.Errorf("%s over %s: %d sealed values, the upper layer alone has %d", above, below, found, own)
		}
		packed, err := Pack(b)
		if err != nil {
			return
		}
		if again, err := Unpack(packed); err != nil || !cmp.Equal(again.Data, b.Data) {
			t.Errorf("%s over %s: packed it is another: %v", above, below, err)
		}
	})
}
