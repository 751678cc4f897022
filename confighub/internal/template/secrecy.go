// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import "strings"

// secretsKey is the built-in object whose values are secret.
const secretsKey = "secrets"

// secrecy knows which values of the data are secret, by their paths: db.password, users[0].key.
type secrecy struct {
	// marked are the paths of secret values, around those of the objects and lists that hold one.
	marked, around map[string]bool
}

func newSecrecy(data any, paths []string) secrecy {
	s := secrecy{marked: map[string]bool{}, around: map[string]bool{}}
	if object, ok := data.(map[string]any); ok && object[secretsKey] != nil {
		s.mark(secretsKey)
	}
	for _, path := range paths {
		s.mark(path)
	}
	return s
}

func (s secrecy) mark(path string) {
	s.marked[path] = true
	for path != "" {
		path = parent(path)
		s.around[path] = true
	}
}

// parent is the path of the object or list that holds the value at path, "" for the whole data.
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// within reports whether the value at path is secret or part of one.
func (s secrecy) within(path string) bool {
	for ; path != "" && len(s.marked) > 0; path = parent(path) {
		if s.marked[path] {
			return true
		}
	}
	return false
}

// holds reports whether the text of the value at path shows a secret.
func (s secrecy) holds(path string) bool { return s.around[path] || s.within(path) }

// decides reports whether a section over the value at path tells something of a secret. One of the built-in secrets is
// there or not, as the settings of the container say openly.
func (s secrecy) decides(path string) bool {
	return path != secretsKey && !strings.HasPrefix(path, secretsKey+".") && s.within(path)
}
