// SPDX-License-Identifier: AGPL-3.0-or-later

package tree_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/confighub/internal/tree"
)

// What is sealed is named as such, and nothing of its text is shown.
func TestViewOfSealedValues(t *testing.T) {
	key, err := seal.EnsureKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sealed := func(place string) string {
		text, err := seal.Seal(json.RawMessage(`"secret"`), seal.Place{Key: place}, []string{key.Recipient()})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"$sealed": %q}`, text)
	}
	read, err := tree.Read(write(t, map[string]string{
		"hosts/vm1/host.json":      `{"stacks": {"shop": {"services": ["web"]}}}`,
		"defaults/data/a.json":     `{"db": {"password": "plain", "users": 1}}`,
		"services/web/data/a.json": "{\"db\": {\n\"password\": " + sealed("db.password") + ",\n\"users\": [{\"name\": \"a\", \"password\": " + sealed("db.users[0].password") + "}]}}",
	}))
	if err != nil {
		t.Fatal(err)
	}
	view, err := read.View("web.shop.vm1")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(view.Data)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"name":"db.password","from":"services/web/data/a.json:2","replaced":["defaults/data/a.json:1"],"pointer":"/db/password","sealed":true},` +
		`{"name":"db.users","from":"services/web/data/a.json:3","replaced":["defaults/data/a.json:1"],"pointer":"/db/users",` +
		`"value":[{"name":"a","password":{"$sealed":"…"}}]}]`
	if string(raw) != want {
		t.Errorf("got\n%s\nwant\n%s", raw, want)
	}
}

func TestViewOfWhatIsNotPlaced(t *testing.T) {
	read, err := tree.Read(write(t, shop()))
	if err != nil {
		t.Fatal(err)
	}
	view, err := read.View("new.shop.vm1")
	if err != nil {
		t.Fatal(err)
	}
	if view.Placed || !strings.Contains(view.Remedy, `add the service in hosts/vm1/host.json`) || len(view.Data) == 0 || len(view.Targets) != 2 {
		t.Errorf("got %+v", view)
	}
	if view, err = read.View("web.shop.vm1"); err != nil || !view.Placed || view.Remedy != "" {
		t.Errorf("got %+v, %v", view, err)
	}
	if _, err := read.View("web"); err == nil {
		t.Error("a name of one part is shown")
	}
}
