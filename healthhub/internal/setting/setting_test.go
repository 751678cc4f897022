// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/hubfile"
)

func load(t *testing.T, text string) (*Settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hub.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := new(Settings)
	_, err := hubfile.Load(hubfile.Source{Path: path}, hubfile.Section{Name: Name, Into: s})
	return s, err
}

func TestDefaults(t *testing.T) {
	s, err := load(t, `{"health": {"report_to": "https://vm1.internal:8444", "checks": {"port": {"kind": "tcp", "address": "127.0.0.1:80", "interval": "30s"}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultCheck(KindTCP)
	want.Address, want.Interval = "127.0.0.1:80", 30*time.Second
	if diff := cmp.Diff(map[string]Check{"port": want}, s.Checks); diff != "" {
		t.Error(diff)
	}
	if s, err := load(t, ""); err != nil || len(s.Checks) > 0 {
		t.Errorf("empty settings: %+v, %v", s, err)
	}
}

func TestRefused(t *testing.T) {
	for name, test := range map[string]struct{ check, want string }{
		"no kind":        {`"a": {}`, "health.checks.a.kind: is missing"},
		"unknown kind":   {`"a": {"kind": "icmp"}`, "kind"},
		"unknown key":    {`"a": {"kind": "push", "urls": "x"}`, "urls"},
		"no url":         {`"a": {"kind": "http"}`, "health.checks.a.url: is missing"},
		"bad url":        {`"a": {"kind": "http", "url": "127.0.0.1/"}`, "must be http://"},
		"bad status":     {`"a": {"kind": "http", "url": "http://a/", "status": "2xx"}`, "a.status"},
		"bad body":       {`"a": {"kind": "http", "url": "http://a/", "body": "("}`, "a.body"},
		"no address":     {`"a": {"kind": "tcp"}`, "a.address: is missing"},
		"bad address":    {`"a": {"kind": "tcp", "address": "db"}`, "must be host:port"},
		"other's key":    {`"a": {"kind": "tcp", "address": "db:1", "command": ["x"]}`, "means nothing for kind tcp, only for exec"},
		"relative path":  {`"a": {"kind": "file", "path": "x"}`, "must be absolute"},
		"sizes":          {`"a": {"kind": "file", "path": "/x", "min_size": "2B", "max_size": "1B"}`, "below min_size"},
		"empty command":  {`"a": {"kind": "exec", "command": [""]}`, "names no program"},
		"interval":       {`"a": {"kind": "push", "interval": "0s"}`, `hub.json:1: health.checks.a.interval: must be between 1s and 1h, got "0s"`},
		"hub name":       {`"hub/a": {"kind": "push"}`, "belong to the hubs"},
		"bad name":       {`"A": {"kind": "push"}`, "must consist"},
		"no such parent": {`"a": {"kind": "push", "depends_on": ["b"]}`, `there is no check "b"`},
		"circle": {`"a": {"kind": "push", "depends_on": ["b"]}, "b": {"kind": "push", "depends_on": ["c"]},
			"c": {"kind": "push", "depends_on": ["a"]}`, "leads back"},
		"url port":       {`"a": {"kind": "http", "url": "http://a:70000/"}`, "must be http://"},
		"url letters":    {`"a": {"kind": "http", "url": "http://bücher.test/"}`, "xn--"},
		"method":         {`"a": {"kind": "http", "url": "http://a/", "method": "POST"}`, "a.method"},
		"body of head":   {`"a": {"kind": "http", "url": "http://a/", "method": "HEAD", "body": "x"}`, "has no body"},
		"header name":    {`"a": {"kind": "http", "url": "http://a/", "headers": {"X Y": "1"}}`, "a.headers.X Y: is no name"},
		"header value":   {`"a": {"kind": "http", "url": "http://a/", "headers": {"X": "1\nY: 2"}}`, "control characters"},
		"header of ours": {`"a": {"kind": "http", "url": "http://a/", "headers": {"connection": "x"}}`, "belongs to the connection"},
		"header pattern": {`"a": {"kind": "http", "url": "http://a/", "header": {"X": "("}}`, "a.header.X"},
		"plain http, ca": {`"a": {"kind": "http", "url": "http://a/", "ca": "/x"}`, "a.ca: means nothing without https"},
		"plain tcp, ca":  {`"a": {"kind": "tcp", "address": "a:1", "identity": true}`, "a.identity: means nothing without tls"},
		"relative ca":    {`"a": {"kind": "tcp", "address": "a:1", "tls": true, "ca": "x.pem"}`, "must be system, fleet or an absolute path"},
		"ca for nothing": {`"a": {"kind": "tcp", "address": "a:1", "tls": true, "ca": "fleet", "verify": false}`, "means nothing with verify"},
		"cert of what":   {`"a": {"kind": "cert"}`, "needs one of address and path"},
		"cert of both":   {`"a": {"kind": "cert", "address": "a:1", "path": "/x"}`, "needs one of address and path"},
		"cert to none":   {`"a": {"kind": "cert", "path": "/x", "identity": true}`, "only for a server"},
		"cert order":     {`"a": {"kind": "cert", "path": "/x", "fail": "30%"}`, "a.fail: 30% comes before warn 25%"},
		"cert part":      {`"a": {"kind": "cert", "path": "/x", "warn": "25"}`, "a.warn: must be a part"},
		"ttl":            {`"a": {"kind": "tcp", "address": "a:1", "ttl": "5m"}`, "only for push"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, `{"health": {"checks": {`+test.check+`}}}`)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, section := range []string{`{"report_to": "http://vm1"}`, `{"report_to": "https://vm1/x"}`, `{"waitfor": ["tcp://db:1"]}`} {
		if _, err := load(t, `{"health": `+section+`}`); err == nil {
			t.Errorf("%s was taken", section)
		}
	}
}

// A check may depend on one that is in a circle without being in it.
func TestCircleIsToldWhereItIs(t *testing.T) {
	_, err := load(t, `{"health": {"checks": {
		"a": {"kind": "push", "depends_on": ["b"]},
		"b": {"kind": "push", "depends_on": ["c"]},
		"c": {"kind": "push", "depends_on": ["b"]}}}}`)
	if err == nil || strings.Contains(err.Error(), "checks.a") || !strings.Contains(err.Error(), "checks.b") {
		t.Errorf("got %v", err)
	}
}

func TestNames(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"a": true, "db.shop.internal": true, "db.shop.internal.": true, "_ldap._tcp.Example-1.org": true, label + "." + label: true,
		"": false, ".": false, "a..b": false, ".a": false, "a..": false, "a b": false, "ä": false, "a/b": false, label + "a": false,
		strings.Repeat(label+".", 4): false,
	} {
		if got := isDNSName(name); got != want {
			t.Errorf("isDNSName(%q) = %t", name, got)
		}
	}
	for name, want := range map[string]bool{"Accept": true, "X_a-1": true, "!#$%&'*+-.^_`|~": true, "": false, "a b": false, "a:": false, "\n": false, "é": false} {
		if got := isToken(name); got != want {
			t.Errorf("isToken(%q) = %t", name, got)
		}
	}
}
