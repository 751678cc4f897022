// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// expected says what a class takes, after "must be".
var expected = [...]string{
	classString:   "a string",
	classBool:     "true or false",
	classInt:      "a whole number",
	classFloat:    "a number",
	classDuration: `a duration such as "10s"`,
	classBytes:    `a size such as "64MiB"`,
	classText:     "a string",
	classStruct:   "an object",
	classList:     "a list",
	classMap:      "an object",
	classAny:      "any value",
	classRaw:      "any value",
}

// setScalar puts a value into v, whose type is s.typ. The error is what the value must be, without what it is.
func (s *shape) setScalar(v reflect.Value, n *node) error {
	wrong := errors.New("must be " + expected[s.class])
	text := n.kind == kindText || n.kind == kindSecret
	switch s.class {
	case classString, classDuration, classText:
		if n.kind != kindString && !text {
			return wrong
		}
	case classBool:
		if n.kind != kindBool && !text {
			return wrong
		}
	case classInt, classFloat:
		if n.kind != kindNumber && !text {
			return wrong
		}
	case classBytes:
		if n.kind != kindString && n.kind != kindNumber && !text {
			return wrong
		}
	}
	if err := s.parse(v, n.text); err != nil {
		return err
	}
	return s.checkRange(v)
}

// parse reads the text of a value into v.
func (s *shape) parse(v reflect.Value, text string) error {
	wrong := errors.New("must be " + expected[s.class])
	switch s.class {
	case classString:
		v.SetString(text)
	case classBool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return wrong
		}
		v.SetBool(b)
	case classInt:
		return s.parseInt(v, text)
	case classFloat:
		f, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return wrong
		}
		v.SetFloat(f)
	case classDuration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return wrong
		}
		v.SetInt(int64(d))
	case classBytes:
		b, err := ParseBytes(text)
		if err != nil {
			return wrong
		}
		v.SetInt(int64(b))
	case classText:
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("is wrong: %s", oneLine(err.Error()))
		}
	}
	return nil
}

// parseInt reads a whole number that fits into v.
func (s *shape) parseInt(v reflect.Value, text string) error {
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return errors.New("must be " + expected[s.class])
	}
	fits := err == nil && (v.CanInt() && !v.OverflowInt(i) || v.CanUint() && i >= 0 && !v.OverflowUint(uint64(i)))
	switch {
	case fits && v.CanInt():
		v.SetInt(i)
	case fits:
		v.SetUint(uint64(i))
	case s.min != "" || s.max != "":
		return errors.New(s.limits(""))
	case v.CanUint() && strings.HasPrefix(text, "-"):
		return errors.New("must not be negative")
	default:
		return fmt.Errorf("must be a whole number of at most %d bits", v.Type().Bits())
	}
	return nil
}

// setText puts the text of a default into v.
func (s *shape) setText(v reflect.Value, text string) error {
	if s.class == classList && s.elem.scalar() {
		words := strings.Fields(text)
		items := reflect.MakeSlice(s.typ, len(words), len(words))
		for i, word := range words {
			if err := s.elem.setScalar(deref(items.Index(i)), &node{kind: kindText, text: word}); err != nil {
				return fmt.Errorf("%w, got %q", err, word)
			}
		}
		v.Set(items)
		return s.checkCount(len(words))
	}
	if !s.scalar() {
		return errors.New("is not for this type")
	}
	if err := s.setScalar(v, &node{kind: kindText, text: text}); err != nil {
		return fmt.Errorf("%w, got %q", err, text)
	}
	return nil
}

// deref makes v, if it is a nil pointer, point to a new value, and gives that; else v.
func deref(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
	}
	return v.Elem()
}

// checkRange judges a scalar by min, max and enum.
func (s *shape) checkRange(v reflect.Value) error {
	if len(s.enum) > 0 && !slices.Contains(s.enum, fmt.Sprint(v.Interface())) {
		last := len(s.enum) - 1
		if last == 0 {
			return fmt.Errorf("must be %s", s.enum[0])
		}
		return fmt.Errorf("must be one of %s or %s", strings.Join(s.enum[:last], ", "), s.enum[last])
	}
	if s.class == classString {
		return s.checkLength(utf8.RuneCountInString(v.String()), "characters")
	}
	if s.min != "" && s.compare(v, s.min) < 0 || s.max != "" && s.compare(v, s.max) > 0 {
		return errors.New(s.limits(""))
	}
	return nil
}

// checkCount judges the number of entries of a list or a map.
func (s *shape) checkCount(n int) error {
	if s.class == classMap || s.class == classList {
		return s.checkLength(n, "entries")
	}
	return nil
}

// checkLength judges a number of things by min and max.
func (s *shape) checkLength(n int, unit string) error {
	atLeast := func(tag string) int { i, _ := strconv.Atoi(tag); return i }
	if s.min != "" && n < atLeast(s.min) || s.max != "" && n > atLeast(s.max) {
		return errors.New(s.limits(unit))
	}
	return nil
}

// limits says what min and max demand; unit is empty for the value itself.
func (s *shape) limits(unit string) string {
	verb := "must be "
	if unit != "" && s.min == "1" && s.max == "" {
		return "must not be empty"
	}
	if unit != "" {
		verb, unit = "must have ", " "+unit
	}
	switch {
	case s.min != "" && s.max != "":
		return fmt.Sprintf("%sbetween %s and %s%s", verb, s.min, s.max, unit)
	case s.min != "":
		return fmt.Sprintf("%sat least %s%s", verb, s.min, unit)
	}
	return fmt.Sprintf("%sat most %s%s", verb, s.max, unit)
}

// compare compares a scalar with a limit.
func (s *shape) compare(v reflect.Value, tag string) int {
	limit := reflect.New(s.typ).Elem()
	if err := s.parse(limit, tag); err != nil {
		panic(err) // checkTags has parsed it before
	}
	switch {
	case v.CanInt():
		return cmp.Compare(v.Int(), limit.Int())
	case v.CanUint():
		return cmp.Compare(v.Uint(), limit.Uint())
	}
	return cmp.Compare(v.Float(), limit.Float())
}

// checkTags judges min and max themselves.
func (s *shape) checkTags() error {
	for _, tag := range []string{s.min, s.max} {
		if tag == "" {
			continue
		}
		switch s.class {
		case classInt, classFloat, classDuration, classBytes:
			if err := s.parse(reflect.New(s.typ).Elem(), tag); err != nil {
				return fmt.Errorf("limit %q %w", tag, err)
			}
		case classString, classList, classMap:
			if _, err := strconv.Atoi(tag); err != nil {
				return fmt.Errorf("limit %q must be a whole number", tag)
			}
		default:
			return fmt.Errorf("limit %q is not for this type", tag)
		}
	}
	return nil
}
