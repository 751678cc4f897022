// SPDX-License-Identifier: AGPL-3.0-or-later

package examples

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloud4.internal/hub/baseimage/dockertest"
	"github.com/google/go-cmp/cmp"
)

// settingsPage is made from what the programs say of themselves; UPDATE=1 writes it anew.
const settingsPage = "../docs/settings.md"

const settingsHead = `# Settings

Made from ` + "`confighub --schema`, `healthhub --schema` and `loghub --schema`" + `, which editors can use as it is. Where they
stand and how they are merged is in the [README](../README.md#settings). A key below no name has a variable,
` + "`config.start_wait` is `HUB_CONFIG_START_WAIT`" + `.
`

// node is the part of JSON Schema that internal/hubfile writes.
type node struct {
	Type                 json.RawMessage            `json:"type"`
	Description          string                     `json:"description"`
	Default              json.RawMessage            `json:"default"`
	Enum                 []any                      `json:"enum"`
	Properties           map[string]json.RawMessage `json:"properties"`
	AdditionalProperties json.RawMessage            `json:"additionalProperties"`
}

// parse reads a schema; the schema true, which takes everything, has nothing to tell.
func parse(t *testing.T, raw json.RawMessage) (n node) {
	t.Helper()
	if string(raw) == "true" || string(raw) == "false" || len(raw) == 0 {
		return node{}
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSettingsPage holds docs/settings.md against the programs in the image.
func TestSettingsPage(t *testing.T) {
	page := settingsHead
	for _, section := range []struct{ program, name string }{
		{"confighub", "identity"}, {"confighub", "config"}, {"healthhub", "health"}, {"loghub", "log"},
	} {
		raw := dockertest.Docker(t, "run", "--rm", "--label", "cloud4-test", "--entrypoint", section.program, "cloud4/base", "--schema")
		schema := parse(t, json.RawMessage(raw))
		rows := rows(t, section.name, parse(t, schema.Properties[section.name]))
		if len(rows) == 0 {
			t.Fatalf("%s --schema says nothing of %s", section.program, section.name)
		}
		page += "\n## " + section.name + "\n\n| key | default | what |\n|---|---|---|\n" + strings.Join(rows, "")
	}
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(settingsPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(page, read(t, settingsPage)); diff != "" {
		t.Errorf("docs/settings.md is not what the programs say (UPDATE=1 writes it anew):\n%s", diff)
	}
}

// rows are the lines of the table for one key and what is below it.
func rows(t *testing.T, key string, n node) (lines []string) {
	t.Helper()
	below := parse(t, n.AdditionalProperties) // of an object keyed by name
	if len(n.Properties) == 0 {
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |\n", key, n.fallback(), n.what()))
	}
	for _, name := range slices.Sorted(maps.Keys(n.Properties)) {
		lines = append(lines, rows(t, key+"."+name, parse(t, n.Properties[name]))...)
	}
	if len(below.Properties) > 0 {
		lines = append(lines, rows(t, key+".<name>", below)...)
	}
	return lines
}

func (n node) fallback() string {
	var list []string
	if json.Unmarshal(n.Default, &list) == nil {
		return "`" + strings.Join(list, "` `") + "`"
	}
	if text := strings.Trim(string(n.Default), `"`); text != "" {
		return "`" + text + "`"
	}
	return ""
}

func (n node) what() string {
	var values []string
	for _, v := range n.Enum {
		if s, ok := v.(string); ok && s != "" {
			values = append(values, "`"+s+"`")
		}
	}
	text := strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(n.Description)
	if len(values) > 0 {
		text += " (" + strings.Join(values, " ") + ")"
	}
	return text
}

// TestReadmeSettings holds that every setting the README names is one.
func TestReadmeSettings(t *testing.T) {
	page := read(t, settingsPage)
	keys := regexp.MustCompile("`(identity|config|health|log)\\.([a-z_]+|<name>)(\\.([a-z_]+|<name>))*`").FindAllString(read(t, "../README.md"), -1)
	if len(keys) < 10 {
		t.Fatalf("only %d settings found: the expression is wrong", len(keys))
	}
	for _, key := range keys {
		key = strings.Trim(key, "`")
		if !strings.Contains(page, "| `"+key+"`") && !strings.Contains(page, "| `"+key+".") {
			t.Errorf("README.md names %s, which is no setting", key)
		}
	}
}
