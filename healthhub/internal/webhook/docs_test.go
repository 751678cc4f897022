// SPDX-License-Identifier: AGPL-3.0-or-later

package webhook_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/healthhub/internal/webhook"
	"cloud4.internal/hub/internal/hubfile"
)

const page = "../../../docs/notify.md"

// section is a heading of the page and the JSON below it.
var section = regexp.MustCompile("(?s)### (\\w+)\n[^#]*?```json\n(.*?)```")

// What the page shows as the settings of a preset is what the preset is.
func TestPageShowsThePresets(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, found := range section.FindAllStringSubmatch(string(text), -1) {
		name := found[1]
		shown[name] = true
		s := load(t, `{"health": {"notify": {"it": `+found[2]+`}}}`)
		it := s.Notify["it"]
		preset, ok := webhook.Presets[name]
		if !ok {
			t.Errorf("%s is no preset", name)
		}
		form := it.Form()
		form.URL = ""
		if diff := cmp.Diff([]any{preset.Method, preset.Headers, plain(t, preset.Body)}, []any{form.Method, form.Headers, plain(t, form.Body)}); diff != "" {
			t.Errorf("%s (-is +shown):\n%s", name, diff)
		}
	}
	for name := range webhook.Presets {
		if !shown[name] {
			t.Errorf("%s is not shown", name)
		}
	}
}

// Whole settings of the page are taken.
func TestPageShowsSettings(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, block := range strings.Split(string(text), "```json\n")[1:] {
		if block, _, _ = strings.Cut(block, "```"); strings.HasPrefix(block, `{"health"`) {
			load(t, block)
			count++
		}
	}
	if count < 3 {
		t.Errorf("found %d", count)
	}
}

func load(t *testing.T, text string) *setting.Settings {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hub.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := new(setting.Settings)
	if _, err := hubfile.Load(hubfile.Source{Path: path}, hubfile.Section{Name: setting.Name, Into: s}); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return s
}

func plain(t *testing.T, data json.RawMessage) (out any) {
	t.Helper()
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
