// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/hubfile"
)

var update = flag.Bool("update", false, "write testdata/schema.json")

// TestSchema compares the schema of the test's sections with the one that was read by people.
func TestSchema(t *testing.T) {
	_, _, asked := sections()
	got, err := hubfile.Schema(asked...)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/schema.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSchemaPatterns holds the patterns of the schema against what Load takes and refuses.
func TestSchemaPatterns(t *testing.T) {
	_, _, asked := sections()
	data, err := hubfile.Schema(asked...)
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Health struct {
				Properties map[string]struct{ Pattern string }
			}
		}
	}
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string]map[string]bool{
		"every": {"10s": true, "30m15s": true, "1.5m": true, "2m5s": true, "5": false, "": false, "1 h": false, "1d": false},
		"body":  {"1": true, "1MiB": true, "0.5 MB": true, "512B": true, "1M": false, "MiB": false, "": false, "-1": false},
	} {
		pattern := regexp.MustCompile(schema.Properties.Health.Properties[name].Pattern)
		for value, want := range values {
			if got := pattern.MatchString(value); got != want {
				t.Errorf("the pattern of %s takes %q: %v, want %v", name, value, got, want)
			}
			path := filepath.Join(t.TempDir(), "hub.json")
			text, err := json.Marshal(map[string]any{"health": map[string]string{name: value}})
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, string(text))
			if _, err := hubfile.Load(hubfile.Source{Path: path}, asked...); (err == nil) != want {
				t.Errorf("Load of %s %q: %v, want good: %v", name, value, err, want)
			}
		}
	}
}
