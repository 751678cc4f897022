// SPDX-License-Identifier: AGPL-3.0-or-later

package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/spiffe"
)

func must(id spiffe.ID, err error) spiffe.ID {
	if err != nil {
		panic(err)
	}
	return id
}

var (
	vm1   = must(spiffe.ForHost("cloud4.internal", "vm1"))
	fleet = must(spiffe.ForGenesis("cloud4.internal", spiffe.KindHealth))
)

func TestRead(t *testing.T) {
	dir := write(t, map[string]string{
		"list.json":            `{"containers": {"web.shop.vm1": {"replicas": 3, "need": 2, "group": "front", "criticality": "info"}, "job.shop.vm1": {"job": "24h"},}} // all`,
		"none.json":            `{"containers": {}}`,
		"hosts.json":           `{"hosts": {"vm1": {}, "vm2": {"criticality": "degrading"}}}`,
		"hosts/vm1/host.json":  `{"stacks": {"shop": {"services": ["web", "db"]}}} // placed`,
		"hosts/vm2/host.json":  `{}`,
		"hosts/vm2/data/a.txt": ``,
	})
	web := container(func(c *Container) { c.Replicas, c.Need, c.Group, c.Criticality = 3, 2, "front", "info" })
	placed := &List{Containers: map[string]Container{"web.shop.vm1": Expect(), "db.shop.vm1": Expect()}}
	for name, test := range map[string]struct {
		path string
		self spiffe.ID
		want *List
	}{
		"a list":          {"list.json", vm1, &List{Containers: map[string]Container{"web.shop.vm1": web, "job.shop.vm1": container(func(c *Container) { c.Job = 24 * time.Hour })}}},
		"an empty one":    {"none.json", vm1, &List{Containers: map[string]Container{}}},
		"of the fleet":    {"hosts.json", fleet, &List{Hosts: map[string]Host{"vm1": {Criticality: "critical"}, "vm2": {Criticality: "degrading"}}}},
		"a placement":     {"hosts/vm1/host.json", vm1, placed},
		"a tree":          {".", vm1, placed},
		"a tree of hosts": {".", fleet, &List{Hosts: map[string]Host{"vm1": {Criticality: "critical"}, "vm2": {Criticality: "critical"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(filepath.Join(dir, test.path), test.self)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadIsRefused(t *testing.T) {
	for _, test := range []struct {
		self       spiffe.ID
		name, text string
		want       string
	}{
		{vm1, "x.json", "{\n\"containers\": {\n\"web.shop.vm2\": {},\n\"web\": {}}}", `:3: containers["web.shop.vm2"]: "web.shop.vm2" is no container of host vm1`},
		{vm1, "x.json", "{\n\"containers\": {\n\"web.shop.vm2\": {},\n\"web\": {}}}", `:4: containers.web: `},
		{vm1, "x.json", `{"containers": ["web.shop.vm1"]}`, "x.json:1: containers: must be an object"},
		{vm1, "x.json", `{"container": {}}`, `did you mean "containers"?`},
		{vm1, "x.json", `{"containers": {"web.shop.vm1": {"replica": 2}}}`, `did you mean "replicas"?`},
		{vm1, "x.json", `{"containers": {"web.shop.vm1": {"replicas": 2, "need": 3}}}`, `containers["web.shop.vm1"].need: must be at most the number of replicas, which is 2`},
		{vm1, "x.json", `{"containers": {"web.shop.vm1": {"criticality": "high"}}}`, "must be one of critical, degrading or info"},
		{vm1, "x.json", `{"containers": {"web.shop.vm1": {"group": "A B"}}}`, `"web.shop.vm1"].group: `},
		{vm1, "x.json", `{"hosts": {"vm1": {}}}`, "is for the fleet; this is host vm1"},
		{vm1, "x.json", `{}`, `says nothing: must be {"containers"`},
		{vm1, "x.json", `{"stacks": {"shop": {"services": ["web", "web"]}}}`, `stacks.shop.services[1]: "web" stands twice`},
		{vm1, "x.json", `{"stacks": {"shop": {"services": ["Web"]}}}`, "stacks.shop.services[0]: "},
		{vm1, "hosts/vm2/host.json", `{"stacks": {}}`, "is the placement of host vm2; this is host vm1"},
		{vm1, "hosts/vm2/x", ``, ""},
		{fleet, "x.json", `{"containers": {}}`, "is for a host; this is the fleet"},
		{fleet, "x.json", `{"stacks": {}}`, "the fleet takes the whole tree"},
		{fleet, "x.json", `{}`, `says nothing: must be {"hosts"`},
		{fleet, "x.json", "{\"hosts\": {\n\"VM1\": {}}}", "x.json:2: hosts.VM1: "},
		{fleet, "x.json", `{`, "x.json:2: "},
	} {
		path := filepath.Join(write(t, map[string]string{test.name: test.text}), test.name)
		if list, err := Read(path, test.self); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\ngot  %v, %v\nwant %s", test.text, list, err, test.want)
		}
	}
	for _, self := range []spiffe.ID{vm1, fleet} {
		if _, err := Read(t.TempDir(), self); err == nil {
			t.Errorf("an empty directory is a tree for %s", self)
		}
	}
}

// What the command writes is what serve reads.
func TestWrittenIsRead(t *testing.T) {
	want := &List{Containers: map[string]Container{"web.shop.vm1": Expect(), "b.shop.vm1": container(func(c *Container) { c.Job, c.Replicas = 36*time.Hour, 2 })}}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(filepath.Join(write(t, map[string]string{"a.json": string(raw)}), "a.json"), vm1)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", diff, raw)
	}
}

// The list is taken when it changed, and what is wrong with it is told once.
func TestWatch(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"a.json": `{"containers": {}}`}), "a.json")
	known, err := Read(path, vm1)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var told []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Watch(ctx, path, vm1, known, func(l *List) { told = append(told, strings.Join(l.Names(), " ")) },
				func(err error) { told = append(told, fmt.Sprint(err)) })
		}()
		for _, step := range []struct{ text, want string }{
			{`{"containers": {}} `, ""}, // another file that says the same
			{`{"containers": {"web.shop.vm1": {}}}`, "web.shop.vm1"},
			{`{"containers": {"web": {}}}`, "a.json:1: containers.web: "},
			{`{"containers": {"db.shop.vm1": {}, "web.shop.vm1": {}}}`, "<nil> db.shop.vm1 web.shop.vm1"},
			{"", "a.json: no such file"},
		} {
			told = nil
			if err := os.WriteFile(path, []byte(step.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if step.text == "" {
				os.Remove(path)
			}
			time.Sleep(3 * lookEvery)
			synctest.Wait()
			if got := strings.Join(told, " "); !strings.Contains(got, step.want) || step.want == "" && got != "" {
				t.Errorf("%s: told %q, want %q", step.text, got, step.want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
