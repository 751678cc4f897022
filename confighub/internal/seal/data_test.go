// SPDX-License-Identifier: AGPL-3.0-or-later

package seal

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVisit(t *testing.T) {
	text := sealFor(t, "1", Place{Key: "k"}, newKey(t))
	sealed := func() map[string]any { return map[string]any{Member: text} }
	plain := map[string]any{"deep": []any{"x", nil}}
	data := map[string]any{
		"b": sealed(), "a": map[string]any{"x": []any{1, []any{sealed(), 2}, sealed()}, "y": true},
		"plain": plain, "odd.name": map[string]any{"k": sealed()}, "": sealed(), "more": map[string]any{Member: text, "other": 1},
		"none": map[string]any{Member: 1}, "null": map[string]any{Member: nil},
	}
	before := fmt.Sprint(data)
	var keys, bad []string
	got := Visit(data, func(f Found) any {
		keys = append(keys, f.Key+" /"+strings.Join(f.Path, "/"))
		if f.Err != nil {
			bad = append(bad, f.Key)
			return nil
		}
		if f.Text != text {
			t.Errorf("%s has text %q", f.Key, f.Text)
		}
		return "<" + f.Key + ">"
	})
	want := map[string]any{
		"b": "<b>", "a": map[string]any{"x": []any{1, []any{"<a.x[1][0]>", 2}, "<a.x[2]>"}, "y": true},
		"plain": plain, "odd.name": map[string]any{"k": nil}, "": nil, "more": nil, "none": nil, "null": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantKeys := []string{" /", "a.x[1][0] /a/x/1/0", "a.x[2] /a/x/2", "b /b", "more /more", "none /none", "null /null", "odd.name.k /odd.name/k"}
	if diff := cmp.Diff(wantKeys, keys); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"", "more", "none", "null", "odd.name.k"}, bad); diff != "" {
		t.Error(diff)
	}
	if after := fmt.Sprint(data); after != before {
		t.Error("the data was changed")
	}
	if !Any(data) || Any(plain) || Any(nil) || Any("$sealed") {
		t.Error("Any is wrong")
	}
}

// What no key of the data can be taken for another.
func TestCheckKey(t *testing.T) {
	for _, good := range []string{"password", "db.password", "users[0].password", "a[1][22].b", "$x", "a b.ü", strings.Repeat("x", 512)} {
		if err := CheckKey(good); err != nil {
			t.Errorf("%.20q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[-1]", "a[01]", "a[0", "a]", "a[0]b", "[0]", "a.[0]", "a[0][", "a\n", "a[99999999999]", strings.Repeat("x", 513)} {
		if CheckKey(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// FuzzKey: every key under which a value is found in data is one that CheckKey takes, and the other way round.
func FuzzKey(f *testing.F) {
	text := sealFor(f, "1", Place{Key: "k"}, newKey(f))
	f.Add(`{"a": {"b": [{}, {"$sealed": 1}]}}`, "a.b[1]")
	f.Add(`{"a.b": {"": {"$sealed": 1}}}`, "a[0")
	f.Fuzz(func(t *testing.T, document, key string) {
		var data any
		if json.Unmarshal([]byte(strings.ReplaceAll(document, `"$sealed":1`, fmt.Sprintf(`"$sealed":%q`, text))), &data) == nil {
			Visit(data, func(found Found) any {
				if found.Err == nil && len(found.Key) <= maxKey && CheckKey(found.Key) != nil {
					t.Errorf("found at %q: %v", found.Key, CheckKey(found.Key))
				}
				return nil
			})
		}
		if CheckKey(key) != nil || strings.Contains(key, "[") {
			return
		}
		var value any = map[string]any{Member: text}
		parts := strings.Split(key, ".")
		for i := len(parts) - 1; i >= 0; i-- {
			value = map[string]any{parts[i]: value}
		}
		Visit(value, func(found Found) any {
			if found.Key != key || found.Err != nil {
				t.Errorf("%q is found at %q: %v", key, found.Key, found.Err)
			}
			return nil
		})
	})
}
