// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxSteps bounds the tags, and items of lists, that a set visits: nested sections over a list multiply.
const maxSteps = 2_000_000

// walker visits the tree as the library will, with the data, and finds every variable that is missing. The
// library stops at the first, and names neither template nor line.
type walker struct {
	expander *expander
	set      *Set
	strict   bool
	// lenient takes missing variables for empty.
	lenient bool
	frames  []frame
	secret  bool
	// object: some tag writes a whole object.
	object   bool
	problems Problems
	warnings Problems
	// missing: tags that were reported already, since a tag in a section is visited for each item.
	missing map[int]bool
	// inside are the partials that include themselves around the place of the walk.
	inside []visit
	// tracer is told of what the walk comes by; nil when nobody asked.
	tracer *tracer
}

// visit is a partial that includes itself, and the number of frames it was entered with.
type visit struct {
	file   string
	frames int
}

type frame struct {
	value any
	// path of value in the data; "" for the root.
	path   string
	item   item
	inList bool
}

func (w *walker) walk(nodes []*node) {
	for _, n := range nodes {
		if w.step() {
			return
		}
		switch n.kind {
		case text:
			w.tracer.pass(n, "", false)
		case variable, raw:
			w.variable(n)
		case section, inverted:
			w.section(n)
		case partial:
			w.recursion(n)
		}
	}
}

// step counts a step, and reports whether there were enough of them or of problems.
func (w *walker) step() (enough bool) {
	w.set.steps++
	return w.set.steps > maxSteps || len(w.problems) > maxProblems || len(w.expander.problems) > maxProblems
}

// recursion goes into a partial that includes itself. With the frames of its last time it would have no end.
func (w *walker) recursion(n *node) {
	now := visit{n.recursion.file, len(w.frames)}
	if slices.Contains(w.inside, now) {
		w.expander.problem(n.at, n.text, "includes itself without an end: %s", chain(n.recursion.path, now.file))
		return
	}
	if !w.expander.again(n) {
		return
	}
	w.inside = append(w.inside, now)
	w.walk(n.children)
	w.inside = w.inside[:len(w.inside)-1]
}

func (w *walker) variable(n *node) {
	value, path, ok := w.lookup(n.text)
	if !ok {
		if !w.lenient && !w.missing[n.id] {
			w.missing[n.id] = true
			w.problems.add(Problem{At: n.at, Name: n.text, Message: w.explain(n.text)})
		}
		w.tracer.pass(n, "", false)
		return
	}
	if isLambda(value) {
		w.lambda(n)
		return
	}
	if _, ok := value.(map[string]any); ok {
		w.object = true
	}
	secret := w.set.secrecy.holds(path)
	w.secret = w.secret || secret
	w.tracer.pass(n, path, secret)
}

func (w *walker) section(n *node) {
	value, path, found := w.lookup(n.text)
	if found && isLambda(value) {
		w.lambda(n)
		return
	}
	w.secret = w.secret || w.set.secrecy.decides(path)
	w.tracer.use(n, path)
	if n.kind == inverted {
		if !found || !truthy(value) {
			defer w.tracer.enter(n, frame{path: path})()
			w.walk(n.children)
		}
		return
	}
	if !found || !truthy(value) {
		return
	}
	list, ok := value.([]any)
	if !ok {
		w.enter(n, frame{value: value, path: path})
		return
	}
	for i, v := range list {
		w.enter(n, frame{value: v, path: fmt.Sprintf("%s[%d]", path, i), item: item{i, len(list)}, inList: true})
		if w.step() {
			return
		}
	}
}

// isLambda reports whether v says of itself that it is code, as JSON files with lambdas for mustache have it.
func isLambda(v any) bool {
	object, ok := v.(map[string]any)
	return ok && object["__tag__"] == "code"
}

func (w *walker) lambda(n *node) {
	w.problems.add(Problem{At: n.at, Name: n.text, Message: "is a lambda, which is not supported: data is not run"})
}

// enter goes through a section with one more frame.
func (w *walker) enter(n *node, f frame) {
	defer w.tracer.enter(n, f)()
	w.frames = append(w.frames, f)
	w.walk(n.children)
	w.frames = w.frames[:len(w.frames)-1]
}

// lookup finds a name as mustache does: the first part in the nearest frame that has it, the rest in that.
func (w *walker) lookup(name string) (value any, path string, ok bool) {
	if name == "." {
		top := w.frames[len(w.frames)-1]
		return top.value, top.path, true
	}
	if atNames[name] != "" {
		for _, f := range slices.Backward(w.frames) {
			if f.inList {
				return f.item.lookup(name), name, true
			}
		}
		return nil, "", false
	}
	first, rest, dotted := strings.Cut(name, ".")
	for _, f := range slices.Backward(w.frames) {
		object, isObject := f.value.(map[string]any)
		if value, ok = object[first]; !isObject || !ok {
			continue
		}
		path = strings.TrimPrefix(f.path+"."+first, ".")
		for dotted && ok {
			first, rest, dotted = strings.Cut(rest, ".")
			object, _ = value.(map[string]any)
			value, ok = object[first]
			path += "." + first
		}
		return value, path, ok
	}
	return nil, "", false
}

// explain says where a missing name was looked for, and what may have been meant.
func (w *walker) explain(name string) string {
	if atNames[name] != "" {
		return "stands outside of a list's section"
	}
	message := "not in the data"
	top := w.frames[len(w.frames)-1]
	if top.path != "" {
		message += " (looked in " + top.path + " and above)"
	}
	switch meant := w.suggest(name); meant {
	case "":
	case name:
		message += " (a key of the data holds the dot itself, and no tag can name it: rename the key)"
	default:
		message += " (did you mean " + meant + "?)"
	}
	return message
}

func (w *walker) suggest(name string) string {
	paths := w.set.suggestions()
	if paths == nil {
		return ""
	}
	candidates := paths
	for _, f := range w.frames[1:] {
		if object, ok := f.value.(map[string]any); ok && !w.set.secrecy.decides(f.path) {
			candidates = append(slices.Sorted(maps.Keys(object)), candidates...)
		}
	}
	// One letter off in a short name, three in a long one; limits are exclusive.
	best, distance := "", 2+min(2, len(name)/4)
	for _, c := range candidates {
		if d := editDistance(name, c, distance); d < distance {
			best, distance = c, d
		}
	}
	if best != "" {
		return best
	}
	// A name that stands elsewhere in the tree: host for hub.host.
	for _, c := range paths {
		if strings.HasSuffix(c, "."+name) {
			return c
		}
	}
	return ""
}

// dataPaths lists dotted paths through objects, the first few thousand, and none into what is secret but the names of
// the built-in secrets.
func dataPaths(data any, secret secrecy) []string {
	const most = 2000
	paths := []string{}
	var add func(object map[string]any, prefix string)
	add = func(object map[string]any, prefix string) {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if len(paths) == most {
				return
			}
			paths = append(paths, prefix+name)
			if child, ok := object[name].(map[string]any); ok && !secret.decides(prefix+name) {
				add(child, prefix+name+".")
			}
		}
	}
	if object, ok := data.(map[string]any); ok {
		add(object, "")
	}
	return paths
}

// lintSections warns of sections whose key stands nowhere in the data: an absent key is how a section is
// switched off, but one that is unknown everywhere is likely misspelt.
func (w *walker) lintSections(nodes []*node) {
	for _, n := range nodes {
		if n.kind == section || n.kind == inverted {
			w.lintSection(n)
			w.lintSections(n.children)
		}
	}
}

func (w *walker) lintSection(n *node) {
	if n.text == "." || atNames[n.text] != "" {
		return
	}
	for part := range strings.SplitSeq(n.text, ".") {
		if w.set.has(part) {
			continue
		}
		p := Problem{At: n.at, Name: n.text, Message: "this section's key stands nowhere in the data"}
		if meant := w.suggest(n.text); meant != "" {
			p.Message += " (did you mean " + meant + "?)"
		}
		if w.strict {
			w.problems.add(p)
		} else {
			w.warnings.add(p)
		}
		return
	}
}

func addKeys(keys map[string]bool, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			keys[name] = true
			addKeys(keys, value)
		}
	case []any:
		for _, value := range v {
			addKeys(keys, value)
		}
	}
}

// editDistance is the Levenshtein distance in bytes, or limit when it is not below.
func editDistance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return min(row[len(b)], limit)
}

// Truthy reports whether the dotted path is in the data and mustache takes its value for true.
func Truthy(data map[string]any, path string) bool {
	w := walker{frames: []frame{{value: data}}}
	value, _, ok := w.lookup(path)
	return ok && truthy(value)
}
