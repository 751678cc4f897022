// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/internal/initctl"
)

// talker prints whatever its configuration and its environment hold, at its start and on HUP.
const talker = `
conf=$1
seen=$2
load() { echo "conf $(cat $conf)"; echo "env $DB_PASSWORD"; cat $conf >>$seen; }
trap load HUP
trap 'exit 0' TERM
load
while :; do sleep 0.02; done`

// TestHandOver: what confighub opens is hidden in the first line that the service prints of it, whoever was killed before.
func TestHandOver(t *testing.T) {
	t.Parallel()
	c := newContainer(t)
	loghub, err := loghubOnce()
	if err == nil {
		err = os.Link(loghub, c.path("bin/loghub"))
	}
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(c.path(name)+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(c.path(name)+".new", c.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bundle/templates", "bundle/data"} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("db", "from-the-file-1\n")
	write("bundle/templates/app.conf", "{{n}} {{secrets.db}} {{password}} {{dsn}}.\n")
	write("bundle/templates/env", "DB_PASSWORD={{word}}\n")
	write("bundle/bundle.json", fmt.Sprintf(`{"targets": {%q: {"template": "app.conf", "reload": "signal:HUP"}, "env": {"template": "env", "env": true}}}`, c.path("etc/app/app.conf")))
	publish := func(n int, password string) {
		write("bundle/data/data.json", fmt.Sprintf(`{"n": %d, "password": %s, "word": "in-the-environment", "dsn": "x"}`, n, password))
	}
	publish(1, `"open"`)
	c.configure(map[string]any{
		"config": map[string]any{"source": "dir:" + c.path("bundle"), "targets": []string{c.path("etc/app")}, "settle": "200ms", "secrets": map[string]string{"db": c.path("db")}},
		"log":    map[string]any{"stdout": "json"},
	})
	c.env = append(c.env, "HUB_HUBS=loghub,confighub")
	seen := func(text string) { // and so printed
		t.Helper()
		c.waitFor("the service to have "+text, func() bool { return strings.Contains(c.text("seen"), text) })
	}
	c.startService(talker)
	c.says("conf 1 ***secrets.db*** open x.")
	c.says("env ***DB_PASSWORD***")

	kill := func(name string) {
		t.Helper()
		state := func() initctl.HubState {
			if s, err := initctl.ReadState(c.path("run")); err == nil && s.Hubs[name] != nil {
				return *s.Hubs[name]
			}
			return initctl.HubState{}
		}
		c.waitFor(name, func() bool { return state().Ready })
		before := state().Restarts
		if err := c.kill(state().PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		c.waitFor(name+" to be back", func() bool { s := state(); return s.Restarts > before && s.Ready })
	}
	kill("loghub")
	kill("confighub")
	key, err := seal.ReadKey(c.path("var/0/identity/seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := seal.Seal(json.RawMessage(`"sealed and opened"`), seal.Place{Key: "password"}, []string{key.Recipient()})
	if err != nil {
		t.Fatal(err)
	}
	write("db", "from-the-file-2\n")
	publish(2, sealedObject(sealed))
	seen("2 from-the-file-2 sealed and opened")
	c.says("conf 2 ***secrets.db*** ***password*** x.")
	kill("loghub") // what left is hidden still
	write("db", "from-the-file-3\n")
	write("bundle/data/data.json", `{"n": 3, "password": "none", "word": "in-the-environment", "dsn": "from-the-file-1,from-the-file-2,from-the-file-3"}`)
	seen("3 from-the-file-3 none from-the-file-1,")
	c.says("conf 3 ***secrets.db*** none ***secrets.db***,***secrets.db***,***secrets.db***.")
	c.stop()
	for _, secret := range []string{"from-the-file", "sealed and opened", "in-the-environment"} {
		if strings.Contains(c.out.String(), secret) {
			t.Errorf("the log shows %q:\n%s", secret, c.out)
		}
	}
}
