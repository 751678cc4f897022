// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
)

// rational reads a number exactly. Long texts and large exponents are refused: they would cost memory.
func rational(v any) (*big.Rat, bool) {
	n, ok := v.(json.Number)
	if !ok || len(n) > 64 {
		return nil, false
	}
	if _, exponent, found := strings.Cut(strings.ToLower(string(n)), "e"); found && len(strings.TrimLeft(exponent, "+-0")) > 3 {
		return nil, false
	}
	return new(big.Rat).SetString(string(n))
}

func hasType(want, value any) bool {
	names, ok := want.([]any)
	if !ok {
		names = []any{want}
	}
	for _, name := range names {
		switch v := value.(type) {
		case nil:
			ok = name == "null"
		case bool:
			ok = name == "boolean"
		case map[string]any:
			ok = name == "object"
		case []any:
			ok = name == "array"
		case string:
			ok = name == "string"
		case json.Number:
			r, exact := rational(v)
			ok = name == "number" || name == "integer" && exact && r.IsInt()
		}
		if ok {
			return true
		}
	}
	return false
}

func typeText(want any) string {
	if list, ok := want.([]any); ok {
		return strings.Trim(fmt.Sprint(list...), "[]")
	}
	return fmt.Sprint(want)
}

// equal compares as JSON Schema does: numbers by value.
func equal(a, b any) bool {
	x, okX := rational(a)
	y, okY := rational(b)
	if okX && okY {
		return x.Cmp(y) == 0
	}
	return reflect.DeepEqual(a, b)
}

func text(v any) string {
	raw, err := marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return strings.Join(strings.Fields(string(raw)), " ")
}
