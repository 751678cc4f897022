// SPDX-License-Identifier: AGPL-3.0-or-later

package seal

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Member is the key of the object that a sealed value is.
const Member = "$sealed"

// maxKey is a bundle's limit of dotted paths.
const maxKey = 512

// Is reports whether a value of data is a sealed one, of whatever form: an object with the key "$sealed".
func Is(v any) bool {
	object, _ := v.(map[string]any)
	_, sealed := object[Member]
	return sealed
}

// Found is a sealed value in data.
type Found struct {
	// Key is its dotted path: db.password, users[0].password.
	Key string
	// Path is its keys and indexes one by one.
	Path []string
	// Text is what stands behind "$sealed".
	Text string
	// Err is what can be seen to be wrong with it without a key, in words that follow the key.
	Err error
}

// Visit calls visit for every sealed value in data, in order of the keys, and returns data with what it returned in their
// places. Data is not changed; what holds no sealed value is shared with the result.
func Visit(data any, visit func(Found) any) any {
	if !Any(data) {
		return data
	}
	w := visitor{visit}
	result, _ := w.walk(data, Found{})
	return result
}

// Any reports whether there is a sealed value in v.
func Any(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		if Is(v) {
			return true
		}
		for _, child := range v {
			if Any(child) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, Any)
	}
	return false
}

type visitor struct{ visit func(Found) any }

var errKey = errors.New("lies below a key that is empty or holds a dot, a bracket or a control character, and no seal can name it: rename the key")

// walk returns v, which stands at this place, as it is to be, and whether that is another than v.
func (w visitor) walk(v any, at Found) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		if Is(v) {
			return w.visit(at.read(v)), true
		}
		return w.object(v, at)
	case []any:
		return w.list(v, at)
	}
	return v, false
}

func (w visitor) object(v map[string]any, at Found) (any, bool) {
	var changed map[string]any
	for _, name := range slices.Sorted(maps.Keys(v)) {
		if value, other := w.walk(v[name], at.into(name)); other {
			if changed == nil {
				changed = maps.Clone(v)
			}
			changed[name] = value
		}
	}
	if changed == nil {
		return v, false
	}
	return changed, true
}

func (w visitor) list(v []any, at Found) (any, bool) {
	var changed []any
	for i, item := range v {
		if value, other := w.walk(item, at.item(i)); other {
			if changed == nil {
				changed = slices.Clone(v)
			}
			changed[i] = value
		}
	}
	if changed == nil {
		return v, false
	}
	return changed, true
}

func (f Found) into(name string) Found {
	if f.Err == nil && !nameable(name) {
		f.Err = errKey
	}
	if f.Key != "" {
		f.Key += "."
	}
	f.Key += name
	f.Path = append(slices.Clip(f.Path), name)
	return f
}

func (f Found) item(i int) Found {
	f.Key += "[" + strconv.Itoa(i) + "]"
	f.Path = append(slices.Clip(f.Path), strconv.Itoa(i))
	return f
}

// read is the sealed value at this place.
func (f Found) read(object map[string]any) Found {
	text, isText := object[Member].(string)
	f.Text = text
	switch {
	case f.Err != nil:
	case f.Key == "":
		f.Err = errors.New("stands for all of the data: seal the values in it, each by its key")
	case len(object) > 1:
		f.Err = errors.New("has other keys beside " + Member + ": a sealed value is one whole")
	case !isText:
		f.Err = errNoText
	default:
		f.Err = CheckText(text)
	}
	return f
}

// nameable reports whether a path can go over this key without being taken for another.
func nameable(name string) bool {
	return name != "" && !strings.ContainsAny(name, ".[]") && !strings.ContainsFunc(name, unicode.IsControl)
}

// CheckKey says what is wrong with a path at which a value may be sealed.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("the key must be the dotted path of a value in the data, of at most %d bytes: db.password", maxKey)
	}
	for part := range strings.SplitSeq(key, ".") {
		name, indexes, listed := strings.Cut(part, "[")
		if !nameable(name) || listed && !validIndexes("["+indexes) {
			return fmt.Errorf("the key must be a dotted path, with items of lists counted from 0, as in db.password or users[0].password, got %q", key)
		}
	}
	return nil
}

// validIndexes reports whether text is "[0]" or "[1][12]", without leading zeros.
func validIndexes(text string) bool {
	for text != "" {
		digits, rest, closed := strings.Cut(strings.TrimPrefix(text, "["), "]")
		n, err := strconv.ParseUint(digits, 10, 32)
		if !closed || text[0] != '[' || err != nil || strconv.FormatUint(n, 10) != digits {
			return false
		}
		text = rest
	}
	return true
}
