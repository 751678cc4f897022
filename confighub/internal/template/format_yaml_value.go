// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
)

func (f *yamlFormat) value(v value, at spot) (string, error) {
	if f.fresh && len(f.flow) == 0 && f.column <= f.parent && f.place != yamlDouble && f.place != yamlSingle {
		return "", errYAMLNoNode
	}
	if f.pending == ':' && len(f.flow) > 0 && f.place == yamlDone && f.quotedNode {
		if err := f.settle(' '); err != nil {
			return "", err
		}
	}
	if v.text == "" && (f.pending != 0 || f.fresh && f.place != yamlExpect) {
		return "", errYAMLEmpty
	}
	switch f.place {
	case yamlComment:
		return "", errYAMLComment
	case yamlBlock:
		return "", errYAMLBlock
	case yamlProperty:
		return "", errYAMLProperty
	case yamlOpaque:
		return "", errYAMLKey
	case yamlDone, yamlSingleEnd:
		return "", errYAMLFollows
	case yamlDouble:
		return f.inDouble(v)
	case yamlSingle:
		return f.inSingle(v, at)
	case yamlExpect:
		if f.pending == 0 {
			return f.atNode(v, at)
		}
	}
	return f.inPlain(v)
}

// atNode is a value where a node may begin.
func (f *yamlFormat) atNode(v value, at spot) (string, error) {
	rest := strings.TrimLeft(at.rest, " \t")
	inFlow := len(f.flow) > 0
	switch {
	case inFlow && f.key, strings.HasPrefix(rest, ":") && (len(rest) == 1 || blank(rest[1]) || inFlow):
		return "", errYAMLKey
	case rest == "" && !at.end, rest != "" && !strings.ContainsRune("\r\n", rune(rest[0])) &&
		!(rest[0] == '#' && len(rest) < len(at.rest)) && !(inFlow && strings.IndexByte(",]}", rest[0]) >= 0):
		if v.text == "" {
			return "", errYAMLEmpty
		}
		return f.inPlain(v)
	}
	f.begin(yamlDone, f.column)
	f.valued, f.fresh = true, false
	f.advance("x")
	switch v.kind {
	case typeNull:
		return "null", nil
	case typeObject, typeList:
		if longKey(v.text) {
			return "", errors.New("has a key of more than 1000 bytes, which YAML cannot carry here")
		}
		return escapeRunes(v.text, unusual), nil
	case typeString:
		if !yamlBare.MatchString(v.text) || yamlOther.MatchString(v.text) {
			return `"` + quoted(v.text, unusual) + `"`, nil
		}
	}
	// It may go on at the next line.
	f.place, f.quotedNode, f.stringy = yamlPlain, false, v.kind == typeString
	f.scalar.WriteString(v.text)
	return v.text, nil
}

func (f *yamlFormat) advance(written string) {
	if written != "" {
		f.column += len(written)
		f.last, f.fresh = 'x', false
	}
}

func (f *yamlFormat) inDouble(v value) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if f.escape.open() {
		return "", errEscaped
	}
	f.valued = true
	f.advance("x")
	text := quoted(word, unusual)
	// A space at the end of a line is none.
	if rest, ok := strings.CutPrefix(text, " "); ok {
		text = `\x20` + rest
	}
	if rest, ok := strings.CutSuffix(text, " "); ok {
		text = rest + `\x20`
	}
	return text, nil
}

func (f *yamlFormat) inSingle(v value, at spot) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if r, bad := firstRune(word, control); bad {
		return "", cannot(r, "a scalar in single quotes (double quotes do)")
	}
	if strings.HasPrefix(word, " ") && (blank(at.before) || at.before == touching) || strings.HasSuffix(word, " ") && (blank(at.after) || at.after == touching) {
		return "", cannot(' ', "the end of a scalar's line in single quotes (double quotes do)")
	}
	f.valued = true
	f.advance(word)
	return strings.ReplaceAll(word, "'", "''"), nil
}

// inPlain is a value in the middle of a plain scalar, or at the start of one that goes on behind it.
func (f *yamlFormat) inPlain(v value) (string, error) {
	word, err := v.word()
	if err != nil {
		return "", err
	}
	if word == "" && blank(f.last) {
		return "", errYAMLEmpty
	}
	if word == "" {
		f.valued, f.stringy = true, f.stringy || v.kind == typeString
		return "", nil
	}
	const place = "a scalar of YAML outside of quotes"
	if r, bad := firstRune(word, not(onlyOf("_./+-=@~: "))); bad {
		return "", cannot(r, place)
	}
	atStart := f.place == yamlExpect && f.pending == 0
	colon := strings.HasSuffix(word, ":") || strings.Contains(word, ": ") || len(f.flow) > 0 && (strings.Contains(word, ":") || f.pending == ':')
	switch {
	case word[0] == ' ' || word[len(word)-1] == ' ':
		return "", cannot(' ', "the end of "+place)
	case colon:
		return "", cannot(':', place)
	case atStart && !onlyOf("_/.")(firstOf(word)):
		return "", cannot(firstOf(word), "the start of "+place)
	}
	if err := f.settle('x'); err != nil {
		return "", err
	}
	if f.place == yamlExpect {
		f.begin(yamlPlain, f.column)
	}
	f.valued, f.stringy = true, f.stringy || v.kind == typeString
	f.scalar.WriteString(word)
	f.advance(word)
	return word, nil
}

func firstOf(s string) rune {
	for _, r := range s {
		return r
	}
	return 0
}

var (
	// yamlBare strings are the same with or without quotes, unless yamlOther takes them.
	yamlBare = regexp.MustCompile(`^[A-Za-z/_]([A-Za-z0-9_./ -]*[A-Za-z0-9_./-])?$`)
	// yamlOther is what some reader of YAML 1.1 or 1.2 takes for a number, a boolean, null, a date or a merge.
	yamlOther = regexp.MustCompile(`(?i)^([-+]?[0-9.][-+0-9a-fx_.:eto]*|true|false|yes|no|on|off|y|n|null|~|[-+]?\.?(inf|nan)|[0-9]{4}-.*|<<|=|)$`)
)

// longKey reports whether an object in the text of JSON has a key that is too long for a reader of YAML, which looks 1024 characters ahead.
func longKey(text string) bool {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return true
	}
	return anyKey(v, func(key string) bool { return len(key) > 1000 })
}

func anyKey(v any, bad func(string) bool) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if bad(key) || anyKey(value, bad) {
				return true
			}
		}
	case []any:
		for _, value := range v {
			if anyKey(value, bad) {
				return true
			}
		}
	}
	return false
}
