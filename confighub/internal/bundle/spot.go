// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"slices"
	"strconv"
	"strings"
)

// spot is where a value stands in a document. The zero one is the whole document.
type spot struct {
	// dotted is what people are told: a.b[3].
	dotted string
	// name is the last key, or index of a list.
	name string
	up   *spot
}

func (s *spot) into(key string) *spot { return &spot{joinKey(s.dotted, key), key, s} }

func (s *spot) item(i int) *spot {
	index := strconv.Itoa(i)
	return &spot{s.dotted + "[" + index + "]", index, s}
}

// pointer is the spot as JSON pointer, which unlike dotted is never that of another one.
func (s *spot) pointer() string {
	var keys []string
	for ; s.up != nil; s = s.up {
		keys = append(keys, s.name)
	}
	slices.Reverse(keys)
	return JSONPointer(keys...)
}

// JSONPointer is the JSON pointer (RFC 6901) that these keys, or indexes of lists, lead along.
func JSONPointer(keys ...string) string {
	var b strings.Builder
	for _, key := range keys {
		b.WriteByte('/')
		b.WriteString(pointerEscapes.Replace(key))
	}
	return b.String()
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")
