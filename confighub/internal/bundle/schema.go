// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"cloud4.internal/hub/confighub/internal/seal"
)

// The keywords of JSON Schema (draft 2020-12) that a schema.json may use. Any other is an error, since a
// rule that is silently not applied is worse than none. References are left out, so that the schemas of
// several fragments can be joined.
//
//	type enum const · properties required additionalProperties propertyNames minProperties maxProperties
//	items minItems maxItems uniqueItems · minLength maxLength pattern · minimum maximum exclusiveMinimum
//	exclusiveMaximum · allOf anyOf not · $schema $id title description default examples $comment
//
// Values times rules are at most maxRules, since lists of both multiply.
type schema struct {
	doc      *document
	origins  map[string]origin
	problems Problems
	cost     *cost
	// opened are the dotted keys of what was sealed, which no message may show.
	opened map[string]bool
}

const (
	// maxRules is a second of work.
	maxRules = 2_000_000
	// maxFailures is more than is told.
	maxFailures = 10 * maxProblems
)

// cost is what judging has cost, and what it needs only once.
type cost struct {
	rules    int
	patterns map[string]pattern
}

// pattern is a compiled one, and the number of instructions it may take for a byte of text.
type pattern struct {
	*regexp.Regexp
	size int
}

// matches applies a pattern that is known to be well-formed.
func (c *cost) matches(expression, text string) bool {
	p, known := c.patterns[expression]
	if !known {
		p.Regexp = regexp.MustCompile(expression)
		if tree, err := syntax.Parse(expression, syntax.Perl); err == nil {
			if program, err := syntax.Compile(tree.Simplify()); err == nil {
				p.size = len(program.Inst)
			}
		}
		c.patterns[expression] = p
	}
	c.rules += len(text) * p.size / 100
	return c.rules > maxRules || p.MatchString(text)
}

// checkSchema reports what is wrong with the schema, or where data breaks it.
func checkSchema(doc *document, data map[string]any, origins map[string]origin, opened ...string) Problems {
	s := &schema{doc: doc, origins: origins, cost: &cost{patterns: map[string]pattern{}}, opened: map[string]bool{}}
	for _, key := range opened {
		s.opened[key] = true
	}
	s.wellFormed(doc.value, "")
	if len(s.problems) == 0 {
		s.apply(doc.value, data, "")
	}
	if s.cost.rules > maxRules {
		return Problems{{File: doc.file, Message: fmt.Sprintf("asks for more than %d comparisons with this data", maxRules)}}
	}
	return s.problems
}

// joinSchemas is one schema that holds when all do.
func joinSchemas(docs []*document) (json.RawMessage, error) {
	switch len(docs) {
	case 0:
		return nil, nil
	case 1:
		return marshal(docs[0].value)
	}
	var all []any
	for _, doc := range docs {
		all = append(all, doc.value)
	}
	return marshal(map[string]any{"allOf": all})
}

// wellFormed walks the schema itself.
func (s *schema) wellFormed(v any, key string) {
	object, ok := v.(map[string]any)
	if _, isBool := v.(bool); isBool {
		return
	}
	if !ok {
		s.bad(key, "must be a schema (an object or a boolean), is "+kindOf(v))
		return
	}
	for _, word := range slices.Sorted(maps.Keys(object)) {
		value, child := object[word], joinKey(key, word)
		switch word {
		case "$schema", "$id", "$comment", "title", "description", "default", "examples", "const":
		case "type":
			s.typeNames(value, child)
		case "enum", "required":
			if _, ok := value.([]any); !ok {
				s.bad(child, "must be a list")
			}
		case "properties":
			s.eachSchema(value, child)
		case "additionalProperties", "propertyNames", "items", "not":
			s.wellFormed(value, child)
		case "allOf", "anyOf":
			s.listOfSchemas(value, child)
		case "pattern":
			if text, ok := value.(string); !ok {
				s.bad(child, "must be a regular expression")
			} else if _, err := regexp.Compile(text); err != nil {
				s.bad(child, err.Error())
			}
		case "uniqueItems":
			if _, ok := value.(bool); !ok {
				s.bad(child, "must be true or false")
			}
		case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength",
			"minItems", "maxItems", "minProperties", "maxProperties":
			if _, ok := rational(value); !ok {
				s.bad(child, "must be a number of at most 64 digits")
			}
		default:
			s.bad(child, "is a keyword that schemas here do not have")
		}
	}
}

func (s *schema) listOfSchemas(value any, key string) {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		s.bad(key, "must be a list of schemas")
	}
	for i, e := range list {
		s.wellFormed(e, fmt.Sprintf("%s[%d]", key, i))
	}
}

func (s *schema) eachSchema(value any, key string) {
	object, ok := value.(map[string]any)
	if !ok {
		s.bad(key, "must be an object of schemas")
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		s.wellFormed(object[name], joinKey(key, name))
	}
}

func (s *schema) typeNames(value any, key string) {
	names, ok := value.([]any)
	if !ok {
		names = []any{value}
	}
	for _, name := range names {
		known := []any{"null", "boolean", "object", "array", "number", "integer", "string"}
		if !slices.Contains(known, name) {
			s.bad(key, "must be of null boolean object array number integer string")
		}
	}
}

func (s *schema) bad(key, message string) {
	s.problems = append(s.problems, Problem{File: s.doc.file, Line: s.doc.lines[key], Key: key, Message: message})
}

// fail reports a data value that breaks the schema, at the file and line it came from.
func (s *schema) fail(key, format string, args ...any) {
	if len(s.problems) >= maxFailures {
		return
	}
	message := fmt.Sprintf(format, args...) + " (" + s.doc.file + ")"
	if sealed := s.hidden(key); sealed != "" && sealed != key {
		key, message = sealed, "in what is sealed, a value "+message
	} else if sealed != "" {
		message = "what is sealed " + message
	}
	at, named := s.origins[key], key
	for parent := key; at.file == "" && parent != ""; {
		parent = parent[:max(0, strings.LastIndexAny(parent, ".["))]
		at = s.origins[parent]
	}
	if at.file == "" {
		at.file = dataDir
	}
	s.problems = append(s.problems, Problem{File: at.file, Line: at.line, Key: named, Message: message})
}

// holds reports whether the schema holds for value, without a word.
func (s *schema) holds(rule, value any) bool {
	probe := &schema{doc: s.doc, origins: s.origins, cost: s.cost, opened: s.opened}
	probe.apply(rule, value, "")
	return len(probe.problems) == 0
}

// apply checks one value by one schema, both already known to be well-formed.
func (s *schema) apply(rule, value any, key string) {
	if s.cost.rules++; s.cost.rules > maxRules || seal.Is(value) {
		return
	}
	if allowed, ok := rule.(bool); ok {
		if !allowed {
			s.fail(key, "is not allowed")
		}
		return
	}
	object := rule.(map[string]any)
	if want, ok := object["type"]; ok && !hasType(want, value) {
		s.fail(key, "must be of type %s, is %s", typeText(want), kindOf(value))
		return
	}
	whole := s.wholeRules(object, value)
	list, ok := object["enum"].([]any)
	s.cost.rules += len(list)
	if ok && whole && !slices.ContainsFunc(list, func(e any) bool { return equal(e, value) }) {
		s.fail(key, "must be one of %s", text(list))
	}
	if want, ok := object["const"]; ok && whole && !equal(want, value) {
		s.fail(key, "must be %s", text(want))
	}
	for _, word := range []string{"allOf", "anyOf"} {
		list, _ := object[word].([]any)
		if word == "allOf" {
			for _, e := range list {
				s.apply(e, value, key)
			}
		} else if len(list) > 0 && !slices.ContainsFunc(list, func(e any) bool { return s.holds(e, value) }) {
			s.fail(key, "fits none of anyOf")
		}
	}
	if not, ok := object["not"]; ok && whole && s.holds(not, value) {
		s.fail(key, "is what the schema excludes")
	}
	switch v := value.(type) {
	case map[string]any:
		s.applyObject(object, v, key)
	case []any:
		s.applyList(object, v, key)
	case string:
		s.bounds(object, "Length", utf8.RuneCountInString(v), key, "characters")
		if p, ok := object["pattern"].(string); ok && !s.cost.matches(p, v) {
			s.fail(key, "must match %s", p)
		}
	case json.Number:
		s.applyNumber(object, v, key)
	}
}

func (s *schema) applyObject(rule, value map[string]any, key string) {
	s.bounds(rule, "Properties", len(value), key, "keys")
	required, _ := rule["required"].([]any)
	s.cost.rules += len(required)
	for _, name := range required {
		if name, ok := name.(string); ok && value[name] == nil {
			s.fail(joinKey(key, name), "is required and missing")
		}
	}
	properties, _ := rule["properties"].(map[string]any)
	extra, hasExtra := rule["additionalProperties"]
	names, hasNames := rule["propertyNames"]
	for _, name := range slices.Sorted(maps.Keys(value)) {
		child := joinKey(key, name)
		if sub, ok := properties[name]; ok {
			s.apply(sub, value[name], child)
		} else if hasExtra {
			s.apply(extra, value[name], child)
		}
		if hasNames && !s.holds(names, name) {
			s.fail(child, "has a name that the schema does not allow")
		}
	}
}

func (s *schema) applyList(rule map[string]any, value []any, key string) {
	s.bounds(rule, "Items", len(value), key, "items")
	if items, ok := rule["items"]; ok {
		for i, e := range value {
			s.apply(items, e, fmt.Sprintf("%s[%d]", key, i))
		}
	}
	if rule["uniqueItems"] == true {
		seen := map[string]bool{}
		for i, e := range value {
			if t := text(e); seen[t] {
				s.fail(fmt.Sprintf("%s[%d]", key, i), "stands twice in the list")
			} else {
				seen[t] = true
			}
		}
	}
}

func (s *schema) applyNumber(rule map[string]any, value json.Number, key string) {
	n, ok := rational(value)
	if !ok {
		s.fail(key, "is a number of more than 64 digits")
		return
	}
	for _, b := range []struct {
		word, text string
		ok         func(cmp int) bool
	}{
		{"minimum", "at least", func(c int) bool { return c >= 0 }},
		{"maximum", "at most", func(c int) bool { return c <= 0 }},
		{"exclusiveMinimum", "more than", func(c int) bool { return c > 0 }},
		{"exclusiveMaximum", "less than", func(c int) bool { return c < 0 }},
	} {
		if limit, given := rational(rule[b.word]); given && !b.ok(n.Cmp(limit)) {
			s.fail(key, "must be %s %s%s", b.text, text(rule[b.word]), s.shown(key, ", is %s", value))
		}
	}
}

// bounds applies min<what> and max<what>.
func (s *schema) bounds(rule map[string]any, what string, n int, key, unit string) {
	count := new(big.Rat).SetInt64(int64(n))
	if low, ok := rational(rule["min"+what]); ok && count.Cmp(low) < 0 {
		s.fail(key, "must have at least %s %s%s", text(rule["min"+what]), unit, s.shown(key, ", has %d", n))
	}
	if high, ok := rational(rule["max"+what]); ok && count.Cmp(high) > 0 {
		s.fail(key, "must have at most %s %s%s", text(rule["max"+what]), unit, s.shown(key, ", has %d", n))
	}
}
