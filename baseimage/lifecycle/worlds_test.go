// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"cloud4.internal/hub/internal/genesistest"
)

const placed = `{"stacks": {"shop": {"services": ["web", "db"]}}}`

// asJSON is a file of the tree.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// newService is a container whose service is this test binary, with its configuration in the tree: page.json, read again
// by the action reload.
func newService(t *testing.T, g *genesistest.Genesis, reload string, args ...string) *container {
	t.Helper()
	c := newContainer(t, g, "web").withService(args...)
	g.PublishTree(t, map[string]string{
		"hosts/vm1/host.json": placed,
		"services/web/bundle.json": asJSON(t, map[string]any{"targets": map[string]any{
			c.site + "/page.json": map[string]any{"template": "page.json", "reload": reload},
		}}),
		"services/web/templates/page.json": `{"page": {{page}}, "die": {{die}}}`,
		"services/web/data/page.json":      `{"page": "first", "die": 0}`,
	})
	return c
}

// setPage changes the service's data in the tree.
func setPage(t *testing.T, g *genesistest.Genesis, page string, die int) {
	t.Helper()
	g.WriteTree(t, map[string]string{"services/web/data/page.json": asJSON(t, map[string]any{"page": page, "die": die})})
}

// nginxTemplate has all of its files below the site's directory.
const nginxTemplate = `user root;
worker_processes 1;
pid {{site}}/nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
	client_body_temp_path {{site}}/tmp; proxy_temp_path {{site}}/tmp; fastcgi_temp_path {{site}}/tmp;
	uwsgi_temp_path {{site}}/tmp; scgi_temp_path {{site}}/tmp;
	access_log /dev/stdout;
	access_log {{site}}/access.log;
	server {
		listen {{address}};
		location / { default_type text/plain; return 200 {{page}}; }
	}
}
`

// newNginx is a container whose service is nginx, which checks and reloads its own configuration.
func newNginx(t *testing.T, g *genesistest.Genesis) *container {
	t.Helper()
	const nginx = "/usr/sbin/nginx"
	if _, err := os.Stat(nginx); err != nil {
		t.Fatalf("these tests run the nginx of Debian: apt-get install nginx-light (%v)", err)
	}
	c := newContainer(t, g, "web")
	conf := filepath.Join(c.site, "nginx.conf")
	c.argv = []string{nginx, "-e", "stderr", "-g", "daemon off;", "-c", conf}
	c.set("config", "actions", map[string]any{
		"nginx-test":   []string{nginx, "-e", "stderr", "-t", "-q", "-c", "{{path}}"},
		"nginx-reload": []string{nginx, "-e", "stderr", "-s", "reload", "-c", conf},
	})
	c.set("log", "files", map[string]any{"access": map[string]any{"path": c.site + "/access.log"}})
	g.PublishTree(t, map[string]string{
		"hosts/vm1/host.json": placed,
		"services/web/bundle.json": asJSON(t, map[string]any{"targets": map[string]any{
			conf: map[string]any{"template": "nginx.conf", "check": "nginx-test", "reload": "nginx-reload"},
		}}),
		"services/web/templates/nginx.conf": nginxTemplate,
		"services/web/data/nginx.json":      asJSON(t, map[string]any{"site": c.site, "address": c.address, "page": "first"}),
	})
	return c
}

// setNginx changes one value of nginx' data in the tree.
func setNginx(t *testing.T, g *genesistest.Genesis, key, value string) {
	t.Helper()
	g.WriteTree(t, map[string]string{"services/web/data/patch.json": asJSON(t, map[string]any{key: value})})
}
