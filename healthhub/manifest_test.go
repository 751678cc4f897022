// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/identity/identitytest"
)

// The list of the examples, and of two stacks at once, with flags before and behind the files.
func TestManifest(t *testing.T) {
	m := newMachine(t, "")
	code, out, errs := m.call(t, "manifest", "../examples/shop/compose.yaml")
	want := "{\n  \"containers\": {\n    \"db.shop.vm1\": {},\n    \"web.shop.vm1\": {}\n  }\n}\n"
	if code != 0 || out != want || !strings.Contains(errs, "host: left out: with HUB_IDENTITY_HOST alone it is the host itself") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	stack := func(name, text string) string {
		path := m.path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	shop := stack("shop/compose.yaml", "services: {web: {scale: 2}, dump: {profiles: [night], labels: {hub.job: 24h}}}")
	blog := stack("blog/compose.yaml", "services: {web: {}}")
	more := stack("blog/more.yaml", "services: {web: {labels: [hub.criticality=info]}}")
	code, out, errs = m.call(t, "manifest", shop, "--host", "vm1", "-f", blog, "-f", more, "--profile", "night", "-o", m.path("expect.json"))
	if code != 0 || out != "" {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	raw, err := os.ReadFile(m.path("expect.json"))
	if err != nil {
		t.Fatal(err)
	}
	want = `{"containers":{"dump.shop.vm1":{"job":"24h0m0s"},"web.blog.vm1":{"criticality":"info"},"web.shop.vm1":{"replicas":2}}}`
	if diff := cmp.Diff(want, strings.Join(strings.Fields(string(raw)), "")); diff != "" {
		t.Error(diff)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "give the compose file"},
		{[]string{"--hosts", "vm1"}, 2, "--hosts"},
		{[]string{"/nowhere.yaml"}, 1, "no such file"},
		{[]string{shop, shop, "--host", "vm1"}, 1, "web.shop.vm1 is in another of the files too"},
		{[]string{blog}, 1, "compose.yaml:1: services.web: on which host?"},
	} {
		if code, _, errs := m.call(t, append([]string{"manifest"}, test.args...)...); code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%q: %d %s, want %d with %q", test.args, code, errs, test.code, test.want)
		}
	}
}

// A list that changes is taken while serve runs; one that is wrong is not, and the host says so.
func TestServeTakesANewList(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	m := newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(m.path("expect.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"containers": {}}`)
	page := freeAddress(t)
	log, _ := m.start(t, "serve", "--listen", "127.0.0.1:0", "--dashboard", page, "--expect", m.path("expect.json"))
	shows := func(want string) func() bool {
		return func() bool {
			_, out, _ := m.call(t, "status", "--all", "--dashboard", "http://"+page)
			return strings.Contains(out, want)
		}
	}
	waitFor(t, 10*time.Second, "serving", func() bool { return strings.Contains(log.String(), "showing the dashboard") })
	write(`{"containers": {"web.shop.vm1": {}}}`)
	waitFor(t, 10*time.Second, "the container", shows("web.shop.vm1"))
	write(`{"containers": {"web": {}}}`)
	waitFor(t, 10*time.Second, "the trouble", shows("hub/expect"))
	if !strings.Contains(log.String(), "expect.json:1: containers.web: ") || !shows("web.shop.vm1")() {
		t.Errorf("a list that is wrong:\n%s", log)
	}
	write(`{"containers": {"db.shop.vm1": {}}}`)
	waitFor(t, 10*time.Second, "the other container", shows("db.shop.vm1"))
	if shows("hub/expect")() {
		t.Error("the trouble is told on")
	}
}
