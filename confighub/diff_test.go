// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// beside runs a command as `docker exec` does: in the container's environment without what hubinit adds for its hubs.
func (c *container) beside(args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(c.t.Context(), c.path("bin/confighub"), args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = c.env, &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestDiff asks a container what would change, with its source, without, and after somebody changed a file.
func TestDiff(t *testing.T) {
	g := newGenesis(t)
	c := newContainer(t)
	target := c.path("etc/app/app.conf")
	publish(g, c, "one", "password={{secrets.pw}}\n")
	manifest := `{"targets": {%q: {"template": "app.conf", "reload": "signal:HUP"}, %q: {"template": "key"}, "settings": {"template": "env", "env": true}%s}}`
	g.write("services/web/templates/key", "{{secrets.pw}}")
	g.write("services/web/templates/env", "VALUE={{value}}\nTOKEN={{secrets.pw}}\n")
	g.write("services/web/bundle.json", fmt.Sprintf(manifest, target, c.path("etc/app/key"), ""))
	secret := c.path("pw")
	if err := os.WriteFile(secret, []byte("hush-hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start()
	settings := webSettings(g, c)
	settings["config"].(map[string]any)["secrets"] = map[string]string{"pw": secret}
	c.configure(settings)
	if _, stderr, code := c.beside("diff", "--in-place"); code != 2 || !strings.Contains(stderr, "no configuration is in place here") {
		t.Errorf("before the first start: %d, %s", code, stderr)
	}
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.says("the service lives with the configuration")

	expect := func(name string, wantCode int, wantErr, want string, args ...string) {
		t.Helper()
		stdout, stderr, code := c.beside(append([]string{"diff"}, args...)...)
		if diff := cmp.Diff(strings.ReplaceAll(want, "APP", c.path("etc/app")), stdout); diff != "" || code != wantCode || !strings.Contains(stderr, wantErr) {
			t.Errorf("%s: ended with %d, said %s\n(-want +got):\n%s", name, code, stderr, diff)
		}
		if strings.Contains(stdout+stderr, "hush") {
			t.Errorf("%s: shows a secret:\n%s%s", name, stdout, stderr)
		}
	}
	expect("nothing new", 0, "of https://"+g.address, "")

	if _, stderr, code := c.beside("hold", "--for", "1h"); code != 0 {
		t.Fatalf("hold: %s", stderr)
	}
	g.write("services/web/data/web.json", `{"value": "two"}`)
	g.write("services/web/bundle.json", fmt.Sprintf(manifest, target, c.path("etc/app/key"), fmt.Sprintf(`, %q: {"template": "app.conf", "mode": "0640"}`, c.path("etc/app/new/file"))))
	both := `--- APP/app.conf
+++ APP/app.conf
@@ -1,2 +1,2 @@
-value=one host=vm1
+value=two host=vm1
 password=***
--- /dev/null
+++ APP/new/file
@@ -0,0 +1,2 @@
+value=two host=vm1
+password=***
--- the environment of the service
+++ the environment of the service
@@ -1,2 +1,2 @@
 TOKEN=***
-VALUE=one
+VALUE=two
`
	c.waitFor("the newest version", func() bool { stdout, _, _ := c.beside("diff"); return strings.Contains(stdout, "new/file") })
	expect("a held version", 1, "then: signal:HUP", both)
	expect("the version in place", 0, "which is in place", "", "--in-place")
	if c.target() != "value=one host=vm1\npassword=hush-hush\n" {
		t.Errorf("looking changed the target: %q", c.target())
	}

	if err := os.WriteFile(target, []byte("value=hand host=vm1\npassword=old-hush\nhush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.path("etc/app/key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("hush-anew"), 0o600); err != nil {
		t.Fatal(err)
	}
	g.stop()
	expect("by hand, with the source away", 1, "the source does not answer", `--- APP/app.conf
+++ APP/app.conf
@@ -1,3 +1,2 @@
-***
-password=***
-***
+value=one host=vm1
+password=***
APP/key: mode 0644 becomes 0600
APP/key: differs (secret)
--- the environment of the service
+++ the environment of the service
@@ -1,2 +1,2 @@
-TOKEN=***
+TOKEN=***
 VALUE=one
`)
	from := t.TempDir()
	for name, text := range map[string]string{"bundle.json": fmt.Sprintf(`{"targets": {%q: {"template": "a"}}}`, target), "a": "{{secrets.nope}}"} {
		if name == "a" {
			if err := os.Mkdir(from+"/templates", 0o755); err != nil {
				t.Fatal(err)
			}
			name = "templates/a"
		}
		if err := os.WriteFile(from+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect("a bundle that does not render", 2, "a:1:1: secrets.nope: not in the data", "", "--from", from)
	if err := os.WriteFile(from+"/bundle.json", []byte(`{"targets": {"/usr/x": {"template": "a"}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(from+"/templates/a", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	expect("a target that is not allowed", 2, "targets./usr/x: is not among the targets", "", "--from", from)

	stdout, stderr, code := c.beside("explain", target+":2")
	if want := "  value  services/web/templates/app.conf.mustache:2:10  `***`  {{secrets.pw}}, a file of the container (config.secrets)\n"; code != 0 || !strings.Contains(stdout, want) {
		t.Errorf("explain ended with %d:\n%s%s", code, stdout, stderr)
	}
}
