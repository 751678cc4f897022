// SPDX-License-Identifier: AGPL-3.0-or-later

package template_test

import (
	"strings"
	"testing"

	"github.com/magiconair/properties"
	"gopkg.in/ini.v1"

	"cloud4.internal/hub/confighub/internal/render"
)

var iniPlaces = []place{
	{"[s]\nk = {{v}}\nl = 1\n", iniWant(same)},
	{"[s]\nk={{v}}\nl = 1", iniWant(same)},
	{"[s]\nk = x{{v}}y\nl = 1\n", iniWant(beside("x", "y"))},
	{"[s]\nk = {{v}} ; c\nl = 1\n", iniWant(same)},
	{"[s]\nk = {{v}}{{v}}\nl = 1\n", iniWant(func(v string) any { return v + v })},
	{"[s]\nk = x {{v}}\nl = 1\n", iniWant(func(v string) any { return strings.TrimRight("x "+v, " ") })},
	{"[s]\nk = \"{{v}}\"\nl = 1\n", iniWant(same)},
	{"[s]\nk = \"x{{v}}y\"\nl = 1\n", iniWant(beside("x", "y"))},
	{"[s]\nk = '{{v}}'\nl = 1\n", iniWant(same)},
	{"[s]\nk = `x{{v}}`\nl = 1\n", iniWant(beside("x", ""))},
	{"[s]\nk = \"\"\"{{v}}x\"\"\"\nl = 1\n", iniWant(beside("", "x"))},
	{"[s]\n; {{v}}\nk = x\nl = 1\n", iniWant(func(string) any { return "x" })},
	{"[s]\n{{v}} = x\n", func(v string) any { return map[string]any{"s": map[string]any{v: "x"}} }},
	{"[s]\nx{{v}} = x\n", func(v string) any { return map[string]any{"s": map[string]any{"x" + v: "x"}} }},
	{"[{{v}}]\nk = x\n", func(v string) any { return map[string]any{v: map[string]any{"k": "x"}} }},
	{"[x.{{v}}]\nk = x\n", func(v string) any { return map[string]any{"x." + v: map[string]any{"k": "x"}} }},
	{"[s]\nk = \"x\" {{v}}\n", nil},
	{"[s]\nk = \"\"{{v}}\n", nil},
}

func iniWant(want func(string) any) func(string) any {
	return func(v string) any { return map[string]any{"s": map[string]any{"k": want(v), "l": "1"}} }
}

func readINI(out []byte) (any, error) {
	file, err := ini.Load(out)
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	for _, section := range file.Sections() {
		keys := map[string]any{}
		for _, key := range section.Keys() {
			keys[key.Name()] = key.String()
		}
		if len(keys) > 0 || section.Name() != ini.DefaultSection {
			all[section.Name()] = keys
		}
	}
	return all, nil
}

func TestINI(t *testing.T) {
	prove(t, "ini", iniPlaces, readINI)
	typed(t, "ini", "[s]\nk = {{v}}\n", map[string]string{"1e3": "1e3", "true": "true", "null": "", "[1]": "error"})
}

var propertiesPlaces = []place{
	{"k={{v}}\nl=1\n", propertiesWant(same)},
	{"k = {{v}}\nl=1\n", propertiesWant(same)},
	{"k: {{v}}\r\nl=1\r\n", propertiesWant(same)},
	{"k {{v}}\nl=1\n", propertiesWant(same)},
	{"  k={{v}}\nl=1", propertiesWant(same)},
	{"k=x{{v}}y\nl=1\n", propertiesWant(beside("x", "y"))},
	{"k={{v}}{{v}}\nl=1\n", propertiesWant(func(v string) any { return v + v })},
	{"k=x\\\n   {{v}}\nl=1\n", propertiesWant(beside("x", ""))},
	{"k=\\u0041{{v}}\nl=1\n", propertiesWant(beside("A", ""))},
	{"k=${{v}}\nl=1\n", propertiesWant(beside("$", ""))},
	{"# {{v}}\nk=x\nl=1\n", propertiesWant(func(string) any { return "x" })},
	{"{{v}}=x\n", func(v string) any { return map[string]any{v: "x"} }},
	{"x{{v}}:x\n", func(v string) any { return map[string]any{"x" + v: "x"} }},
	{"k=\\{{v}}\n", nil},
	{"k=\\u00{{v}}\n", nil},
}

func propertiesWant(want func(string) any) func(string) any {
	return func(v string) any { return map[string]any{"k": want(v), "l": "1"} }
}

// readProperties reads with references expanded, which is what a value must not be taken for.
func readProperties(out []byte) (any, error) {
	loader := properties.Loader{Encoding: properties.UTF8}
	p, err := loader.LoadBytes(out)
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	for _, key := range p.Keys() {
		all[key], _ = p.Get(key)
	}
	return all, nil
}

func TestProperties(t *testing.T) {
	prove(t, "properties", propertiesPlaces, readProperties)
	typed(t, "properties", "k={{v}}", map[string]string{"1e3": "1e3", "true": "true", "null": "", "[1]": "error"})
}

var envPlaces = []place{
	{"K={{v}}\nL=1\n", envWant(same)},
	{"K={{v}}\r\nL=1\r\n", envWant(same)},
	{"K=x{{v}}\nL=1", envWant(beside("x", ""))},
	{"K=x={{v}}\nL=1\n", envWant(beside("x=", ""))},
	{"K={{v}}{{v}}\nL=1\n", envWant(func(v string) any { return v + v })},
	{"K= {{v}}\nL=1\n", envWant(beside(" ", ""))},
	{"K=\"{{v}}\"\nL=1\n", envWant(same)},
	{"K=\"x{{v}}y\"\nL=1\n", envWant(beside("x", "y"))},
	{"K='{{v}}'\nL=1\n", envWant(same)},
	{"K='x{{v}}y'\nL=1\n", envWant(beside("x", "y"))},
	{"# {{v}}\nK=x\nL=1\n", envWant(func(string) any { return "x" })},
	{"K{{v}}=x\n", func(v string) any { return []string{"K" + v + "=x"} }},
	{"K=\"x\"{{v}}\n", nil},
	{"K=\"\\{{v}}\"\n", nil},
}

func envWant(want func(string) any) func(string) any {
	return func(v string) any { return []string{"K=" + want(v).(string), "L=1"} }
}

func readEnv(out []byte) (any, error) { return render.ParseEnv(string(out)) }

func TestEnv(t *testing.T) {
	prove(t, "env", envPlaces, readEnv)
	typed(t, "env", "K={{v}}\n", map[string]string{"1e3": "1e3", "true": "true", "null": "", "[1]": "error"})
}
