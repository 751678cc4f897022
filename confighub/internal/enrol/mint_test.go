// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"cloud4.internal/hub/confighub/internal/enrol"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

// writeFile writes a file that only the owner reads and returns its path.
func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func minterFor(t *testing.T, ca *identitytest.CA) *enrol.Minter {
	t.Helper()
	m, err := enrol.OpenMinter(writeFile(t, ca.ProvisionerJWK(t)), "")
	if err != nil {
		t.Fatal(err)
	}
	m.Provisioner, m.CAURL, m.Fingerprint, m.TTL = identitytest.ProvisionerName, ca.URL, ca.Fingerprint, time.Hour
	return m
}

func TestMintedTokensAreTaken(t *testing.T) {
	ca := identitytest.New(t)
	minter := minterFor(t, ca)
	for _, id := range []spiffe.ID{web, vm1, genesis, desk} {
		token, err := minter.Mint(id)
		if err != nil {
			t.Fatal(err)
		}
		k, _ := newMachine(t).start(t, ca.Settings(id), 0, with(token))
		ready(t, k)
		if got := k.State(); got.State != identity.StateValid || got.ID != id.String() {
			t.Errorf("%s: state %+v", id, got)
		}
	}
}

func TestMintRefuses(t *testing.T) {
	ca := identitytest.New(t)
	for name, test := range map[string]struct {
		change func(*enrol.Minter)
		id     spiffe.ID
		says   string
	}{
		"too long":    {func(m *enrol.Minter) { m.TTL = time.Hour + time.Second }, web, "between 10s and 1h0m0s, got 1h0m1s"},
		"too short":   {func(m *enrol.Minter) { m.TTL = time.Second }, web, "between 10s and 1h0m0s, got 1s"},
		"fingerprint": {func(m *enrol.Minter) { m.Fingerprint = "x" }, web, "64 hex digits"},
		"name":        {func(*enrol.Minter) {}, spiffe.ID{TrustDomain: td, Role: spiffe.Host, Host: "VM1"}, `host "VM1"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := minterFor(t, ca)
			test.change(m)
			if token, err := m.Mint(test.id); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %q, error %v; want %q", token, err, test.says)
			}
		})
	}
}

func TestOpenMinter(t *testing.T) {
	ca := identitytest.New(t)
	key := new(jose.JSONWebKey)
	if err := key.UnmarshalJSON(ca.ProvisionerJWK(t)); err != nil {
		t.Fatal(err)
	}
	sealed, err := jose.EncryptJWK(key, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := sealed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.Public().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	password := writeFile(t, []byte("secret\n"))
	tests := []struct {
		name, key, password string
		says                string // "": it opens
	}{
		{"plain", string(ca.ProvisionerJWK(t)), "", ""},
		{"encrypted", compact + "\n", password, ""},
		{"encrypted as JSON", sealed.FullSerialize(), password, ""},
		{"encrypted without password", compact, "", "is encrypted: name the file with its password"},
		{"wrong password", compact, writeFile(t, []byte("other")), "does not open it"},
		{"public key", string(public), "", "holds no private JWK"},
		{"symmetric key", `{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}`, "", "holds no private JWK"},
		{"nonsense", "hello", "", "holds no private JWK"},
		{"nothing", "", "", "holds no private JWK"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := enrol.OpenMinter(writeFile(t, []byte(test.key)), test.password)
			switch {
			case test.says == "" && err != nil:
				t.Fatal(err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("error %v does not say %q", err, test.says)
			}
		})
	}
}
