// SPDX-License-Identifier: AGPL-3.0-or-later

// Package seal owns sealed values: data that is encrypted where it is written and opened in the memory of the
// container it is meant for, so that neither git nor genesis ever holds it plain.
//
// In data a sealed value stands as an object with one key,
//
//	{"password": {"$sealed": "age:YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+…"}}
//
// and is one value there: layers replace it whole, and nothing merges with it. Behind "age:" is, in base64 (RFC 4648,
// padded, no line breaks), a file of age (https://age-encryption.org/v1), encrypted for the X25519 recipients of one or
// more containers. Its content is an envelope of JSON,
//
//	{"v": 1, "key": "db.password", "for": ["web.shop.vm1"], "value": "s3cret"}
//
// filled up with spaces to a multiple of 64 bytes, so that its length tells little. Value is any JSON but null. Key is
// the dotted path of the data at which it may stand, items of lists counted from 0: users[0].password. For are the
// bundle names of the containers it is meant for; left out, it opens under any name. Both are checked when it is opened:
// who writes data, and cannot read what is sealed, could else have the container itself show a password in place of a
// title. A key of the path can hold no dot, bracket or control character.
//
// The container's half is <state>/identity/seal.key, in the form of age-keygen(1), mode 0600, made once and kept over
// renewals: the recipient is told to everybody, the key to nobody.
//
// What sealing does not do: it keeps a secret and proves nothing of who wrote it, since recipients are public. Whoever
// writes templates and targets says where values go, and could have a password written into a page. Against a genesis
// that does such things signed bundles stand (config.trusted_keys). An older sealed value for the same place opens as
// before: a password that leaked is changed where it is checked, not here. What was taken out of the data stays in the
// history of git, and opens for who gets the key.
//
// Limits: 64 KiB of envelope, 1,000 recipients; what is opened is nested at most 100 deep.
package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"filippo.io/age"
)

// Limits of a sealed value.
const (
	maxEnvelope   = 64 << 10
	MaxRecipients = 1000
	// maxText is an age file with that much in it, and about 110 bytes for each recipient, in base64.
	maxText  = (maxEnvelope + 1024 + 120*MaxRecipients) * 4 / 3
	maxDepth = 100
	// padTo hides the length of a value up to this.
	padTo = 64
)

const (
	prefix = "age:"
	// version of the envelope.
	version = 1
)

// Place is where a sealed value may stand.
type Place struct {
	// Key is the dotted path in the data: db.password, users[0].password.
	Key string
	// For are bundle names: web.shop.vm1. Empty: any.
	For []string
}

type envelope struct {
	Version int             `json:"v"`
	Key     string          `json:"key"`
	For     []string        `json:"for,omitempty"`
	Value   json.RawMessage `json:"value"`
}

// Seal encrypts a JSON value for its place and the recipients, "age1…", and returns the text of "$sealed".
func Seal(value json.RawMessage, place Place, recipients []string) (string, error) {
	if err := CheckKey(place.Key); err != nil {
		return "", err
	}
	if !utf8.Valid(value) {
		return "", errors.New("the value holds bytes that are not UTF-8, which JSON cannot carry: seal it in base64")
	}
	if _, err := decodeValue(value); err != nil {
		return "", fmt.Errorf("the value %w", err)
	}
	to, err := parseRecipients(recipients)
	if err != nil {
		return "", err
	}
	var plain bytes.Buffer
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(envelope{Version: version, Key: place.Key, For: place.For, Value: value}); err != nil {
		return "", errors.New("the value is no JSON")
	}
	for plain.Len()%padTo != 0 {
		plain.WriteByte(' ')
	}
	if plain.Len() > maxEnvelope {
		return "", fmt.Errorf("the value is too large: with its place it has %d bytes, more than %d", plain.Len(), maxEnvelope)
	}
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to...)
	if err == nil {
		_, err = w.Write(plain.Bytes())
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", fmt.Errorf("sealing: %w", err)
	}
	return prefix + base64.StdEncoding.EncodeToString(file.Bytes()), nil
}

// parseRecipients reads each once, in order: equal input is to be equal work.
func parseRecipients(texts []string) ([]age.Recipient, error) {
	texts = slices.Compact(slices.Sorted(slices.Values(texts)))
	switch {
	case len(texts) == 0:
		return nil, errors.New("there is no recipient to seal for")
	case len(texts) > MaxRecipients:
		return nil, fmt.Errorf("there are %d recipients, more than %d", len(texts), MaxRecipients)
	}
	var list []age.Recipient
	for _, text := range texts {
		if err := CheckRecipient(text); err != nil {
			return nil, fmt.Errorf("recipient %q: %w", text, err)
		}
		recipient, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, fmt.Errorf("recipient %q: %w", text, err)
		}
		list = append(list, recipient)
	}
	return list, nil
}

// CheckText says what can be seen to be wrong with the text of "$sealed" without a key: that it was cut off, or is
// something else.
func CheckText(text string) error {
	_, err := decodeText(text)
	return err
}

var errNoText = errors.New(Member + ` must be what confighub seal prints: "age:" and an age file in base64`)

// decodeText returns the age file, whose header is whole.
func decodeText(text string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, errNoText
	}
	if len(text) > maxText {
		return nil, fmt.Errorf("is longer than %d bytes", maxText)
	}
	file, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return nil, errors.New("is damaged: it is not whole base64. Seal the value anew")
	}
	if _, err := age.ExtractHeader(bytes.NewReader(file)); err != nil {
		return nil, errors.New("is damaged: it has no whole header of an age file. Seal the value anew")
	}
	return file, nil
}

// Open decrypts the text of "$sealed" that stands at key of the data of the container called name (web.shop.vm1; "" for
// one without a name), and returns a value of JSON with numbers as json.Number. Errors tell what to do and nothing of
// the content.
func (k *Key) Open(text, key, name string) (any, error) {
	file, err := decodeText(text)
	if err != nil {
		return nil, err
	}
	plain, err := k.decrypt(file)
	if err != nil {
		return nil, err
	}
	var form struct {
		Version int `json:"v"`
	}
	switch err := json.Unmarshal(plain, &form); {
	case err != nil || form.Version < 1:
		return nil, errNotOurs
	case form.Version != version:
		return nil, fmt.Errorf("was sealed in form %d, and this confighub opens form %d: use an image with a confighub like the one that sealed it",
			form.Version, version)
	}
	// Strictly: an unknown member may be a condition that must not be passed over.
	var e envelope
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return nil, errNotOurs
	}
	if err := e.check(key, name); err != nil {
		return nil, err
	}
	value, err := decodeValue(e.Value)
	if err != nil {
		return nil, fmt.Errorf("holds a value that %w", err)
	}
	return value, nil
}

// StandIn opens nothing: for a look at templates away from the container it takes every sealed value for a text.
type StandIn struct{}

// Open returns "standin-" and the key.
func (StandIn) Open(_, key, _ string) (any, error) { return "standin-" + key, nil }

var errNotOurs = errors.New("is an age file and was not made by confighub seal: seal the value with that")

func (k *Key) decrypt(file []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(file), k.identity)
	if foreign, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, fmt.Errorf("is sealed for %s, and none is this container's, %s: seal the value anew (confighub seal), for that one too",
			count(len(foreign.StanzaTypes), "recipient"), k.Recipient())
	}
	var plain []byte
	if err == nil {
		plain, err = io.ReadAll(io.LimitReader(r, maxEnvelope+1))
	}
	switch {
	case err != nil:
		return nil, errors.New("is damaged: it was changed, or is not whole. Seal the value anew")
	case len(plain) > maxEnvelope:
		return nil, fmt.Errorf("holds more than %d bytes", maxEnvelope)
	}
	return plain, nil
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// check compares where the value stands with where it may.
func (e *envelope) check(key, name string) error {
	switch {
	case e.Key != key:
		return fmt.Errorf("is sealed for %s, and stands at %s: seal the value for its place, or put it back", shown(e.Key), key)
	case len(e.For) == 0 || slices.Contains(e.For, name):
		return nil
	case name == "":
		return fmt.Errorf("is sealed for %s, and this container has no name: set identity.host, stack and service", shown(e.For...))
	}
	return fmt.Errorf("is sealed for %s, and this is %s: seal the value for that one too", shown(e.For...), name)
}

// shown is names of an envelope for a message. Anybody can have written them.
func shown(names ...string) string {
	const most = 5
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	var cut []string
	for _, name := range names {
		if len(name) > maxKey {
			name = name[:maxKey] + "…"
		}
		cut = append(cut, strings.ToValidUTF8(name, "\uFFFD"))
	}
	return strings.Join(cut, ", ") + more
}

// decodeValue reads the value of an envelope: JSON but not null, not too deep. Its errors follow a noun.
func decodeValue(raw json.RawMessage) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil || dec.InputOffset() != int64(len(bytes.TrimRight(raw, " \t\r\n"))) {
		return nil, errors.New("is no JSON")
	}
	switch {
	case value == nil:
		return nil, errors.New("is null, which in data stands for nothing")
	case deeper(value, maxDepth):
		return nil, fmt.Errorf("is nested deeper than %d", maxDepth)
	}
	return value, nil
}

// deeper reports whether lists and objects in v are nested deeper than that.
func deeper(v any, than int) bool {
	switch v := v.(type) {
	case map[string]any:
		return than == 0 || slices.ContainsFunc(slices.Collect(maps.Values(v)), func(child any) bool { return deeper(child, than-1) })
	case []any:
		return than == 0 || slices.ContainsFunc(v, func(child any) bool { return deeper(child, than-1) })
	}
	return false
}
