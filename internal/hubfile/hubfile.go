// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"fmt"
	"reflect"
	"strings"
)

// Source says where settings are read from.
type Source struct {
	Path    string   // the settings file; drop-ins are hub.d/*.json beside it
	Environ []string // "KEY=VALUE", as os.Environ gives it; nil: no environment
}

// Section is one top-level key of the settings and where its values go.
type Section struct {
	Name string // "identity", "config", "health" or "log"
	Into any    // pointer to a struct of tagged fields. A field without value and default keeps what it holds
}

// Checker is implemented by a settings struct, at any depth, that has rules of more than one field.
// CheckSettings is called once the struct is decoded. It calls report for every rule that does not hold; key is
// relative to the struct: "timeout" is one of its fields, "files.access.path" something below, "" the struct as a
// whole. When a field is bad by itself it has its default here, and only reports on items of other fields count.
type Checker interface {
	CheckSettings(report func(key, message string))
}

// Load reads the settings file, its drop-ins and the environment, and fills the sections. When anything
// is wrong the error is Problems, and the sections are not to be used. The Settings are there in either case.
func Load(src Source, sections ...Section) (*Settings, error) {
	shapes := compileSections(sections)
	found := &findings{}
	names, root, whole := readAll(src.Path, found)
	settable := leaves(sections, shapes)
	env := newEnviron(src.Environ, found)
	root = env.overlay(root, settable)
	env.judgeUnknown(sections, settable)

	d := &decoder{found: found, checkers: whole, main: position{name: names[0]}, origins: map[string]string{}}
	d.judgeTop(root, sections)
	for i, section := range sections {
		d.value(root.member(section.Name), shapes[i], reflect.ValueOf(section.Into).Elem(), section.Name)
	}
	settings := &Settings{warnings: found.sorted(found.warnings), origins: d.origins}
	if problems := found.sorted(found.problems); len(problems) > 0 {
		return settings, problems
	}
	return settings, nil
}

// Settings is what Load found out about the settings besides their values.
type Settings struct {
	warnings Problems
	origins  map[string]string // key → where its value came from
}

// Warnings are what deserves a look but is no error, such as variables HUB_* that nothing knows.
func (s *Settings) Warnings() Problems { return s.warnings }

// Origin says where the value of a key ("health.checks.page.interval") came from: "hub.json:12",
// "hub.d/10-web.json:3", "HUB_CONFIG_SOURCE", "HUB_CONFIG_SOURCE_FILE", or "default".
func (s *Settings) Origin(key string) string {
	if origin, ok := s.origins[key]; ok {
		return origin
	}
	return "default"
}

// Problem is one thing that is wrong in the settings.
type Problem struct {
	Origin  string // where: "hub.json:12", "hub.d/10-web.json:3" or "HUB_CONFIG_SOURCE"; "hub.json" where no line is to blame
	Key     string // what: "health.checks.page.interval"; empty when it is about a file or a variable as a whole
	Message string // lower case; says what was expected and what was found
}

// String gives "hub.json:12: health.checks.page.interval: must be between 1s and 1h, got \"0s\"".
func (p Problem) String() string {
	if p.Key == "" {
		return fmt.Sprintf("%s: %s", p.Origin, p.Message)
	}
	return fmt.Sprintf("%s: %s: %s", p.Origin, p.Key, p.Message)
}

// Problems is everything that is wrong, sorted by file and line.
type Problems []Problem

// Error gives the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}
