// SPDX-License-Identifier: AGPL-3.0-or-later

package serve_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/serve"
	"cloud4.internal/hub/confighub/internal/tree"
)

// recipient is somebody's public key.
const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"

func TestApplied(t *testing.T) {
	s := newServer(t, shop())
	first, second := s.client(s.container("vm1", "shop", "web", "")), s.client(s.container("vm1", "shop", "web", "2"))
	version := first.pointer("web.shop.vm1").Version()
	report := func(a bundle.Applied) string {
		raw, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	good := report(bundle.Applied{Version: version, State: bundle.StateApplied, Recipient: recipient})
	tests := []struct {
		name   string
		who    *client
		body   string
		status int
		says   string
	}{
		{"applied", first, good, http.StatusNoContent, ""},
		{"rejected by a replica", second, report(bundle.Applied{
			Version: version, State: bundle.StateRejected, Instance: "2",
			Errors: []string{"nginx.conf:3:7: no value at \x1b[31mport", strings.Repeat("x", 5000)},
		}), http.StatusNoContent, ""},
		{"of another replica", second, good, http.StatusForbidden, `the report is of instance "", the certificate of instance "2"`},
		{"unknown state", first, report(bundle.Applied{Version: version, State: "fine"}), http.StatusBadRequest, "state: must be applied"},
		{"no digest", first, `{"state": "applied"}`, http.StatusBadRequest, "version.digest: "},
		{"odd recipient", first, report(bundle.Applied{Version: version, State: bundle.StateApplied, Recipient: "age1\nage2"}), http.StatusBadRequest, "recipient: must be an X25519 recipient"},
		{"two reports", first, good + good, http.StatusBadRequest, "after top-level value"},
		{"no JSON", first, "applied", http.StatusBadRequest, "reading the report: invalid character"},
		{"too large", first, `{"errors": ["` + strings.Repeat("x", 70<<10) + `"]}`, http.StatusRequestEntityTooLarge, "at most 65536 bytes"},
		{"not placed", s.client(s.container("vm2", "shop", "db", "")), good, http.StatusForbidden, "db.shop.vm2 is not placed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, err := test.who.ask(http.MethodPost, "/v1/applied", nil, test.body)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != test.status || !strings.Contains(a.body, test.says) {
				t.Errorf("got %d %q, want %d %q", a.status, a.body, test.status, test.says)
			}
		})
	}

	errs := []string{"nginx.conf:3:7: no value at \uFFFD[31mport", strings.Repeat("x", 2048) + "…"}
	want := []serve.Instance{
		{Status: "applied", Version: version, State: "applied", Applied: version, Recipient: recipient},
		{
			Instance: "2", Status: "rejected", Version: version, State: "rejected", Errors: errs,
			Failed: &serve.Failure{Version: version, State: "rejected", Errors: errs},
		},
	}
	check := func(t *testing.T) {
		t.Helper()
		fleet := s.fleet(t)
		var got []string
		for _, c := range fleet.Containers {
			got = append(got, c.Identity)
		}
		if diff := cmp.Diff([]string{"db.shop.vm1", "web.shop.vm1", "web.shop.vm2"}, got); diff != "" {
			t.Fatalf("placed (-want +got):\n%s", diff)
		}
		web := fleet.Containers[1]
		if web.Desired != version {
			t.Errorf("desired %v, want %v", web.Desired, version)
		}
		if diff := cmp.Diff(want, web.Instances, cmpopts.IgnoreFields(serve.Instance{}, "Reported", "Seen", "NotAfter"),
			cmpopts.IgnoreFields(serve.Failure{}, "At")); diff != "" {
			t.Errorf("instances (-want +got):\n%s", diff)
		}
		if age := time.Since(web.Instances[0].Reported); age < 0 || age > time.Minute {
			t.Errorf("reported %v ago", age)
		}
		if life := time.Until(web.Instances[0].NotAfter); life < 23*time.Hour || life > 25*time.Hour {
			t.Errorf("its certificate ends in %v", life)
		}
	}
	t.Run("fleet", check)
	t.Run("fleet after a restart", func(t *testing.T) {
		s.stop()
		s.start()
		check(t)
	})
}

func TestSerialNeverGoesBack(t *testing.T) {
	root, state := t.TempDir(), t.TempDir()
	put := func(text string) {
		t.Helper()
		for name, text := range map[string]string{"services/web/data/a.json": text, "hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web"]}}}`} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// publish is one run of the server with a clock of its own.
	publish := func(now time.Time) uint64 {
		t.Helper()
		published, err := serve.OpenPublication(state)
		if err != nil {
			t.Fatal(err)
		}
		read, err := tree.Read(root)
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := new(tree.Compiler).Compile(read)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := published.Publish(read, blobs, now); err != nil {
			t.Fatal(err)
		}
		return serve.New(td, published, serve.OpenLedger(state, nopLog()), nopLog()).Fleet().Containers[0].Desired.Serial
	}
	now := time.UnixMilli(1_800_000_000_000)
	steps := []struct {
		name, data string
		now        time.Time
		want       uint64
	}{
		{"first", `{"a": 1}`, now, 1_800_000_000_000},
		{"nothing changed", `{"a": 1}`, now.Add(time.Hour), 1_800_000_000_000},
		{"the clock stands", `{"a": 2}`, now, 1_800_000_000_001},
		{"the clock went back a year", `{"a": 3}`, now.AddDate(-1, 0, 0), 1_800_000_000_002},
		{"no clock at all", `{"a": 4}`, time.Time{}, 1_800_000_000_003},
		{"the clock is right again", `{"a": 5}`, now.Add(time.Second), 1_800_000_001_000},
	}
	for _, step := range steps {
		put(step.data)
		if got := publish(step.now); got != step.want {
			t.Errorf("%s: serial %d, want %d", step.name, got, step.want)
		}
	}

	t.Run("damaged state is not guessed", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(state, "publication.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := serve.OpenPublication(state); err == nil || !strings.Contains(err.Error(), "serials could go backwards") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestPublishingIsTriedAgain(t *testing.T) {
	s := newServer(t, shop())
	c := s.client(s.container("vm1", "shop", "web", ""))
	first := c.pointer("web.shop.vm1")
	// A directory in the place of a file keeps even root from writing it.
	file := filepath.Join(s.state, "publication.json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.put("services/web/data/web.json", `{"page": "second"}`)
	s.log.wait(t, "cannot be published: what was published before stays")
	if now := c.pointer("web.shop.vm1"); now.Serial != first.Serial {
		t.Error("a version was published that is not kept")
	}
	if err := os.RemoveAll(file); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 5*time.Second, func() bool { return c.pointer("web.shop.vm1").Serial > first.Serial }, s.log.String)
}
