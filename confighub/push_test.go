// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
)

// What is pushed to a bare repository reaches the service, under the count of commits as serial; so does what a forced push
// takes back. The container knows of each value which file of the repository it is of.
func TestPush(t *testing.T) {
	t.Parallel()
	p := repositorytest.New(t)
	g := newGenesis(t)
	g.tree, g.bare = p.Clone, p.Bare
	g.write("hosts/vm1/host.json", `{"stacks": {"shop": {"services": ["web"]}}}`)
	c := newContainer(t)
	push := func(value string) string {
		t.Helper()
		publish(g, c, value, "")
		return p.Push(nil)
	}
	applied := func(revision string, serial uint64) {
		t.Helper()
		c.waitFor("revision "+revision, func() bool {
			_, s := c.state()
			return s.Applied != nil && s.Applied.Revision == revision && s.Applied.Version.Serial == serial
		})
	}
	first := push("one")
	g.start()
	c.configure(webSettings(g, c))
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.waitFor("the service to see one", func() bool { return strings.Contains(c.text("seen"), "value=one host=vm1\n") })
	applied(first, 1)
	c.says("the service lives with the configuration")

	begin := time.Now()
	second := push("two")
	c.waitFor("the service to see two", func() bool { return strings.Contains(c.text("seen"), "value=two host=vm1\n") })
	t.Logf("a push reached the service in %s", time.Since(begin))
	applied(second, 2)

	if out := c.steered("explain", c.path("etc/app/app.conf")+":1"); !strings.Contains(out, "services/web/data/web.json:1") {
		t.Errorf("explain says\n%s", out)
	}

	p.Git("push", "--quiet", "--force", "origin", first+":refs/heads/main")
	c.waitFor("the service to see one again", func() bool { return strings.HasSuffix(c.text("seen"), "value=one host=vm1\n") })
	applied(first, 3)
	if code := c.stop(); code != 0 {
		t.Errorf("code %d\n%s", code, c.out)
	}
}
