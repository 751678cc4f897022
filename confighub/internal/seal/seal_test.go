// SPDX-License-Identifier: AGPL-3.0-or-later

package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
)

func sealFor(t testing.TB, value string, place Place, keys ...*Key) string {
	t.Helper()
	var to []string
	for _, key := range keys {
		to = append(to, key.Recipient())
	}
	text, err := Seal(json.RawMessage(value), place, to)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSealAndOpen(t *testing.T) {
	keys := []*Key{newKey(t), newKey(t), newKey(t)}
	place := Place{Key: "users[0].db.password", For: []string{"web.shop.vm1", "web.shop.vm2"}}
	for value, want := range map[string]any{
		`"s3cret"`: "s3cret", `""`: "", `"\u00fc\n<&>\u0000"`: "ü\n<&>\x00", `true`: true, ` 12345678901234567890 `: json.Number("12345678901234567890"),
		`{"a": [1.50, null, {"b": "c"}]}`:       map[string]any{"a": []any{json.Number("1.50"), nil, map[string]any{"b": "c"}}},
		`"` + strings.Repeat("x", 60_000) + `"`: strings.Repeat("x", 60_000),
	} {
		text := sealFor(t, value, place, keys[:2]...)
		if err := CheckText(text); err != nil || strings.Contains(text, "s3cret") {
			t.Errorf("%.20s: %v", value, err)
		}
		for i, key := range keys[:2] {
			got, err := key.Open(text, place.Key, place.For[i])
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%.20s: %v %s", value, err, diff)
			}
		}
		if got, err := keys[2].Open(text, place.Key, "web.shop.vm1"); err == nil || got != nil {
			t.Errorf("%.20s: opened by a foreign key: %v", value, got)
		}
		if again := sealFor(t, value, place, keys[0]); again == text {
			t.Errorf("%.20s: sealed twice, it is the same text", value)
		}
	}
}

// The length of a sealed password tells nothing of that of the password.
func TestLengthIsHidden(t *testing.T) {
	key := newKey(t)
	short, long := sealFor(t, `"a"`, Place{Key: "k"}, key), sealFor(t, `"abcdefghijkl"`, Place{Key: "k"}, key)
	if len(short) != len(long) {
		t.Errorf("one letter takes %d bytes, twelve take %d", len(short), len(long))
	}
}

func TestPlaceIsChecked(t *testing.T) {
	key := newKey(t)
	many := []string{"a.s.h", "b.s.h", "c.s.h", "d.s.h", "e.s.h", "f.s.h", "g.s.h"}
	for name, tt := range map[string]struct {
		place    Place
		at, here string
		want     string
	}{
		"its place":        {Place{Key: "db.password", For: []string{"web.shop.vm1"}}, "db.password", "web.shop.vm1", ""},
		"for all":          {Place{Key: "db.password"}, "db.password", "web.shop.vm1", ""},
		"for all, no name": {Place{Key: "db.password"}, "db.password", "", ""},
		"moved":            {Place{Key: "db.password", For: []string{"web.shop.vm1"}}, "page.title", "web.shop.vm1", "is sealed for db.password, and stands at page.title: "},
		"another item":     {Place{Key: "users[0].pin"}, "users[1].pin", "", "is sealed for users[0].pin, and stands at users[1].pin: "},
		"renamed":          {Place{Key: "k", For: []string{"web.shop.vm1"}}, "k", "web.shop.vm2", "is sealed for web.shop.vm1, and this is web.shop.vm2: "},
		"no name":          {Place{Key: "k", For: []string{"web.shop.vm1"}}, "k", "", "is sealed for web.shop.vm1, and this container has no name: "},
		"many":             {Place{Key: "k", For: many}, "k", "web.shop.vm1", "is sealed for a.s.h, b.s.h, c.s.h, d.s.h, e.s.h and 2 more, and this is web.shop.vm1: "},
	} {
		value, err := key.Open(sealFor(t, `"s3cret"`, tt.place, key), tt.at, tt.here)
		if tt.want == "" && (err != nil || value != "s3cret") || tt.want != "" && (value != nil || err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, %v", name, value, err)
		}
	}
}

// encrypt makes the text of "$sealed" with any content.
func encrypt(t testing.TB, content string, to ...age.Recipient) string {
	t.Helper()
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to...)
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return prefix + base64.StdEncoding.EncodeToString(file.Bytes())
}

// Recipients are public: what a key opens may be of anybody.
func TestForeignContent(t *testing.T) {
	key := newKey(t)
	passphrase, err := age.NewScryptRecipient("s3cret")
	if err != nil {
		t.Fatal(err)
	}
	passphrase.SetWorkFactor(4)
	deep := strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)
	for name, tt := range map[string]struct{ text, want string }{
		"text":          {encrypt(t, "s3cret", key.identity.Recipient()), errNotOurs.Error()},
		"empty":         {encrypt(t, "", key.identity.Recipient()), errNotOurs.Error()},
		"other JSON":    {encrypt(t, `{"key": "k", "value": "s3cret"}`, key.identity.Recipient()), errNotOurs.Error()},
		"list":          {encrypt(t, `["s3cret"]`, key.identity.Recipient()), errNotOurs.Error()},
		"two":           {encrypt(t, `{"v": 1, "key": "k", "value": 1} {}`, key.identity.Recipient()), errNotOurs.Error()},
		"more":          {encrypt(t, `{"v": 1, "key": "k", "until": "2026-01-01", "value": 1}`, key.identity.Recipient()), errNotOurs.Error()},
		"later form":    {encrypt(t, `{"v": 2, "keys": ["k"], "value": 1}`, key.identity.Recipient()), "was sealed in form 2, and this confighub opens form 1: use an image"},
		"no key":        {encrypt(t, `{"v": 1, "value": "s3cret"}`, key.identity.Recipient()), "is sealed for , and stands at k"},
		"no value":      {encrypt(t, `{"v": 1, "key": "k"}`, key.identity.Recipient()), "holds a value that is no JSON"},
		"null":          {encrypt(t, `{"v": 1, "key": "k", "value": null}`, key.identity.Recipient()), "holds a value that is null"},
		"deep":          {encrypt(t, `{"v": 1, "key": "k", "value": `+deep+`}`, key.identity.Recipient()), "holds a value that is nested deeper than 100"},
		"large":         {encrypt(t, `{"v": 1, "key": "k", "value": 1}`+strings.Repeat(" ", maxEnvelope), key.identity.Recipient()), "holds more than 65536 bytes"},
		"a passphrase":  {encrypt(t, "s3cret", passphrase), "is sealed for 1 recipient, and none is this container's, " + key.Recipient()},
		"three foreign": {sealFor(t, `1`, Place{Key: "k"}, newKey(t), newKey(t), newKey(t)), "is sealed for 3 recipients, and none is this container's, " + key.Recipient()},
		"no text":       {"YWdl", errNoText.Error()},
		"nothing":       {"", errNoText.Error()},
		"no file":       {"age:" + base64.StdEncoding.EncodeToString([]byte("s3cret")), "is damaged: it has no whole header"},
		"very long":     {"age:" + strings.Repeat("A", maxText), "is longer than "},
	} {
		value, err := key.Open(tt.text, "k", "")
		if value != nil || err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v, %v", name, value, err)
		}
	}
}

// No byte can be changed, and none can be missing, without it being seen.
func TestDamaged(t *testing.T) {
	key := newKey(t)
	text := sealFor(t, `"s3cret"`, Place{Key: "k"}, key)
	file, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, prefix))
	if err != nil {
		t.Fatal(err)
	}
	open := func(file []byte) error {
		value, err := key.Open(prefix+base64.StdEncoding.EncodeToString(file), "k", "")
		if err == nil {
			t.Errorf("opened to %v", value)
		}
		return err
	}
	for i := range file {
		changed := bytes.Clone(file)
		changed[i] ^= 1
		err := open(changed)
		if err != nil && !strings.Contains(err.Error(), "is damaged") && !strings.Contains(err.Error(), "none is this container's") {
			t.Errorf("byte %d: %v", i, err)
		}
		open(file[:i])
	}
	open(append(file, 'x'))
}

func TestSealRefuses(t *testing.T) {
	good := newKey(t).Recipient()
	for name, tt := range map[string]struct {
		value, key string
		to         []string
		want       string
	}{
		"no JSON":       {`s3cret`, "k", []string{good}, "the value is no JSON"},
		"two values":    {`"s3cret" 2`, "k", []string{good}, "the value is no JSON"},
		"nothing":       {``, "k", []string{good}, "the value is no JSON"},
		"null":          {`null`, "k", []string{good}, "the value is null, which in data stands for nothing"},
		"not UTF-8":     {"\"s3cret\xff\"", "k", []string{good}, "the value holds bytes that are not UTF-8"},
		"large":         {`"` + strings.Repeat("x", maxEnvelope) + `"`, "k", []string{good}, "the value is too large: with its place it has 65600 bytes, more than 65536"},
		"no key":        {`1`, "", []string{good}, "the key must be the dotted path of a value"},
		"odd key":       {`1`, "a..b", []string{good}, "the key must be a dotted path, with items"},
		"nobody":        {`1`, "k", nil, "there is no recipient to seal for"},
		"bad recipient": {`1`, "k", []string{good, "age1x"}, `recipient "age1x": must be an X25519 recipient`},
		"a multitude":   {`1`, "k", many(MaxRecipients + 1), "there are 1001 recipients, more than 1000"},
	} {
		text, err := Seal(json.RawMessage(tt.value), Place{Key: tt.key}, tt.to)
		if text != "" || err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %.20s, %v", name, text, err)
		}
	}
}

func many(n int) (texts []string) {
	for i := range n {
		texts = append(texts, fmt.Sprintf("age1%d", i))
	}
	return texts
}

func TestMostRecipients(t *testing.T) {
	var to []string
	for range MaxRecipients {
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		to = append(to, identity.Recipient().String())
	}
	text, err := Seal(json.RawMessage(`"`+strings.Repeat("x", maxEnvelope-200)+`"`), Place{Key: "k"}, to)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckText(text); err != nil {
		t.Error(err)
	}
}

// The way of docs/sealed.md for when all else is lost: age(1), with the key file alone.
func TestAgeOpensIt(t *testing.T) {
	dir := t.TempDir()
	key, err := EnsureKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	text := sealFor(t, `"s3cret"`, Place{Key: "db.password", For: []string{"web.shop.vm1"}}, key)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "cut -d: -f2 | base64 -d | age -d -i "+KeyFile)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(text)
	plain, err := cmd.CombinedOutput()
	if want := `{"v":1,"key":"db.password","for":["web.shop.vm1"],"value":"s3cret"}`; err != nil || strings.TrimSpace(string(plain)) != want {
		t.Errorf("got %s, %v", plain, err)
	}
	// And its keys are ours.
	made := filepath.Join(dir, "made.key")
	if out, err := exec.CommandContext(t.Context(), "age-keygen", "-o", made).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if key, err = ReadKey(made); err != nil {
		t.Fatal(err)
	}
	if value, err := key.Open(sealFor(t, `1`, Place{Key: "k"}, key), "k", ""); err != nil || value != json.Number("1") {
		t.Errorf("opened to %v, %v", value, err)
	}
}

// FuzzOpen looks for a text that ends the process, or opens to something else than was sealed.
func FuzzOpen(f *testing.F) {
	key := newKey(f)
	sealed := sealFor(f, `"s3cret"`, Place{Key: "k"}, key)
	f.Add(sealed, []byte(nil))
	f.Add("age:", []byte(`{"v": 1, "key": "k", "value": {"a": [1, null]}}`))
	f.Add("", []byte(`{"v": 1, "key": "k", "for": ["web.shop.vm1"], "value": 1e3} `))
	f.Add(sealed[:60], []byte(`{"V": 1, "KEY": "k", "value": "x", "value": null}`))
	f.Fuzz(func(t *testing.T, text string, content []byte) {
		if value, err := key.Open(text, "k", "web.shop.vm1"); err == nil && value != "s3cret" {
			t.Errorf("%q opened to %v", text, value)
		}
		// Any content, as everybody can seal it.
		value, err := key.Open(encrypt(t, string(content), key.identity.Recipient()), "k", "web.shop.vm1")
		if err != nil {
			return
		}
		raw, err := json.Marshal(value)
		if err != nil || value == nil {
			t.Fatalf("%q opened to %v: %v", content, value, err)
		}
		again, err := Seal(raw, Place{Key: "k"}, []string{key.Recipient()})
		if err != nil {
			t.Fatalf("%q opened to %s, which cannot be sealed: %v", content, raw, err)
		}
		if got, err := key.Open(again, "k", ""); err != nil || !cmp.Equal(got, value) {
			t.Errorf("%s came back as %v, %v", raw, got, err)
		}
	})
}
