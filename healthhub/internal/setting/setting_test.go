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
		"ttl": {`"a": {"kind": "tcp", "address": "a:1", "ttl": "5m"}`, "only for push"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, `{"health": {"checks": {`+test.check+`}}}`)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, section := range []string{`{"report_to": "http://vm1"}`, `{"report_to": "https://vm1/x"}`, `{"wait_for": ["tcp://db:1"]}`} {
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
