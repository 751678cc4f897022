// SPDX-License-Identifier: AGPL-3.0-or-later

package parse_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
)

// formatsPage has a part that is made from the table of formats and the corpus.
const formatsPage = "../../../docs/formats.md"

const (
	partBegins = "UPDATE=1 writes it anew -->\n"
	partEnds   = "<!-- end -->"
)

func TestFormatsPage(t *testing.T) {
	data, err := os.ReadFile(formatsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), partBegins)
	made, after, ended := strings.Cut(rest, partEnds)
	if !ok || !ended {
		t.Fatalf("%s has lost its marks", formatsPage)
	}
	want := tables(t)
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(formatsPage, []byte(before+partBegins+want+partEnds+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("docs/formats.md is not what the formats are (UPDATE=1 writes it anew):\n%s", diff)
	}
}

// TestPatternsOfThePage: what the page shows as a pattern is one.
func TestPatternsOfThePage(t *testing.T) {
	data, err := os.ReadFile(formatsPage)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`"pattern": ("(?:[^"\\\\]|\\\\.)*")`).FindAllSubmatch(data, -1)
	for _, m := range found {
		text, err := strconv.Unquote(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		pattern, err := parse.NewPattern(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		p := parse.New(parse.Options{Pattern: pattern})
		want := `{"level":"warn","message":"half of it","job.name":"backup","took":1.5}`
		if got := event(p, "job backup 1.5s warn: half of it"); got != want {
			t.Errorf("%s reads %s", text, got)
		}
	}
	if len(found) == 0 {
		t.Error("the page has no pattern")
	}
}

// TestZonesOfThePage: the names of zones mean what the page says.
func TestZonesOfThePage(t *testing.T) {
	data, err := os.ReadFile(formatsPage)
	if err != nil {
		t.Fatal(err)
	}
	p, found := parse.New(options(t, sample{})), 0
	said := func(zone string) string { return event(p, "2026-11-21 12:00:00 "+zone+" INFO said") }
	for _, row := range strings.Split(string(data), "\n") {
		if !strings.HasPrefix(row, "| with a ") {
			continue
		}
		for _, m := range regexp.MustCompile("((?:`[A-Z]{3,4}` ?)+)([+-]?[0-9:]*)").FindAllStringSubmatch(row, -1) {
			hours, minutes, _ := strings.Cut(m[2], ":")
			offset := "+01:00" // Berlin's
			if n, err := strconv.Atoi(hours); err == nil {
				offset = fmt.Sprintf("%+03d:%s", n, (minutes + "00")[:2])
			}
			for _, zone := range strings.Fields(strings.ReplaceAll(m[1], "`", "")) {
				if zone == "TZ" {
					continue
				}
				found++
				if diff := cmp.Diff(said(offset), said(zone)); diff != "" {
					t.Errorf("%s is not %s: %s", zone, offset, diff)
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("%d zones are on the page", found)
	}
}

// tables are the table of names, and of each format one line and its event.
func tables(t *testing.T) string {
	var b strings.Builder
	b.WriteString("\n| format | written by | attributes |\n|---|---|---|\n")
	for _, f := range parse.Describe() {
		names := strings.Join(f.Names, "` `")
		if names != "" {
			names = "`" + names + "`"
		}
		if f.Open {
			names = strings.TrimPrefix(names+" and the line's own keys", " ")
		}
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s |\n", f.Name, f.Name, strings.ReplaceAll(f.Doc, "|", `\|`), names)
	}
	for _, f := range parse.Describe() {
		samples, _ := corpus(t, "testdata/"+f.Name+".txt")
		fmt.Fprintf(&b, "\n### %s\n", f.Name)
		for _, s := range samples {
			if s.took == f.Name {
				fmt.Fprintf(&b, "\n```text\n%s\n```\n```json\n%s\n```\n", s.text, strings.TrimSuffix(s.event, " flags=01"))
				break
			}
		}
	}
	return b.String() + "\n"
}
