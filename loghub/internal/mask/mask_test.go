// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func named(name string, texts ...string) (values []Value) {
	for _, text := range texts {
		values = append(values, Value{name, text})
	}
	return values
}

func hide(m *Matcher, line string) string { return string(m.Mask([]byte(line), new(Scratch))) }

func TestMask(t *testing.T) {
	m := New(slices.Concat(
		named("", "hunter2hunter2", "hunter2hu", "ter2hunter2!", "overlapping", "pingpong"),
		named("DB_PASSWORD", "correct horse"), named("secrets/ä \"b", "from-a-file"), named(strings.Repeat("N", 99), "long-name-secret"),
		named("SELF_TOKEN", "SELF_TOKEN")))
	tests := []struct{ in, want string }{
		{"nothing here", "nothing here"},
		{"hunter2hunter2", "***"},
		{"x hunter2hunter2 y hunter2hux", "x *** y ***x"},
		{"hunter2hunter2!", "***"},   // two that overlap
		{"overlappingpong.", "***."}, // the end of one is the beginning of the other
		{"hunter2", "hunter2"},
		{"pingpongpingpong", "***"}, // the same twice
		{"pingpongcorrect horse", "******DB_PASSWORD***"},
		{"correct horse battery", "***DB_PASSWORD*** battery"},
		{"from-a-file", "***secrets/___b***"},
		{"long-name-secret", "***" + strings.Repeat("N", maxLabel) + "***"},
		{"SELF_TOKEN", "***"}, // the name would show it
		{"", ""},
	}
	for _, tt := range tests {
		if got := hide(m, tt.in); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
	for _, m := range []*Matcher{New(nil), New(named("A", "short"))} {
		if got := hide(m, "x short"); got != "x short" {
			t.Errorf("without values: %q", got)
		}
	}
	var none *Live
	none.Refresh()
	if got := none.Mask([]byte("x"), new(Scratch)); string(got) != "x" || len(none.Found().Hidden) != 0 {
		t.Errorf("without anything: %q", got)
	}
}

// secretsOfAllKinds are values with what encoders treat in their own ways.
var secretsOfAllKinds = []string{
	"hunter2hunter2", "correct horse battery", `p"a\s/s<w>&o'rd`, "pässwörd-日本語-🔑", "100%25+space here/and?more=1", "tab\there\tit is",
	"~!*'();:@&=+$,[]#", "-----------", "c2VjcmV0IGtleQ==", `C:\new\table`, "a'b''c'd'e'f", `\\server\share`, "\x01control\x7f\x1b[0m",
}

// encoders write a text as programs do.
var encoders = map[string]func(string) string{
	"as it is":    func(s string) string { return s },
	"Go JSON":     func(s string) string { b, _ := json.Marshal(s); return string(b) },
	"plain JSON":  plainJSON,
	"ASCII JSON":  func(s string) string { return asciiJSON(s, `\u%04x`) },
	"ASCII JSON2": func(s string) string { return asciiJSON(s, `\u%04X`) },
	"slash JSON":  func(s string) string { return strings.ReplaceAll(plainJSON(s), "/", `\/`) },
	"twice JSON":  func(s string) string { return plainJSON(plainJSON(s)) },
	"query":       url.QueryEscape,
	"path":        url.PathEscape,
	"every byte":  func(s string) string { return percentAll(s, "%%%02x") },
	"every BYTE":  func(s string) string { return percentAll(s, "%%%02X") },
	"URL in URL":  func(s string) string { return url.QueryEscape(url.PathEscape(s)) },
	"URL in JSON": func(s string) string { return asciiJSON("/a?b="+url.PathEscape(s)+"&c", `\u%04x`) },
	"JSON in URL": func(s string) string { return url.PathEscape(plainJSON(s)) },
	"nginx":       nginxEscape,
	"Go quoted":   strconv.Quote,
	"Go ASCII":    func(s string) string { return strings.ReplaceAll(strconv.QuoteToASCII(s), `\x`, `\x`) },
	"shell":       func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" },
	"backslashes": func(s string) string { return backslashAll(s) },
	"SQL":         func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" },
	"HTML":        html.EscapeString,
	"XML":         xmlEscape,
	"base64":      func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 URL":  func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
	"base64 raw":  func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) },
	"basic":       func(s string) string { return base64.StdEncoding.EncodeToString([]byte("ops:" + s)) },
	"in base64":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s + " and more")) },
	"in base64 2": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("??" + s + "??")) },
	"base64 JSON": func(s string) string {
		return strings.ReplaceAll(base64.StdEncoding.EncodeToString([]byte(s)), "/", `\/`)
	},
	"base64 URL%": func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte("a" + s))) },
	"hex":         func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":         func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
}

func plainJSON(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}

func asciiJSON(s, format string) string {
	var b strings.Builder
	for _, r := range plainJSON(s) {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, format+format, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			fmt.Fprintf(&b, format, r)
		}
	}
	return b.String()
}

func percentAll(s, format string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, format, s[i])
	}
	return b.String()
}

func nginxEscape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			fmt.Fprintf(&b, `\x%02X`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func backslashAll(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isPunctuation(c) && c >= ' ' && c < 0x7f {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// TestForms: every value is hidden whole in every form, and nothing beside it.
func TestForms(t *testing.T) {
	for _, text := range secretsOfAllKinds {
		m := New(named("S", text))
		for name, encode := range encoders {
			form := encode(text)
			line := "before {" + form + "} after"
			got := hide(m, line)
			if !strings.Contains(got, "***S***") || !strings.HasPrefix(got, "before {") || !strings.HasSuffix(got, "} after") {
				t.Errorf("%s: %q became %q", name, line, got)
				continue
			}
			for _, rest := range []string{`***S***`, `"***S***"`, `\"***S***\"`, `"\"***S***\""`, `'***S***'`, `%22***S***%22`, `"/a?b=***S***&c"`} {
				if got == "before {"+rest+"} after" {
					form = ""
				}
			}
			if form != "" && !strings.Contains(name, "base64") && name != "basic" {
				t.Errorf("%s: %q became %q", name, line, got)
			}
			if leaked := longestCommon(form, got); form != "" && leaked > 20 { // of what stands around it in base64
				t.Errorf("%s: %q became %q", name, line, got)
			}
		}
	}
}

// longestCommon is the length of the longest piece that two texts share.
func longestCommon(a, b string) int {
	n := 0
	for i := range len(a) {
		for i+n < len(a) && strings.Contains(b, a[i:i+n+1]) {
			n++
		}
	}
	return n
}

// slow is the reference: all occurrences of all forms by strings.Index, in the line and under its escapes.
func slow(m *Matcher, line string) string {
	hidden := make([]bool, len(line))
	s := new(Scratch)
	mark := func(text string, back func(spans []span)) {
		for _, p := range m.patterns {
			form := string(m.bytes(p))
			for at := 0; ; at++ {
				i := strings.Index(text[at:], form)
				if i < 0 {
					break
				}
				at += i
				one := []span{p.widen([]byte(text), at)}
				back(one)
				for k := one[0].from; k < one[0].to; k++ {
					hidden[k] = true
				}
			}
		}
	}
	mark(line, func([]span) {})
	for i := range decoders {
		if text, ok := decoders[i].decode([]byte(line), &s.decoded[0]); ok {
			mark(string(text), func(spans []span) { decoders[i].translate([]byte(line), spans) })
			for j := range decoders {
				if deep, ok := decoders[j].decode(text, &s.decoded[1]); ok {
					mark(string(deep), func(spans []span) {
						decoders[j].translate(text, spans)
						decoders[i].translate([]byte(line), spans)
					})
				}
			}
		}
	}
	var out strings.Builder
	for i := range len(line) {
		if !hidden[i] {
			out.WriteByte(line[i])
		} else if i == 0 || !hidden[i-1] {
			out.WriteString("***")
		}
	}
	return out.String()
}

// agree compares the matcher with the reference.
func agree(t *testing.T, texts []string, line string) {
	t.Helper()
	m := New(named("", texts...))
	if m == nil {
		return
	}
	if got, want := hide(m, line), slow(m, line); got != want {
		t.Errorf("%q in %q: %q, want %q", texts, line, got, want)
	}
}

// TestAgainstReference: lines made of values, their forms, pieces of both and noise.
func TestAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	alphabets := []string{"ab", "abcdefgh%\\", "ABCdef0123+/=", `"'\%25u00e9n`, "\x00\x01\xff\xc3\xa9 \n"}
	random := func(alphabet string, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(b)
	}
	names := make([]string, 0, len(encoders))
	for name := range encoders {
		names = append(names, name)
	}
	slices.Sort(names)
	for range 3000 {
		alphabet := alphabets[r.IntN(len(alphabets))]
		var texts []string
		for range 1 + r.IntN(4) {
			texts = append(texts, random(alphabet, MinBytes+r.IntN(12)))
			if r.IntN(4) == 0 {
				texts = append(texts, secretsOfAllKinds[r.IntN(len(secretsOfAllKinds))])
			}
		}
		if r.IntN(20) == 0 { // so many that three bytes are looked at
			for range 60 {
				texts = append(texts, random(alphabets[2], 12))
			}
		}
		var line strings.Builder
		for range 1 + r.IntN(5) {
			text := texts[r.IntN(len(texts))]
			form := encoders[names[r.IntN(len(names))]](text)
			switch r.IntN(4) {
			case 0:
				line.WriteString(form)
			case 1: // a piece, that may meet another
				from := r.IntN(len(form))
				line.WriteString(form[from : from+1+r.IntN(len(form)-from)])
			case 2:
				line.WriteString(random(alphabet, r.IntN(20)))
			case 3:
				line.WriteString(form + text[:r.IntN(len(text))])
			}
		}
		if strings.Contains(line.String(), "*") {
			continue // the reference joins what the labels part
		}
		agree(t, texts, line.String())
	}
}

func FuzzMask(f *testing.F) {
	f.Add("secret-one", "cret-one", "a secret-one b")
	f.Add("p\"a\\s/s<w", "100%25 spaces", `{"a":"p\"a\\s\/s\u003cw","b":"\u0070"} %2570 100%2525+spaces`)
	f.Add("aaaaaaaaa", "aaaaaaaa%", "aaaaaaaaaaaaaaaaaaaa%61a%")
	f.Fuzz(func(t *testing.T, a, b, line string) {
		if strings.Contains(line, "*") {
			return
		}
		agree(t, []string{a, b}, line)
		got := hide(New(named("", a, b)), line)
		for _, p := range []string{a, b} {
			if len(p) >= MinBytes && !strings.Contains(p, "*") && strings.Contains(got, p) {
				t.Errorf("%q still holds %q", got, p)
			}
		}
	})
}

func TestPieces(t *testing.T) {
	long := strings.Repeat("0123456789", 1000)
	pem := "-----BEGIN CERTIFICATE-----\nMIICERTCERTCERT\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nshort\n-----END PRIVATE KEY-----\n"
	for text, want := range map[string][]string{
		"":                   nil,
		" plain value \n":    {"plain value"},
		"one\r\n\r\ntwo":     {"one", "", "two"},
		`"in double quotes"`: {"in double quotes"},
		`'in quotes'`:        {"in quotes"},
		`"`:                  {`"`},
		pem:                  {"MIIEvQIBADANBg", "short"},
	} {
		var got []string
		pieces(text, func(p string) { got = append(got, p) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	m := New(func() (values []Value) {
		pieces(long, func(p string) { values = append(values, Value{"LONG", p}) })
		return values
	}())
	if got := hide(m, "a"+long+"b"); got != "a***LONG***b" {
		t.Errorf("a long value: %.100q", got)
	}
}
