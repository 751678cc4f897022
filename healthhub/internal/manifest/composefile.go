// SPDX-License-Identifier: AGPL-3.0-or-later

package manifest

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"cloud4.internal/hub/internal/hubfile"
)

// composeFile is what counts here of one compose file, or of several merged (compose-spec, "Merge"): later scalars replace,
// mappings merge by key, lists are joined; !reset takes away, !override replaces. Variables are as written.
type composeFile struct {
	name     string
	services map[string]*service
}

// place is where something stands.
type place struct {
	file string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// text is a scalar as written.
type text struct {
	value   string
	at      place
	inherit bool // a variable without value: that of the process
}

type service struct {
	name        string
	at          place
	environment map[string]text
	envFiles    []envFile
	labels      map[string]text
	profiles    []text
	replicas    []text // scale and deploy.replicas; the last counts
	restart     text
}

type envFile struct {
	path     text
	optional bool
}

// maxExtends is how many services one may extend, each the next.
const maxExtends = 16

// readCompose reads and merges files.
func readCompose(files []string, env environment) (*composeFile, error) {
	out := &composeFile{services: map[string]*service{}}
	for _, file := range files {
		root, err := parseYAML(file)
		if err != nil {
			return nil, err
		}
		r := &yamlReader{file: file, root: root, env: env}
		if included := get(root, "include"); included != nil {
			return nil, fmt.Errorf("%s:%d: include is not followed: give the included files with -f too", file, included.Line)
		}
		if name := get(root, "name"); name != nil {
			out.name = name.Value
		}
		each(get(root, "services"), func(key, value *yaml.Node) {
			s := out.services[key.Value]
			if s == nil {
				s = &service{name: key.Value, environment: map[string]text{}, labels: map[string]text{}}
				out.services[key.Value] = s
			}
			s.at = r.at(key)
			r.service(s, value, 0)
		})
		if len(r.problems) > 0 {
			return nil, errors.Join(r.problems...)
		}
	}
	if len(out.services) == 0 {
		return nil, fmt.Errorf("%s: has no services: is it a compose file?", files[0])
	}
	return out, nil
}

func parseYAML(file string) (*yaml.Node, error) {
	raw, err := hubfile.ReadFile(file, maxFileBytes)
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return nil, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: must be a mapping with services", file)
	}
	return untangle(document.Content[0], map[*yaml.Node]bool{}), nil
}

// yamlReader reads the services of one file.
type yamlReader struct {
	file     string
	root     *yaml.Node
	env      environment
	problems []error
}

func (r *yamlReader) at(n *yaml.Node) place { return place{r.file, n.Line} }

func (r *yamlReader) bad(n *yaml.Node, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s", r.at(n), fmt.Sprintf(format, args...)))
}

// service lays what a node says over a service; depth counts what it extends.
func (r *yamlReader) service(s *service, n *yaml.Node, depth int) {
	if n.Kind != yaml.MappingNode {
		r.bad(n, "services.%s: must be a mapping", s.name)
		return
	}
	if base := get(n, "extends"); base != nil {
		r.extend(s, base, depth)
	}
	each(n, func(key, value *yaml.Node) {
		switch key.Value {
		case "environment":
			r.mapping(s, key.Value, value, s.environment)
		case "labels":
			r.mapping(s, key.Value, value, s.labels)
		case "env_file":
			r.envFiles(s, value)
		case "profiles":
			if replaces(value) {
				s.profiles = nil
			}
			for _, item := range items(value) {
				s.profiles = append(s.profiles, r.text(item))
			}
		case "scale":
			r.replicas(s, value)
		case "deploy":
			if n := get(value, "replicas"); n != nil {
				r.replicas(s, n)
			}
		case "restart":
			s.restart = r.text(value)
		}
	})
}

func (r *yamlReader) replicas(s *service, n *yaml.Node) {
	if n.Tag == "!reset" {
		s.replicas = nil
		return
	}
	s.replicas = []text{r.text(n)}
}

// extend lays a service over the one that it extends, of this file or of another.
func (r *yamlReader) extend(s *service, n *yaml.Node, depth int) {
	if depth >= maxExtends {
		r.bad(n, "services.%s: extends more than %d others, or itself", s.name, maxExtends)
		return
	}
	name, from := n.Value, r
	if n.Kind == yaml.MappingNode {
		if base := get(n, "service"); base != nil {
			name = base.Value
		}
		if file := get(n, "file"); file != nil {
			path, err := r.env.interpolate(file.Value)
			if err == nil {
				if !filepath.IsAbs(path) {
					path = filepath.Join(filepath.Dir(r.file), path)
				}
				from = &yamlReader{file: path, env: r.env}
				from.root, err = parseYAML(path)
			}
			if err != nil {
				r.bad(file, "services.%s.extends: %v", s.name, err)
				return
			}
		}
	}
	base := get(get(from.root, "services"), name)
	if base == nil {
		r.bad(n, "services.%s.extends: there is no service %q in %s", s.name, name, from.file)
		return
	}
	from.service(s, base, depth+1)
	s.profiles = nil // not inherited
	if from != r {
		r.problems = append(r.problems, from.problems...)
	}
}

// mapping reads what is written as a mapping or as a list of NAME=VALUE.
func (r *yamlReader) mapping(s *service, what string, n *yaml.Node, into map[string]text) {
	if replaces(n) {
		clear(into)
	}
	switch n.Kind {
	case yaml.MappingNode:
		each(n, func(key, value *yaml.Node) {
			v := r.text(value)
			v.inherit = value.Tag == "!!null"
			into[key.Value] = v
			if value.Tag == "!reset" {
				delete(into, key.Value)
			}
		})
	case yaml.SequenceNode:
		for _, item := range items(n) {
			name, value, ok := strings.Cut(item.Value, "=")
			into[name] = text{value: value, at: r.at(item), inherit: !ok}
		}
	default:
		if n.Tag != "!!null" && n.Tag != "!reset" {
			r.bad(n, "services.%s.%s: must be a mapping or a list", s.name, what)
		}
	}
}

// envFiles reads a path, or a list of paths or of {path, required}.
func (r *yamlReader) envFiles(s *service, n *yaml.Node) {
	if replaces(n) {
		s.envFiles = nil
	}
	list := items(n)
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		list = []*yaml.Node{n}
	}
	for _, item := range list {
		if item.Kind != yaml.MappingNode {
			s.envFiles = append(s.envFiles, envFile{path: r.text(item)})
			continue
		}
		path := get(item, "path")
		if path == nil {
			r.bad(item, "services.%s.env_file: path is missing", s.name)
			continue
		}
		required := get(item, "required")
		s.envFiles = append(s.envFiles, envFile{r.text(path), required != nil && required.Value == "false"})
	}
}

func (r *yamlReader) text(n *yaml.Node) text { return text{value: n.Value, at: r.at(n)} }

func replaces(n *yaml.Node) bool { return n.Tag == "!reset" || n.Tag == "!override" }

// untangle puts in place of aliases what they stand for, and in place of merge keys (<<) what they bring: own keys
// before merged ones, earlier merged ones before later. Every node is looked at once, however often it is used.
func untangle(n *yaml.Node, done map[*yaml.Node]bool) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if done[n] {
		return n
	}
	done[n] = true
	for i := range n.Content {
		n.Content[i] = untangle(n.Content[i], done)
	}
	if n.Kind != yaml.MappingNode {
		return n
	}
	var own, merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key, value := n.Content[i], n.Content[i+1]; {
		case key.Tag != "!!merge":
			own = append(own, key, value)
		case value.Kind == yaml.SequenceNode:
			for _, one := range value.Content {
				merged = append(merged, one.Content...)
			}
		case value.Kind == yaml.MappingNode:
			merged = append(merged, value.Content...)
		}
	}
	there := map[string]bool{}
	n.Content = nil
	for _, all := range [][]*yaml.Node{own, merged} {
		for i := 0; i+1 < len(all); i += 2 {
			if key := all[i]; !there[key.Value] {
				there[key.Value] = true
				n.Content = append(n.Content, key, all[i+1])
			}
		}
	}
	return n
}

// items are the items of a list; a node that is none has none.
func items(n *yaml.Node) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// get is the value of a key, or nil.
func get(n *yaml.Node, key string) (found *yaml.Node) {
	each(n, func(k, value *yaml.Node) {
		if k.Value == key {
			found = value
		}
	})
	return found
}

// each calls do for the pairs of a mapping; a node that is none has none.
func each(n *yaml.Node, do func(key, value *yaml.Node)) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		do(n.Content[i], n.Content[i+1])
	}
}
