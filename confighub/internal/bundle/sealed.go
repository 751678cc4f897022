// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"fmt"
	"strings"

	"cloud4.internal/hub/confighub/internal/seal"
)

// judgeSealed reports the sealed values of a data file that nobody will be able to open. It judges each layer, since a
// sealed value is one whole of one layer.
func judgeSealed(doc *document) (problems Problems) {
	seal.Visit(doc.value, func(f seal.Found) any {
		if f.Err != nil {
			problems = append(problems, Problem{File: doc.file, Line: doc.lines[f.Key], Key: f.Key, Message: f.Err.Error()})
		}
		return nil
	})
	return problems
}

// CheckOpened reports where data, in which the sealed values at these dotted keys were opened, breaks the bundle's
// schema. No problem tells anything of what was sealed but the rule that it breaks.
func (b *Bundle) CheckOpened(data map[string]any, keys []string) Problems {
	if b.Schema == nil || len(keys) == 0 {
		return nil
	}
	doc, problems := parseDocument(schemaFile, b.Schema, newRoom())
	if len(problems) == 0 {
		problems = checkSchema(doc, data, map[string]origin{}, keys...)
	}
	if err, ok := problems.err().(Problems); ok {
		return err
	}
	return nil
}

// hidden is the opened key at or above key; "" when key is no secret.
func (s *schema) hidden(key string) string {
	for at := key; at != "" && len(s.opened) > 0; at = at[:max(0, strings.LastIndexAny(at, ".["))] {
		if s.opened[at] {
			return at
		}
	}
	return ""
}

// undecided reports whether value holds a sealed one, so that rules about all of it cannot be judged yet.
func (s *schema) undecided(value any) bool {
	s.cost.rules++
	switch v := value.(type) {
	case map[string]any:
		if seal.Is(v) {
			return true
		}
		for _, child := range v {
			if s.undecided(child) {
				return true
			}
		}
	case []any:
		for _, child := range v {
			if s.undecided(child) {
				return true
			}
		}
	}
	return false
}

// wholeRules reports whether those rules of the object can be judged that are about all of a value at once.
func (s *schema) wholeRules(rule map[string]any, value any) bool {
	for _, word := range []string{"enum", "const", "not"} {
		if _, there := rule[word]; there {
			return !s.undecided(value)
		}
	}
	return true
}

// shown is what a message tells of the value at key: nothing of one that was sealed.
func (s *schema) shown(key, format string, value any) string {
	if s.hidden(key) != "" {
		return ""
	}
	return fmt.Sprintf(format, value)
}
