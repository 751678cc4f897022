// SPDX-License-Identifier: AGPL-3.0-or-later

package template_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/html"
)

// stand is the value that a reader finds the place by.
const stand = "qplaceq"

// fuzzPlaces looks for text around a value, and a value, with which the value is more than itself: what is read must
// be what is read with a plain word there, but for the word.
func fuzzPlaces(f *testing.F, format string, places []place, read func([]byte) (any, error)) {
	for i, p := range places {
		before, after, _ := strings.Cut(p.template, "{{v}}")
		f.Add(before, strings.ReplaceAll(after, "{{v}}", "x"), known[i*7%len(known)])
	}
	f.Fuzz(func(t *testing.T, before, after, v string) {
		if strings.Contains(before+after, "{{") || strings.HasSuffix(before, "{") || strings.HasPrefix(after, "}") || !utf8.ValidString(before+after+v) {
			return
		}
		render := func(v string) (any, []byte, error) {
			out, err := fill(before+"{{v}}"+after, format, map[string]any{"v": v})
			if err != nil {
				return nil, nil, err
			}
			got, err := read(out)
			return got, out, err
		}
		plain, _, err := render(stand)
		if err != nil {
			return
		}
		if _, err := fill(before+"{{v}}"+after, format, map[string]any{"v": v}); err != nil {
			return
		}
		got, out, err := render(v)
		if string(out) == before+after {
			return // an empty value: the template's text meets, and is what it is
		}
		if err != nil {
			t.Fatalf("with %q it became %q: %v", v, out, err)
		}
		want, ok := replaced(plain, v)
		if diff := cmp.Diff(want, replacedIn(got), cmpopts.EquateNaNs()); ok && diff != "" {
			t.Fatalf("with %q it became %q, which reads as\n%s", v, out, diff)
		}
	})
}

func replacedIn(v any) any {
	same, _ := replaced(v, stand)
	return same
}

// replaced puts v for the plain word. It reports false when the word is in a key, where v may meet another.
func replaced(tree any, v string) (any, bool) {
	switch tree := tree.(type) {
	case string:
		return strings.ReplaceAll(tree, stand, v), true
	case []string:
		var list []string
		for _, item := range tree {
			if item = strings.ReplaceAll(item, stand, v); item != "" {
				list = append(list, item)
			}
		}
		return list, true
	case []any:
		all := true
		list := make([]any, len(tree))
		for i, item := range tree {
			var ok bool
			list[i], ok = replaced(item, v)
			all = all && ok
		}
		return list, all
	case map[string]any:
		all := true
		object := make(map[string]any, len(tree))
		for key, item := range tree {
			var ok bool
			object[key], ok = replaced(item, v)
			all = all && ok && !strings.Contains(key, stand)
		}
		return object, all
	case map[any]any:
		return nil, false
	}
	return tree, true
}

func FuzzJSON(f *testing.F)       { fuzzPlaces(f, "json", jsonPlaces, readJSON) }
func FuzzYAML(f *testing.F)       { fuzzPlaces(f, "yaml", yamlPlaces, readYAML) }
func FuzzTOML(f *testing.F)       { fuzzPlaces(f, "toml", tomlPlaces, readTOML) }
func FuzzINI(f *testing.F)        { fuzzPlaces(f, "ini", iniPlaces, readINI) }
func FuzzProperties(f *testing.F) { fuzzPlaces(f, "properties", propertiesPlaces, readProperties) }
func FuzzEnv(f *testing.F)        { fuzzPlaces(f, "env", envPlaces, readEnv) }
func FuzzXML(f *testing.F)        { fuzzPlaces(f, "xml", xmlPlaces, readXML) }
func FuzzHTML(f *testing.F)       { fuzzPlaces(f, "html", htmlPlaces, readTokens) }
func FuzzNginx(f *testing.F)      { fuzzPlaces(f, "nginx", nginxPlaces, readNginx) }

// FuzzShell tries values at the places that need no other program. The shell finds no program to run.
func FuzzShell(f *testing.F) {
	for i := 0; i < len(known); i += 12 {
		f.Add(known[i])
	}
	f.Fuzz(func(t *testing.T, v string) {
		for _, p := range shellPlaces {
			out, err := fill(p.template, "shell", map[string]any{"v": v})
			if err != nil || p.want == nil || strings.Contains(p.template, "lines") || strings.Contains(p.template, "|") {
				continue
			}
			got, err := run(t, "sh", out)
			if err != nil || len(got) != 1 || got[0] != p.want(v) {
				t.Fatalf("%q with %q became %q, which prints %q: %v", p.template, v, out, got, err)
			}
		}
	})
}

// readTokens is what HTML's tokenizer finds. Building the tree would move things.
func readTokens(out []byte) (any, error) {
	found := []string{}
	for z := html.NewTokenizer(bytes.NewReader(out)); ; {
		kind := z.Next()
		token := z.Token()
		switch kind {
		case html.ErrorToken:
			if errors.Is(z.Err(), io.EOF) {
				return found, nil
			}
			return nil, z.Err()
		case html.TextToken:
			found = append(found, token.Data)
		case html.CommentToken, html.DoctypeToken:
			found = append(found, "!"+token.Data)
		default:
			// Names are lower case whatever was written.
			if strings.Contains(token.Data, stand) {
				return nil, errors.New("the word is in a name")
			}
			found = append(found, kind.String()+token.Data)
			for _, a := range token.Attr {
				if strings.Contains(a.Key, stand) {
					return nil, errors.New("the word is in a name")
				}
				found = append(found, "@"+a.Key+"="+a.Val)
			}
		}
	}
}

// readNginx splits a configuration into tokens as ngx_conf_read_token does.
func readNginx(out []byte) (any, error) {
	var found []string
	for i := 0; i < len(out); {
		c := out[i]
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		case c == ';' || c == '{' || c == '}':
			found, i = append(found, string(c)), i+1
		case c == '#':
			for i < len(out) && out[i] != '\n' {
				i++
			}
		default:
			token, next, err := nginxToken(out, i)
			if err != nil {
				return nil, err
			}
			found, i = append(found, "token ", token), next
		}
	}
	return found, nil
}

func nginxToken(out []byte, i int) (string, int, error) {
	var quote byte
	if out[i] == '"' || out[i] == '\'' {
		quote = out[i]
		i++
	}
	var b strings.Builder
	for variable := false; i < len(out); i++ {
		c := out[i]
		switch {
		case c == '{' && variable:
		case c == '\\' && i+1 < len(out):
			i++
			if n := strings.IndexByte(`"'\trn`, out[i]); n < 0 {
				b.WriteByte(c)
				b.WriteByte(out[i])
			} else {
				b.WriteByte("\"'\\\t\r\n"[n])
			}
			variable = false
			continue
		case quote != 0 && c == quote:
			if i++; i < len(out) && strings.IndexByte(" \t\r\n;{)", out[i]) < 0 {
				return "", 0, errors.New("text behind a quote")
			}
			if i < len(out) && out[i] == ')' {
				return b.String(), i + 1, nil
			}
			return b.String(), i, nil
		case quote == 0 && strings.IndexByte(" \t\r\n;{", c) >= 0:
			return b.String(), i, nil
		}
		variable = c == '$'
		b.WriteByte(c)
	}
	if quote != 0 {
		return "", 0, errors.New("an open quote")
	}
	return b.String(), i, nil
}
