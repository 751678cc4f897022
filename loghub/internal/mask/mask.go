// SPDX-License-Identifier: AGPL-3.0-or-later

// Package mask hides the container's own secrets in lines: their exact values,
// found in one pass of an Aho–Corasick automaton (Aho and Corasick, 1975), so
// there is nothing to tune and nothing hidden by mistake.
//
// What counts as a secret: the values of environment variables whose name
// contains PASSWORD, TOKEN, SECRET or KEY, and the files below /run/secrets; of a
// value with several lines each line. Values of less than 8 bytes would hide
// ordinary words, and a value that also stands in a variable with a harmless name
// is no secret: both are left out.
//
// A value that is cut by the 1 MiB limit of a line, or printed in two lines, is
// not found. Left out: encoded forms (base64, URL), patterns such as card
// numbers.
package mask

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// MinBytes is the length from which on a value is a secret.
const MinBytes = 8

// maxSecretFile bounds what is read of one file below /run/secrets.
const maxSecretFile = 64 << 10

// maxPatterns and maxPatternBytes bound the automaton.
const (
	maxPatterns     = 256
	maxPatternBytes = 4096
)

// replacement stands where a secret stood.
const replacement = "***"

// Secrets collects the values to hide from an environment ("KEY=VALUE") and the
// files of a directory, which need not exist.
func Secrets(environ []string, dir string) []string {
	var values []string
	harmless := make(map[string]bool)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if secretName(name) {
			values = append(values, value)
		} else {
			harmless[value] = true
		}
	}
	values = append(values, fileValues(dir)...)
	seen := make(map[string]bool)
	var out []string
	for _, v := range values {
		if harmless[v] {
			continue
		}
		for line := range strings.SplitSeq(v, "\n") {
			line = strings.TrimSpace(line)
			if len(line) < MinBytes || len(line) > maxPatternBytes || strings.HasPrefix(line, "-----") || seen[line] || harmless[line] {
				continue
			}
			seen[line] = true
			if out = append(out, line); len(out) == maxPatterns {
				return out
			}
		}
	}
	return out
}

func secretName(name string) bool {
	name = strings.ToUpper(name)
	if strings.HasSuffix(name, "_FILE") || strings.HasSuffix(name, "_PATH") || strings.HasSuffix(name, "_DIR") {
		return false // names a place
	}
	for _, word := range []string{"PASSWORD", "TOKEN", "SECRET", "KEY"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// fileValues reads the regular files below dir; what cannot be read is nothing
// the service could print either.
func fileValues(dir string) []string {
	var out []string
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxSecretFile {
			return nil
		}
		if data, err := os.ReadFile(path); err == nil {
			out = append(out, string(data))
		}
		return nil
	})
	return out
}

// Matcher finds a fixed set of strings. It is immutable; nil finds nothing.
type Matcher struct {
	class  [256]uint8 // byte → column; 0: in no pattern
	width  int
	next   []int32 // state*width+column → state
	length []int32 // state → length of the longest pattern that ends here; 0: none
}

// New builds the automaton of the patterns; nil when there are none.
func New(patterns []string) *Matcher {
	m := &Matcher{width: 1}
	for _, p := range patterns {
		for i := range len(p) {
			if c := p[i]; m.class[c] == 0 && m.width < 256 {
				m.class[c] = uint8(m.width)
				m.width++
			}
		}
	}
	m.grow()
	for _, p := range patterns {
		m.insert(p)
	}
	if len(m.length) == 1 {
		return nil
	}
	m.link()
	return m
}

func (m *Matcher) grow() int32 {
	for range m.width {
		m.next = append(m.next, -1)
	}
	m.length = append(m.length, 0)
	return int32(len(m.length) - 1)
}

func (m *Matcher) insert(p string) {
	if p == "" {
		return
	}
	state := int32(0)
	for i := range len(p) {
		at := int(state)*m.width + int(m.class[p[i]])
		if m.next[at] < 0 {
			n := m.grow()
			m.next[at] = n
		}
		state = m.next[at]
	}
	m.length[state] = int32(len(p))
}

// link turns the trie into an automaton: breadth first, every missing edge is
// that of the longest proper suffix.
func (m *Matcher) link() {
	fail := make([]int32, len(m.length))
	var queue []int32
	for c := range m.width {
		if s := m.next[c]; s > 0 {
			queue = append(queue, s)
		} else {
			m.next[c] = 0
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if l := m.length[fail[s]]; l > m.length[s] {
			m.length[s] = l
		}
		for c := range m.width {
			at := int(s)*m.width + c
			back := m.next[int(fail[s])*m.width+c]
			if t := m.next[at]; t >= 0 {
				fail[t] = back
				queue = append(queue, t)
			} else {
				m.next[at] = back
			}
		}
	}
}

// Mask returns line with every secret replaced. When there is one the result is
// in scratch, which is returned grown; else it is line itself.
func (m *Matcher) Mask(line, scratch []byte) (masked, grown []byte) {
	if m == nil {
		return line, scratch
	}
	// Matches are collected as one growing stretch, so that secrets which overlap
	// or contain one another are hidden as a whole.
	state, done := int32(0), 0
	from, to := -1, -1
	out := scratch[:0]
	for i, c := range line {
		state = m.next[int(state)*m.width+int(m.class[c])]
		n := int(m.length[state])
		if n == 0 {
			continue
		}
		start := i + 1 - n
		if from >= 0 && start >= to {
			out = append(append(out, line[done:from]...), replacement...)
			done, from = to, -1
		}
		if from < 0 || start < from {
			from = max(start, done)
		}
		to = i + 1
	}
	if from < 0 {
		return line, scratch
	}
	out = append(append(out, line[done:from]...), replacement...)
	out = append(out, line[to:]...)
	return out, out
}
