// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cloud4.internal/hub/internal/initctl"
)

// prefix starts the name of every variable that is ours; fileSuffix ends those that name a file with the value.
const (
	prefix     = "HUB_"
	fileSuffix = "_FILE"
)

// environ sets settings from the environment.
type environ struct {
	found *findings
	vars  map[string]string // HUB_* → value; an empty one is not there
}

// leaf is a setting and the variable that sets it.
type leaf struct {
	variable string
	path     []string // from the top: section, key, …
	shape    *shape
}

// newEnviron takes the variables that may be ours. Of two with one name the last counts, as for execve's callers.
func newEnviron(vars []string, found *findings) *environ {
	env := &environ{found: found, vars: map[string]string{}}
	for _, variable := range vars {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, prefix) {
			env.vars[name] = value
		}
	}
	maps.DeleteFunc(env.vars, func(_, value string) bool { return value == "" })
	return env
}

// leaves lists every value below a section that is not below a map or a list, those that no variable can set included.
// Two settings with one variable, or one with a variable of hubinit's, are a mistake in the program and panic.
func leaves(sections []Section, shapes []*shape) []leaf {
	var all []leaf
	taken := map[string]string{} // variable → key
	for _, variable := range initctl.Reserved() {
		taken[variable] = "hubinit"
	}
	var walk func(s *shape, path []string)
	walk = func(s *shape, path []string) {
		if s.class == classStruct {
			for _, f := range s.fields {
				walk(f.shape, append(path[:len(path):len(path)], f.name))
			}
			return
		}
		key := strings.Join(path, "_")
		name := prefix + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(key))
		for _, variable := range []string{name, name + fileSuffix} {
			if other, ok := taken[variable]; ok {
				panic(fmt.Sprintf("hubfile: %s and %s have the same variable %s", other, key, variable))
			}
			taken[variable] = key
		}
		all = append(all, leaf{name, path, s})
	}
	for i, section := range sections {
		walk(shapes[i], []string{section.Name})
	}
	return all
}

// overlay gives the settings with the variables set over what the files say.
func (env *environ) overlay(root *node, all []leaf) *node {
	for _, l := range all {
		key := strings.Join(l.path, ".")
		kind := byte(kindText)
		value, ok := env.vars[l.variable]
		file, fromFile := env.vars[l.variable+fileSuffix]
		at := position{rank: rankEnviron, name: l.variable}
		switch {
		case (ok || fromFile) && !l.shape.scalar():
			env.found.problem(at, key, "is %s: set it in a settings file, not in the environment", expected[l.shape.class])
			continue
		case ok && fromFile:
			env.found.problem(at, key, "%s and %s are both set: keep one of them", l.variable, l.variable+fileSuffix)
			continue
		case fromFile:
			at.name += fileSuffix
			data, err := ReadFile(file, maxValueBytes)
			if err != nil {
				env.found.problem(at, key, "%v", err)
				continue
			}
			kind, value = kindSecret, strings.TrimSuffix(string(data), "\n")
		case !ok:
			continue
		}
		// A drop-in of this one value; above it stand objects that have no place of their own.
		patch := &node{kind: kind, at: at, text: value}
		for i := len(l.path) - 1; i >= 0; i-- {
			patch = &node{kind: kindObject, at: at, members: []member{{l.path[i], patch}}}
		}
		if !blocked(root, l.path) {
			root = merge(root, patch)
		}
	}
	return root
}

// blocked reports whether something other than an object stands above a setting: that is an error to be told, not
// something to be replaced.
func blocked(n *node, path []string) bool {
	for _, name := range path[:len(path)-1] {
		if n = n.member(name); n == nil {
			return false
		}
		if n.kind != kindObject {
			return true
		}
	}
	return false
}

// judgeUnknown tells of the variables that nothing knows.
func (env *environ) judgeUnknown(sections []Section, all []leaf) {
	known := initctl.Reserved()
	for _, l := range all {
		known = append(known, l.variable, l.variable+fileSuffix)
	}
	for _, name := range slices.Sorted(maps.Keys(env.vars)) {
		if slices.Contains(known, name) || othersSection(name, sections) {
			continue
		}
		at := position{rank: rankEnviron, name: name}
		if near := nearest(name, known); near != "" {
			env.found.problem(at, "", "unknown variable, did you mean %s?", near)
		} else {
			env.found.warn(at, "", "unknown variable, nothing reads it")
		}
	}
}

// othersSection reports whether a variable belongs to a section that was not asked for.
func othersSection(variable string, asked []Section) bool {
	for _, name := range sectionNames {
		if strings.HasPrefix(variable, prefix+strings.ToUpper(name)+"_") {
			return !slices.ContainsFunc(asked, func(s Section) bool { return s.Name == name })
		}
	}
	return false
}
