// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/nginxtest"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/proctest"
)

// files is what was published for web.shop.vm1: the pointer and the bundle it names.
type files struct {
	pointer, blob []byte
	// path of the bundle below the container's directory.
	path string
}

// publishes runs `confighub publish` on the tree of g and returns what it made for web.shop.vm1.
func (g *genesis) publishes(out string, args ...string) files {
	g.t.Helper()
	if said, err := command(publishCommand(), append([]string{"--root", g.tree, "--out", out}, args...)...); err != nil {
		g.t.Fatalf("%v: %s", err, said)
	}
	dir := filepath.Join(out, "v1/bundles/web.shop.vm1")
	p := published(g.t, out, "web.shop.vm1", nil)
	f := files{path: "blobs/" + strings.Replace(p.Digest, ":", "/", 1)}
	for file, into := range map[string]*[]byte{"current": &f.pointer, f.path: &f.blob} {
		raw, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			g.t.Fatal(err)
		}
		*into = raw
	}
	return f
}

// serves puts it into the docroot of a server, the pointer last, each time in another second.
func (f files) serves(t *testing.T, s *nginxtest.Server, second *int64) {
	t.Helper()
	*second++
	for _, file := range []struct {
		name string
		raw  []byte
	}{{f.path, f.blob}, {"current", f.pointer}} {
		path := filepath.Join(s.Root, "v1/bundles/web.shop.vm1", file.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", file.raw, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path+".new", time.Time{}, time.Unix(*second, 0)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

// A container that trusts a key takes from a static server what that key signed, and nothing else whatever the server does.
func TestSignedFiles(t *testing.T) {
	t.Parallel()
	g, c := newGenesis(t), newContainer(t)
	s := nginxtest.Start(t, g.ca)
	key, public := keygen(t, "")
	stranger, _ := keygen(t, "")
	out, second := filepath.Join(t.TempDir(), "docroot"), int64(1_000_000_000)
	version := func(value string, args ...string) files {
		t.Helper()
		publish(g, c, value, "")
		return g.publishes(out, args...)
	}
	one := version("one", "--sign", key)
	one.serves(t, s, &second)
	settings := webSettings(g, c)
	config := settings["config"].(map[string]any)
	config["source"], config["poll"], config["trusted_keys"] = s.URL, "1s", []string{bundle.FormatPublicKey(public)}
	c.configure(settings)
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.runsWith("one")
	if status := c.status(); !strings.Contains(status, s.URL+" signed by "+bundle.KeyID(public)+" answers") {
		t.Errorf("status: %s", status)
	}
	two := version("two", "--sign", key)
	two.serves(t, s, &second)
	c.runsWith("two")
	pid := c.init().PID

	three := version("three", "--sign", key)
	tampered := three
	tampered.blob = append([]byte(nil), three.blob...)
	tampered.blob[len(tampered.blob)/2] ^= 1
	elsewhere := filepath.Join(t.TempDir(), "docroot") // of somebody who has the server, and not the key
	attacks := []struct {
		name  string
		files files
		want  string
	}{
		{"another bundle", tampered, "is damaged: it has"},
		{"an older version", one, "older than"},
		{"unsigned", g.publishes(elsewhere, "--unsigned"), "it is not signed: publish it with --sign KEY"},
		{"signed by a stranger", g.publishes(elsewhere, "--sign", stranger), "if that key is yours add it to config.trusted_keys, else find out who published it"},
	}
	for _, attack := range attacks {
		os.RemoveAll(filepath.Join(s.Root, "v1/bundles/web.shop.vm1/blobs"))
		attack.files.serves(t, s, &second)
		c.waitFor(attack.name+" to be refused", func() bool {
			node, section := c.state()
			return strings.Contains(section.Source.Error+section.Source.Refused, attack.want) && node.State == health.Warn && strings.Contains(node.Text, attack.want)
		})
		if status := c.status(); !strings.Contains(status, attack.want) {
			t.Errorf("%s: the status does not say %q: %s", attack.name, attack.want, status)
		}
		if c.target() != "value=two host=vm1\n" || c.init().PID != pid {
			t.Errorf("%s: the target is %q, pid %d of %d", attack.name, c.target(), c.init().PID, pid)
		}
		two.serves(t, s, &second)
		c.runsWith("two")
	}
	three.serves(t, s, &second)
	c.runsWith("three")
	if n := strings.Count(s.Log(t), "404 POST /v1/applied "); n != 1 {
		t.Errorf("%d reports were sent to a server that takes none:\n%s", n, s.Log(t))
	}
	if strings.Contains(c.out.String(), "takes no reports") {
		t.Error("that the server takes no reports is said at level info")
	}
}

// The server can sign too; a container that trusts another key takes nothing of it.
func TestServeSigns(t *testing.T) {
	t.Parallel()
	g, c := newGenesis(t), newContainer(t)
	key, public := keygen(t, "open sesame")
	other, _ := keygen(t, "")
	dir := t.TempDir()
	proctest.Link(t, dir, "confighub")
	putFiles(t, dir, map[string]string{"passphrase": "open sesame\n"})
	// serve runs the program and returns what ends it.
	serve := func(args ...string) (stop func()) {
		t.Helper()
		log := &buffer{}
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "confighub"),
			append([]string{"serve", "--root", g.tree, "--state", g.state, "--identity", g.dir, "--listen", g.address}, args...)...)
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitFor(t, 20*time.Second, "genesis to serve", func() bool { return strings.Contains(log.String(), "tree published") }, log.String)
		return func() {
			t.Helper()
			cmd.Process.Signal(os.Interrupt)
			if err := cmd.Wait(); err != nil {
				t.Errorf("serve: %v: %s", err, log)
			}
		}
	}
	publish(g, c, "one", "")
	stop := serve("--sign", key, "--passphrase-file", filepath.Join(dir, "passphrase"))
	settings := webSettings(g, c)
	settings["config"].(map[string]any)["trusted_keys"] = []string{bundle.FormatPublicKey(public)}
	c.configure(settings)
	c.start("HUB_TOKEN=" + g.ca.Token(t, g.web("")))
	c.runsWith("one")
	stop()

	publish(g, c, "two", "")
	stop = serve("--sign", other)
	c.waitFor("the refusal", func() bool {
		_, s := c.state()
		return strings.Contains(s.Source.Error, "if that key is yours add it to config.trusted_keys")
	})
	stop()
	if c.target() != "value=one host=vm1\n" {
		t.Errorf("the target is %q", c.target())
	}
	stop = serve("--sign", other, "--sign", key, "--passphrase-file", filepath.Join(dir, "passphrase"))
	c.runsWith("two")
	stop()
}

// What docs/publish.md tells people to type works, in that order.
func TestPublishPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	proctest.Link(t, dir, "confighub")
	putFiles(t, dir, map[string]string{"tree/hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web"]}}}`, "srv/docroot/index.html": ""})
	file, _ := keygen(t, "")
	if err := os.Rename(file, filepath.Join(dir, "new.key")); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(nginxtest.Block(t, "console")) {
		typed, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok {
			t.Fatalf("%q is no command", line)
		}
		if strings.HasPrefix(typed, "ssh-keygen ") {
			typed += " -q -N ''" // nobody is asked here
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(typed, "genesis:", dir))
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", typed, err, out)
		}
		if strings.HasPrefix(typed, "confighub publish ") && !strings.Contains(string(out), `settings of the containers: {"config":{"trusted_keys":["ed25519:`) {
			t.Errorf("%s does not say what the page promises: %s", typed, out)
		}
	}
	published(t, filepath.Join(dir, "srv/docroot"), "web.shop.vm1", nil)
}
