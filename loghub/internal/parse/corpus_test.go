// SPDX-License-Identifier: AGPL-3.0-or-later

package parse_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/google/go-cmp/cmp"
)

// The corpus: testdata/<format>.txt holds lines as programs write them and the events they become, read in Berlin at noon
// of 21 November 2026.
//
//	# a comment
//	# format: json         a setting for what follows
//	# pattern: ^(?P<a>.)
//	< a line
//	< a further line of the same event
//	json {"time":…}        which format took it, and the event
//
// UPDATE=1 writes the events anew: look at them.
type sample struct {
	file, at string // "json.txt:12"
	format   string
	pattern  string
	text     string
	took     string
	event    string
}

var observed = uint64(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).UnixNano())

func options(t testing.TB, s sample) parse.Options {
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	o := parse.Options{Loc: loc, Format: s.format}
	if s.pattern != "" {
		if o.Pattern, err = parse.NewPattern(s.pattern); err != nil {
			t.Fatal(s.at, err)
		}
	}
	return o
}

// event is what p makes of a text.
func event(p *parse.Parser, text string) string {
	rec := otlp.Record{Observed: observed}
	p.Parse([]byte(text), &rec)
	rec.Observed = rec.Time
	flags := ""
	if rec.Flags != 0 {
		flags = fmt.Sprintf(" flags=%02x", rec.Flags)
	}
	return string(bytes.TrimSpace(jsonline.Append(nil, nil, nil, &rec))) + flags
}

// corpus reads one file, and says how it is written back.
func corpus(t testing.TB, path string) (samples []sample, write func([]sample) string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var keep []string // lines that are written back as they are; "" for an event
	s := sample{file: filepath.Base(path)}
	open := false
	flush := func() {
		if open {
			samples, keep = append(samples, s), append(keep, "")
			s.text, s.took, s.event, open = "", "", "", false
		}
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "< "):
			if open && s.event == "" {
				s.text += "\n" + line[2:]
			} else {
				flush()
				s.text, s.at, open = line[2:], fmt.Sprintf("%s:%d", s.file, i+1), true
			}
			keep = append(keep, line)
			continue
		case open && s.event == "" && line != "":
			s.took, s.event, _ = strings.Cut(line, " ")
			flush()
			continue
		}
		flush()
		if v, ok := strings.CutPrefix(line, "# format: "); ok {
			s.format = v
		} else if v, ok := strings.CutPrefix(line, "# pattern: "); ok {
			s.pattern = v
		}
		keep = append(keep, line)
	}
	flush()
	return samples, func(samples []sample) string {
		var b strings.Builder
		for _, line := range keep {
			if line == "" && len(samples) > 0 && b.Len() > 0 && strings.HasPrefix(lastLine(b.String()), "< ") {
				line = samples[0].took + " " + samples[0].event
				samples = samples[1:]
			}
			b.WriteString(line + "\n")
		}
		return b.String()
	}
}

func lastLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func corpora(t testing.TB) []string {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	return files
}

func TestCorpus(t *testing.T) {
	for _, path := range corpora(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			samples, write := corpus(t, path)
			got := slices.Clone(samples)
			for i, s := range samples {
				p := parse.New(options(t, s))
				got[i].event = event(p, s.text)
				got[i].took = p.Format()
			}
			if os.Getenv("UPDATE") == "1" {
				if err := os.WriteFile(path, []byte(write(got)), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for i, s := range samples {
				if diff := cmp.Diff(s.took+" "+s.event, got[i].took+" "+got[i].event); diff != "" {
					t.Errorf("%s: %s\n%s", s.at, s.text, diff)
				}
			}
		})
	}
}

// TestFormatsExclude: what a line becomes does not depend on what its source wrote before.
func TestFormatsExclude(t *testing.T) {
	type primer struct {
		format string
		class  byte
	}
	primers := map[primer][]string{} // lines that this format takes and that begin alike
	var all []sample
	for _, path := range corpora(t) {
		samples, _ := corpus(t, path)
		for _, s := range samples {
			if s.format != "" && s.format != "auto" || s.pattern != "" {
				continue
			}
			all = append(all, s)
			if k := (primer{s.took, class(s.text)}); len(primers[k]) < 3 {
				primers[k] = append(primers[k], s.text)
			}
		}
	}
	for k, lines := range primers {
		p := parse.New(options(t, sample{}))
		for _, s := range all {
			if class(s.text) != k.class {
				continue
			}
			for _, line := range lines {
				event(p, line)
			}
			if diff := cmp.Diff(s.event, event(p, s.text)); diff != "" {
				t.Errorf("%s: behind lines of %s it becomes another event: %s\n%s", s.at, k.format, s.text, diff)
			}
		}
	}
}

// class makes lines that begin alike the same: letters, digits, and every other byte for itself.
func class(line string) byte {
	if line == "" {
		return 0
	}
	switch c := line[0]; {
	case c >= '0' && c <= '9':
		return '0'
	case c|0x20 >= 'a' && c|0x20 <= 'z':
		return 'a'
	default:
		return c
	}
}

// TestNamesAreListed: formats.go tells every attribute that a format makes, and none that it does not.
func TestNamesAreListed(t *testing.T) {
	made := map[string]map[string]bool{}
	for _, path := range corpora(t) {
		samples, _ := corpus(t, path)
		for _, s := range samples {
			var rec otlp.Record
			parse.New(options(t, s)).Parse([]byte(s.text), &rec)
			if made[s.took] == nil {
				made[s.took] = map[string]bool{}
			}
			for _, kv := range rec.Attributes {
				made[s.took][kv.Key] = true
			}
		}
	}
	for _, f := range parse.Describe() {
		for _, name := range f.Names {
			if made[f.Name] != nil && !made[f.Name][name] {
				t.Errorf("%s: no line of the corpus makes %s", f.Name, name)
			}
		}
		if f.Open {
			continue
		}
		for name := range made[f.Name] {
			if !slices.Contains(f.Names, name) && !strings.HasPrefix(name, "app.") && name != "log.record.original" {
				t.Errorf("%s: %s is not in its list of names", f.Name, name)
			}
		}
	}
}

// TestNothingIsAllocated: what one line needed the next one of its kind uses again.
func TestNothingIsAllocated(t *testing.T) {
	for _, path := range corpora(t) {
		samples, _ := corpus(t, path)
		for _, s := range samples {
			if s.pattern != "" || strings.Contains(s.text, "1e999") {
				continue // package regexp allocates its matches, strconv its errors
			}
			p, rec, text := parse.New(options(t, s)), otlp.Record{}, []byte(s.text)
			if n := testing.AllocsPerRun(10, func() {
				rec.Observed = observed
				p.Parse(text, &rec)
			}); n > 0 {
				t.Errorf("%s: %.0f allocations for %s", s.at, n, s.text)
			}
		}
	}
}
