// SPDX-License-Identifier: AGPL-3.0-or-later

package identity_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
)

const fingerprint = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"

func TestSettingsID(t *testing.T) {
	tests := []struct {
		name     string
		settings identity.Settings
		slot     int
		want     string // the ID, or what the error says
	}{
		{"container", identity.Settings{Host: "vm1", Stack: "shop", Service: "web"}, 0, "spiffe://cloud4.internal/host/vm1/stack/shop/service/web"},
		{"replica", identity.Settings{Host: "vm1", Stack: "shop", Service: "web"}, 2, "spiffe://cloud4.internal/host/vm1/stack/shop/service/web/2"},
		{"other trust domain", identity.Settings{TrustDomain: "x.y", Host: "vm1"}, 0, "spiffe://x.y/host/vm1"},
		{"host in a later slot", identity.Settings{Host: "vm1"}, 3, "spiffe://cloud4.internal/host/vm1"},
		{"genesis", identity.Settings{Genesis: "log"}, 0, "spiffe://cloud4.internal/genesis/log"},
		{"operator", identity.Settings{Operator: "desk"}, 0, "spiffe://cloud4.internal/operator/desk"},
		{"nobody", identity.Settings{CAURL: "https://x:1"}, 0, "no name: set identity.host"},
		{"no host", identity.Settings{Stack: "shop", Service: "web"}, 0, "identity.host: is missing"},
		{"no stack", identity.Settings{Host: "vm1", Service: "web"}, 0, "identity.stack: is missing"},
		{"no service", identity.Settings{Host: "vm1", Stack: "shop"}, 0, "identity.service: is missing"},
		{"upper case", identity.Settings{Host: "VM1"}, 0, `identity.host: "VM1" must be a lower-case DNS label`},
		{"genesis kind", identity.Settings{Genesis: "ca"}, 0, "identity.genesis: must be config, health or log"},
		{"two roles", identity.Settings{Genesis: "log", Host: "vm1"}, 0, "identity.genesis: a genesis server has no host"},
		{"two other roles", identity.Settings{Operator: "desk", Host: "vm1"}, 0, "identity.operator: an operator has no host"},
		{"trust domain", identity.Settings{TrustDomain: "X", Host: "vm1"}, 0, "trust domain"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := test.settings.ID(test.slot)
			if err == nil {
				if id.String() != test.want {
					t.Errorf("got %s, want %s", id, test.want)
				}
				return
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
		})
	}
	if _, err := (identity.Settings{}).ID(0); !errors.Is(err, identity.ErrUnnamed) {
		t.Errorf("without a name: error %v, want ErrUnnamed", err)
	}
}

func TestSettingsFromFile(t *testing.T) {
	tests := []struct {
		name, json string
		want       []string
	}{
		{"empty", `{}`, nil},
		{"image without a host", `{"identity": {"stack": "shop", "service": "web"}}`, nil},
		{"whole", `{"identity": {"host": "vm1", "stack": "shop", "service": "web", "ca_url": "https://genesis.internal:9000", "ca_fingerprint": "` + fingerprint + `"}}`, nil},
		{"pasted fingerprint", `{"identity": {"host": "vm1", "ca_url": "https://genesis.internal:9000", "ca_fingerprint": "` + colons(fingerprint) + `"}}`, nil},
		{"name", "{\n\"identity\": {\n\"host\": \"VM1\"}}", []string{`hub.json:3: identity.host: "VM1" must be a lower-case DNS label (a-z, 0-9, hyphens inside), has 'V'`}},
		{"kind", `{"identity": {"genesis": "ca"}}`, []string{`hub.json:1: identity.genesis: must be one of config, health or log, got "ca"`}},
		{"authority without a name", `{"identity": {"ca_url": "https://x:1", "ca_fingerprint": "` + fingerprint + `"}}`,
			[]string{`hub.json:1: identity.host: is missing: the authority in ca_url needs to know who this is; set host, stack and service`}},
		{"authority without a fingerprint", `{"identity": {"host": "vm1", "ca_url": "https://x:1"}}`,
			[]string{`hub.json:1: identity.ca_fingerprint: is missing: the authority in ca_url cannot be trusted without it; it is what "confighub ca-init" prints and stands in its file "fingerprint"`}},
		{"all at once", `{"identity": {"stack": "shop", "ca_url": "http://x", "ca_fingerprint": "12"}}`, []string{
			`hub.json:1: identity.ca_fingerprint: must be 64 hex digits, got "12"`,
			`hub.json:1: identity.ca_url: must be https://<host>[:<port>], got "http://x"`,
			`hub.json:1: identity.host: is missing: a container's name is host, stack and service`,
			`hub.json:1: identity.service: is missing: stack "shop" is set; a host has neither stack nor service`,
		}},
		{"path in the URL", `{"identity": {"host": "vm1", "ca_url": "https://x/1.0", "ca_fingerprint": "` + fingerprint + `"}}`,
			[]string{`hub.json:1: identity.ca_url: must be https://<host>[:<port>] and nothing more, got "https://x/1.0"`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hub.json")
			if err := os.WriteFile(path, []byte(test.json), 0o600); err != nil {
				t.Fatal(err)
			}
			var s identity.Settings
			_, err := hubfile.Load(hubfile.Source{Path: path}, hubfile.Section{Name: "identity", Into: &s})
			var got []string
			if problems, ok := errors.AsType[hubfile.Problems](err); ok {
				for _, p := range problems {
					got = append(got, p.String())
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if s.TrustDomain != "cloud4.internal" {
				t.Errorf("trust domain %q, want the default", s.TrustDomain)
			}
		})
	}
}

func colons(s string) string {
	var parts []string
	for i := 0; i < len(s); i += 2 {
		parts = append(parts, strings.ToUpper(s[i:i+2]))
	}
	return strings.Join(parts, ":")
}

func TestSlot(t *testing.T) {
	for _, test := range []struct {
		env  string
		want int
	}{{"", 0}, {"0", 0}, {"7", 7}, {"-", 0}, {"-1", 0}} {
		t.Run(test.env, func(t *testing.T) {
			t.Setenv("HUB_SLOT", test.env)
			if got := identity.Slot(); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
