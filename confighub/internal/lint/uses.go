// SPDX-License-Identifier: AGPL-3.0-or-later

package lint

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/confighub/internal/template"
)

// reached are the files of the templates that targets need, with their partials.
func (j *judge) reached() map[string]bool {
	files := map[string]bool{}
	var reach func(name string)
	reach = func(name string) {
		file, text, ok := j.bundle.Template(name)
		if !ok || files[file] {
			return
		}
		files[file] = true
		for _, tag := range template.Tags(file, text) {
			if tag.Kind == template.TagPartial {
				reach(tag.Name)
			}
		}
	}
	for _, t := range j.bundle.Manifest.Targets {
		if t.Template != "" {
			reach(t.Template)
		}
	}
	return files
}

func (j *judge) usedTemplates() {
	reached := j.reached()
	for file := range j.bundle.Templates {
		p := part{Place{File: j.templateFile(file)}, file}
		j.templates[p] = j.templates[p] || reached[file]
	}
}

// tags judges single tags, whether a rendering came by them or not.
func (j *judge) tags() {
	for file := range j.reached() {
		for _, tag := range template.Tags(file, j.bundle.Templates[file]) {
			at := j.templatePlace(tag.At)
			if tag.Kind == template.TagRaw {
				j.report(at, Warning, "raw", "{{"+tag.Name+"}} escapes it", "%s: is written as it is, whatever is in it", tag.Name)
			}
			if image := j.options.Image; image != nil {
				j.input(at, tag.Name, "secrets.", "config.secrets", image.Secrets)
				j.input(at, tag.Name, "env.", "config.env", image.Env)
			}
		}
	}
}

// input judges a tag that names a secret or a variable.
func (j *judge) input(at Place, name, object, setting string, known []string) {
	input, ok := strings.CutPrefix(name, object)
	if ok && !slices.Contains(known, input) {
		j.report(at, Error, "input", "add it to the image's settings", "%s: is not in %s", name, setting)
	}
}

// leaf is a value of the data that can be asked for.
type leaf struct {
	// path names no items: users[].name.
	path, pointer, key string
}

// leaves are all values but the objects around them, and those in lists once.
func leaves(data map[string]any) (list []leaf) {
	seen := map[string]bool{}
	var walk func(v any, at leaf)
	walk = func(v any, at leaf) {
		switch v := v.(type) {
		case map[string]any:
			if len(v) > 0 && !seal.Is(v) {
				for _, key := range slices.Sorted(maps.Keys(v)) {
					walk(v[key], leaf{strings.TrimPrefix(at.path+"."+key, "."), at.pointer + bundle.JSONPointer(key), key})
				}
				return
			}
		case []any:
			objects := 0
			for i, item := range v {
				if object, ok := item.(map[string]any); ok && len(object) > 0 && !seal.Is(object) {
					objects++
					walk(item, leaf{at.path + "[]", at.pointer + bundle.JSONPointer(strconv.Itoa(i)), at.key})
				}
			}
			if objects > 0 && objects == len(v) {
				return
			}
		}
		if !seen[at.path] && at.path != "" {
			seen[at.path] = true
			list = append(list, at)
		}
	}
	walk(data, leaf{})
	return list
}

// usedData notes which values some tag asks for.
func (j *judge) usedData() {
	missed := j.missed()
	for _, v := range leaves(j.bundle.Data) {
		at := Place{File: "data", key: v.key}
		if origin, ok := j.bundle.Origins.Value(v.pointer); ok {
			at.File, at.Line = origin.File, origin.Line
		}
		p := part{at, v.path}
		j.data[p] = j.data[p] || j.failed || j.uses(v.path) || named(v.path, missed)
	}
}

// uses reports whether a rendering asked for the value, for an item of it, or wrote all that is around it.
func (j *judge) uses(path string) bool {
	if j.paths[path] || j.paths[path+"[]"] || j.whole[""] {
		return true
	}
	for around := path; around != ""; around = around[:max(0, strings.LastIndexAny(around, ".["))] {
		if j.whole[around] {
			return true
		}
	}
	return false
}

// missed are the names of tags that no rendering came by.
func (j *judge) missed() map[string]bool {
	names := map[string]bool{}
	for file := range j.reached() {
		for _, tag := range template.Tags(file, j.bundle.Templates[file]) {
			if tag.Kind != template.TagPartial && !j.visited[tag.At] {
				names[tag.Name] = true
				if tag.Name == "." && len(tag.Within) > 0 {
					names[tag.Within[len(tag.Within)-1]] = true
				}
			}
		}
	}
	return names
}

// named reports whether one of the names may lead to the path, or to something around it, in some section.
func named(path string, names map[string]bool) bool {
	parts := strings.Split(strings.ReplaceAll(path, "[]", ""), ".")
	for from := range parts {
		for to := from + 1; to <= len(parts); to++ {
			if names[strings.Join(parts[from:to], ".")] {
				return true
			}
		}
	}
	return false
}
