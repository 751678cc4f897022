// SPDX-License-Identifier: AGPL-3.0-or-later

package template

import (
	"strings"
	"testing"
)

// The output is secret as soon as it shows, or follows from, a value at one of the secret paths.
func TestSecretPaths(t *testing.T) {
	data := parseData(t, `{"db": {"host": "h", "password": "p", "tls": {"key": "k", "on": false}}, "password": "open",
		"users": [{"name": "a", "key": "x"}, {"name": "b", "key": "y"}], "all": ["s", "t"]}`)
	paths := []string{"db.password", "db.tls", "users[1].key", "all"}
	for text, want := range map[string]bool{
		"{{db.host}}{{password}}":    false,
		"{{db.password}}":            true,
		"{{#db}}{{host}}{{/db}}":     false,
		"{{#db}}{{password}}{{/db}}": true,
		"{{{db}}}":                   true, // shows all that is in it
		"{{{db.tls}}}":               true,
		"{{db.tls.key}}":             true,
		"{{#db.tls}}x{{/db.tls}}":    true,
		"{{#db}}{{#tls}}{{^on}}off{{/on}}{{/tls}}{{/db}}":             true,
		"{{^db.tls.on}}off{{/db.tls.on}}":                             true,
		"{{^db.tls.other}}off{{/db.tls.other}}":                       true, // what is not in it is told too
		"{{#db.password}}set{{/db.password}}":                         true,
		"{{#users}}{{name}}{{/users}}":                                false,
		"{{#users}}{{key}}{{/users}}":                                 true,
		"{{#users}}{{#@first}}{{key}}{{/@first}}{{/users}}":           false, // the first is open
		"{{#users}}{{{.}}}{{/users}}":                                 true,
		"{{{users}}}":                                                 true,
		"{{#all}}{{@index}}{{/all}}":                                  true, // their number
		"{{#all}}{{.}}{{/all}}":                                       true,
		"{{{.}}}":                                                     true,
		"{{#users}}{{name}}{{#@last}}{{db.host}}{{/@last}}{{/users}}": false,
	} {
		got, err := Render(from(map[string]string{"t": text}), "t", data, Options{Set: NewSet(data, paths...)})
		if err != nil || got.Secret != want {
			t.Errorf("%s: secret %v, %v", text, got.Secret, err)
		}
	}
}

// What an error proposes is a name that everybody may know.
func TestErrorsNameNothingSecret(t *testing.T) {
	data := parseData(t, `{"db": {"s3cretname": 1}, "plain": {"host": 1}}`)
	for text, want := range map[string]string{
		"{{plain.hast}}":                 "t:1:1: plain.hast: not in the data (did you mean plain.host?)",
		"{{db.s3cretnane}}":              "t:1:1: db.s3cretnane: not in the data",
		"{{#db}}{{s3cretnane}}{{/db}}":   "t:1:8: s3cretnane: not in the data (looked in db and above)",
		"{{s3cretname}}":                 "t:1:1: s3cretname: not in the data",
		"{{#s3cretnane}}{{/s3cretnane}}": "t:1:1: s3cretnane: this section's key stands nowhere in the data",
	} {
		_, err := Render(from(map[string]string{"t": text}), "t", data, Options{Strict: true, Set: NewSet(data, "db")})
		if err == nil || strings.TrimSpace(err.Error()) != want {
			t.Errorf("%s: got %v", text, err)
		}
	}
}
