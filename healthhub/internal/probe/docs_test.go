// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/hubfile"
)

// Every example of docs/checks.md is taken, and every kind has one.
func TestChecksPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/checks.md")
	if err != nil {
		t.Fatal(err)
	}
	kind, _ := reflect.TypeFor[setting.Check]().FieldByName("Kind")
	missing := map[string]bool{}
	for name := range strings.SplitSeq(kind.Tag.Get("enum"), "|") {
		missing[name] = true
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Fatal("no examples")
	}
	for _, block := range blocks {
		path := filepath.Join(t.TempDir(), "hub.json")
		if err := os.WriteFile(path, []byte(`{"health": {"checks": {`+string(block[1])+`}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		var s setting.Settings
		if _, err := hubfile.Load(hubfile.Source{Path: path}, hubfile.Section{Name: setting.Name, Into: &s}); err != nil {
			t.Errorf("%s: %v", block[1], err)
			continue
		}
		for name, check := range s.Checks {
			delete(missing, check.Kind)
			if _, err := New(check, Place{RunDir: t.TempDir()}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("docs/checks.md has no example of kind %s", name)
	}
}

// The levels that the page names are the ones that are taken.
func TestChecksPageHasTheDefaults(t *testing.T) {
	data, err := os.ReadFile("../../../docs/checks.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, text := range []string{
		"| `disk` | `" + diskWarn + "` | `" + diskFail + "` |", "| `inode` | `" + inodeWarn + "` | `" + inodeFail + "` |",
		"| `memory` | `" + memoryWarn + "` | `" + memoryFail + "` |",
		"| cpu some " + stalls[0].warn + ", memory full " + stalls[1].warn + ", io full " + stalls[2].warn + " | " +
			stalls[0].fail + ", " + stalls[1].fail + ", " + stalls[2].fail + " |",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("docs/checks.md does not say %s", text)
		}
	}
}
