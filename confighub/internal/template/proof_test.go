// SPDX-License-Identifier: AGPL-3.0-or-later

package template_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/template"
)

// place is somewhere in a file of a format that a value may stand.
type place struct {
	// template holds {{v}}.
	template string
	// want is what a reader of the format finds there; nil for places that take no string at all.
	want func(v string) any
}

// generated is the number of values that each place is tried with, beside the known ones.
const generated = 2000

// known values have broken some file before.
var known = []string{
	"", " ", "  ", "\n", "\r\n", "\t", "a", "plain", "two words", " lead", "trail ", "a\nb", "a\n\nb\n", "\na", "a\r", `"`, "'", "`", `\`, `\\`, `a\`, `\"`, `\'`, `\n`, `\u0041`, "''", `""`, `"""`, "'''",
	"$", "$HOME", "${HOME}", "$(id)", "`id`", "$((1+1))", "$'a'", "{", "}", "{}", "[", "]", "[]", "]]", "]]>", "<", ">", "&", "&amp;", "&#38;", "&lt", "<!--", "-->", "--", "--!>", "<![CDATA[", "<?", "?>",
	"</script>", "<script>alert(1)</script>", "javascript:alert(1)", "on", "off", "yes", "no", "Yes", "NO", "true", "True", "false", "null", "Null", "~", "y", "n", ".inf", "-.INF", ".nan", "nan", "inf", "+inf",
	"0", "00", "01", "0x1f", "0o7", "0b1", "1_000", "1e3", "1.0", "1.", ".5", "-1", "+1", "1:30", "190:20:30", "2001-01-01", "2001-12-14t21:59:43.10-05:00", "12:00:00", "12345678901234567890", "1e400", "-", "--- ", "---", "...", "- a", "-a", "? a", "?", ":", ": ", "a:", "a: b", ":a", "a :b", "#", "# a", "a #b", "a#b", ";", "a;b", "a ; b",
	"!", "!!int 1", "&a", "*a", "|", ">", "|-", "%", "%d", "%(a)s", "@a", "=", "==", "a=b", "=a", "<<", "*", "?*", "~root", "!!", "EOF", "END", "if", "done", "case", "esac", "in", "alias", "x;rm -rf /", "x && y", "x|y", ">f", "2>&1", "a,b", ",", "{a,b}", "a)", "(a", "()",
	"é", "ß漢字", "\u00a0", "\u0085", "\u2028", "\u2029", "\ufeff", "\ufeffa", "\ufffd", "\ufffe", "\uffff", "😀", "a\u0300", "\u202e", "\u3000", "\u0001", "\u001b[0m", "\u007f", "\u0080", "\u009f", "\v", "\f", "\b", "\xff", "a\xc3", "\xed\xa0\x80",
	strings.Repeat("x", 2000), strings.Repeat("a b ", 300),
}

// alphabet is what generated values are made of.
var alphabet = append([]string{
	"a", "b", "Z", "0", "1", "9", "e", "x", "u", "U", "n", "t", "_", ".", "/", "-", "+", "=", ":", ";", ",", "@", "%", "^", "~", "*", "?", "!", "|", "&", "#", "$", "(", ")", "[", "]", "{", "}", "<", ">", `"`, "'", "`", `\`, " ", "\t", "\n", "\r",
	"{{v}}", "{{{", "}}", "\\\n", "\n ", "\n\n", "\n---\n", "\n[s]\nk=v", "\nk: v", "\n- x", "\nEOF\n", "';", `";`, `"}`, `"]`, "'/>", `"/>`, "$x", "${x}", "$(",
}, known...)

func values() []string {
	random := rand.New(rand.NewPCG(3, 4)) // the same at each run
	list := append([]string{}, known...)
	for range generated {
		var b strings.Builder
		for range 1 + random.IntN(6) {
			if part := alphabet[random.IntN(len(alphabet))]; len(part) < 40 {
				b.WriteString(part)
			}
		}
		list = append(list, b.String())
	}
	return list
}

func fill(text, format string, data map[string]any) ([]byte, error) {
	find := func(name string) (string, []byte, bool) { return name, []byte(text), name == "t" }
	result, err := template.Render(find, "t", data, template.Options{Format: format})
	return result.Output, err
}

// holds tries one value at one place: a reader gives it back, or rendering refused it. It reports whether it was carried.
func (p place) holds(t *testing.T, format, v string, read func([]byte) (any, error)) bool {
	t.Helper()
	out, err := fill(p.template, format, map[string]any{"v": v})
	if err != nil {
		if strings.Contains(v, "\x00") || len(v) > 3 && strings.Contains(strings.ReplaceAll(err.Error(), "the character", ""), v) && strings.ContainsAny(v, "$\\\n") {
			t.Errorf("%q: the error shows the value %q: %v", p.template, v, err)
		}
		return false
	}
	if p.want == nil {
		t.Errorf("%q took %q: %q", p.template, v, out)
		return true
	}
	got, err := read(out)
	if err != nil {
		t.Errorf("%q with %q became %q: %v", p.template, v, out, err)
		return true
	}
	if diff := cmp.Diff(p.want(v), got); diff != "" {
		t.Errorf("%q with %q became %q, which reads as\n%s", p.template, v, out, diff)
	}
	return true
}

// prove tries all values at all places of a format.
func prove(t *testing.T, format string, places []place, read func([]byte) (any, error)) {
	t.Helper()
	tried, carried := 0, 0
	for _, p := range places {
		t.Run(p.template, func(t *testing.T) {
			took := 0
			for _, v := range values() {
				if tried++; p.holds(t, format, v, read) {
					took++
				}
				if t.Failed() {
					return
				}
			}
			// What takes strings takes the plain one, or the proof proves nothing.
			if _, err := fill(p.template, format, map[string]any{"v": "plain"}); err != nil && p.want != nil {
				t.Errorf("refused a plain word: %v", err)
			}
			carried += took
		})
	}
	t.Logf("%s: %d cases in %d places, %d carried, %d refused", format, tried, len(places), carried, tried-carried)
}

// numbersAsWritten tries what is no string where whole values stand: want maps JSON to what the format has.
func typed(t *testing.T, format, text string, want map[string]string) {
	t.Helper()
	for value, wanted := range want {
		out, err := fill(text, format, map[string]any{"v": parse(t, value)})
		got := string(out)
		if err != nil {
			got = "error"
		}
		if expect := strings.ReplaceAll(text, "{{v}}", wanted); wanted != "error" && got != expect || wanted == "error" && err == nil {
			t.Errorf("%s with %s: got %q (%v), want %q", text, value, got, err, wanted)
		}
	}
}

func same(v string) any { return v }

// around is a value with text beside it.
func beside(before, after string) func(string) any {
	return func(v string) any { return before + v + after }
}

// under puts the value under keys, the innermost last; "[]" is a list of one.
func under(want func(string) any, keys ...string) func(string) any {
	return func(v string) any {
		result := want(v)
		for i := len(keys) - 1; i >= 0; i-- {
			if keys[i] == "[]" {
				result = []any{result}
			} else {
				result = map[string]any{keys[i]: result}
			}
		}
		return result
	}
}
