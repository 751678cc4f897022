// SPDX-License-Identifier: AGPL-3.0-or-later

package spiffe_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/spiffe"
)

const td = "cloud4.internal"

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	tests := []struct {
		uri    string
		id     spiffe.ID
		bundle string
		cn     string
		dns    []string
	}{
		{
			"spiffe://cloud4.internal/host/vm1/stack/shop/service/web",
			spiffe.ID{TrustDomain: td, Role: spiffe.Container, Host: "vm1", Stack: "shop", Service: "web"},
			"web.shop.vm1", "web.shop.vm1", []string{"web.shop.vm1.internal"},
		},
		{
			"spiffe://cloud4.internal/host/vm1/stack/shop/service/web/12",
			spiffe.ID{TrustDomain: td, Role: spiffe.Container, Host: "vm1", Stack: "shop", Service: "web", Instance: "12"},
			"web.shop.vm1", "web.shop.vm1", []string{"web.shop.vm1.internal"},
		},
		{
			"spiffe://cloud4.internal/host/vm-1",
			spiffe.ID{TrustDomain: td, Role: spiffe.Host, Host: "vm-1"},
			"host.vm-1", "host/vm-1", []string{"vm-1.internal"},
		},
		{
			"spiffe://cloud4.internal/genesis/config",
			spiffe.ID{TrustDomain: td, Role: spiffe.Genesis, Name: "config"},
			"genesis.config", "genesis.internal", []string{"genesis.internal"},
		},
		{
			"spiffe://cloud4.internal/operator/desk",
			spiffe.ID{TrustDomain: td, Role: spiffe.Operator, Name: "desk"},
			"operator.desk", "operator/desk", nil,
		},
		{
			"spiffe://x/host/" + long + "/stack/0/service/9-9",
			spiffe.ID{TrustDomain: "x", Role: spiffe.Container, Host: long, Stack: "0", Service: "9-9"},
			"9-9.0." + long, "9-9.0." + long, []string{"9-9.0." + long + ".internal"},
		},
	}
	for _, test := range tests {
		t.Run(test.uri, func(t *testing.T) {
			id, err := spiffe.Parse(test.uri)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.id, id); diff != "" {
				t.Errorf("ID (-want +got):\n%s", diff)
			}
			want := []string{test.uri, test.uri, test.bundle, test.cn}
			got := []string{id.String(), id.URI().String(), id.BundleName(), id.CommonName()}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("string, URI, bundle and common name (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.dns, id.DNSNames()); diff != "" {
				t.Errorf("DNS names (-want +got):\n%s", diff)
			}
			first := test.id
			first.Instance = ""
			back, err := spiffe.ParseBundleName(id.TrustDomain, test.bundle)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, back); diff != "" {
				t.Errorf("from the bundle name (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ uri, says string }{
		{"", "must start with spiffe://"},
		{"https://cloud4.internal/host/vm1", "must start with spiffe://"},
		{"SPIFFE://cloud4.internal/host/vm1", "must start with spiffe://"},
		{"spiffe://cloud4.internal", "path"},
		{"spiffe://cloud4.internal/", "path"},
		{"spiffe:///host/vm1", "trust domain"},
		{"spiffe://Cloud4.internal/host/vm1", "trust domain"},
		{"spiffe://cloud4..internal/host/vm1", "trust domain"},
		{"spiffe://cloud4.internal./host/vm1", "trust domain"},
		{"spiffe://cloud4.internal:443/host/vm1", "trust domain"},
		{"spiffe://user@cloud4.internal/host/vm1", "trust domain"},
		{"spiffe://" + strings.Repeat("a.", 127) + "b/host/vm1", "at most 253"},
		{"spiffe://cloud4.internal/host/", "host is empty"},
		{"spiffe://cloud4.internal/host/VM1", `host "VM1" must be a lower-case DNS label`},
		{"spiffe://cloud4.internal/host/vm_1", `has '_'`},
		{"spiffe://cloud4.internal/host/-vm1", "hyphen"},
		{"spiffe://cloud4.internal/host/vm1-", "hyphen"},
		{"spiffe://cloud4.internal/host/vm1/", "path"},
		{"spiffe://cloud4.internal//host/vm1", "path"},
		{"spiffe://cloud4.internal/host/vm1?x=1", "host"},
		{"spiffe://cloud4.internal/host/vm1?", "host"},
		{"spiffe://cloud4.internal/host/vm1#", "host"},
		{"spiffe://cloud4.internal/host/%76m1", "host"},
		{"spiffe://cloud4.internal/host/..", "host"},
		{"spiffe://cloud4.internal/host/vm\x001", "host"},
		{"spiffe://cloud4.internal/host/vmä", "host"},
		{"spiffe://cloud4.internal/host/" + strings.Repeat("a", 64), "at most 63"},
		{"spiffe://cloud4.internal/hosts/vm1", "path"},
		{"spiffe://cloud4.internal/host/vm1/stack/shop", "path"},
		{"spiffe://cloud4.internal/host/vm1/stack/Shop/service/web", "stack"},
		{"spiffe://cloud4.internal/host/vm1/stack/shop/service/", "service is empty"},
		{"spiffe://cloud4.internal/host/vm1/stack/shop/service/web/", "slash at the end"},
		{"spiffe://cloud4.internal/host/vm1/stack/shop/service/web/0", "instance"},
		{"spiffe://cloud4.internal/host/vm1/stack/shop/service/web/01", "instance"},
		{"spiffe://cloud4.internal/host/vm1/stack/shop/service/web/+1", "instance"},
		{"spiffe://cloud4.internal/host/vm1/stack/shop/service/web/1/2", "path"},
		{"spiffe://cloud4.internal/host/vm1/stack/shop/service/web/9999999999", "instance"},
		{"spiffe://cloud4.internal/genesis/ca", "config, health or log"},
		{"spiffe://cloud4.internal/genesis", "path"},
		{"spiffe://cloud4.internal/operator/Desk", "operator"},
		{"spiffe://cloud4.internal/" + strings.Repeat("a", 3000), "longer than 2048"},
	}
	for _, test := range tests {
		t.Run(test.uri[:min(len(test.uri), 70)], func(t *testing.T) {
			id, err := spiffe.Parse(test.uri)
			if err == nil {
				t.Fatalf("got %v, want an error", id)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %q does not say %q", err, test.says)
			}
		})
	}
}

func TestParseBundleNameRefuses(t *testing.T) {
	for _, name := range []string{"", "web", "web.shop", "a.web.shop.vm1", "web..vm1", "host.VM1", "genesis.ca", "web.shop.vm1."} {
		t.Run(name, func(t *testing.T) {
			if id, err := spiffe.ParseBundleName(td, name); err == nil {
				t.Errorf("got %v, want an error", id)
			}
		})
	}
}

func TestFromCertificate(t *testing.T) {
	vm1 := &url.URL{Scheme: "spiffe", Host: td, Path: "/host/vm1"}
	tests := []struct {
		name string
		uris []*url.URL
		raw  []string // URI names written into the extension as they are
		want string   // "" for an error
	}{
		{"one", []*url.URL{vm1}, nil, "spiffe://cloud4.internal/host/vm1"},
		{"none", nil, nil, ""},
		{"two", []*url.URL{vm1, {Scheme: "spiffe", Host: td, Path: "/host/vm2"}}, nil, ""},
		{"the same twice", []*url.URL{vm1, vm1}, nil, ""},
		{"one and a web address", []*url.URL{vm1, {Scheme: "https", Host: "x", Path: "/"}}, nil, ""},
		{"upper case scheme", nil, []string{"SPIFFE://cloud4.internal/host/vm1"}, ""},
		{"empty fragment", nil, []string{"spiffe://cloud4.internal/host/vm1#"}, ""},
		{"as it is", nil, []string{"spiffe://cloud4.internal/host/vm1"}, "spiffe://cloud4.internal/host/vm1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := spiffe.FromCertificate(certificate(t, test.uris, test.raw))
			if test.want == "" {
				if err == nil {
					t.Fatalf("got %v, want an error", id)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if id.String() != test.want {
				t.Errorf("got %s, want %s", id, test.want)
			}
		})
	}
}

func certificate(t *testing.T, uris []*url.URL, raw []string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"x.internal"}, URIs: uris,
	}
	if raw != nil {
		var names []asn1.RawValue
		for _, uri := range raw {
			names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)})
		}
		value, err := asn1.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		template.DNSNames = nil
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"spiffe://cloud4.internal/host/vm1/stack/shop/service/web/1",
		"spiffe://cloud4.internal/host/vm1", "spiffe://x/genesis/log", "spiffe://x.y/operator/a-b",
		"spiffe://x/host/a?b#c", "spiffe://x/host/%61",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		id, err := spiffe.Parse(uri)
		if err != nil {
			return
		}
		if id.String() != uri {
			t.Fatalf("%q came back as %q", uri, id)
		}
		if u, err := url.Parse(uri); err != nil || u.String() != id.URI().String() {
			t.Fatalf("%q is another URL than %v (%v)", uri, id.URI(), err)
		}
		if err := id.Check(); err != nil {
			t.Fatalf("%q was parsed and is not valid: %v", uri, err)
		}
		first := id
		first.Instance = ""
		if back, err := spiffe.ParseBundleName(id.TrustDomain, id.BundleName()); err != nil || back != first {
			t.Fatalf("bundle name %q of %q came back as %v (%v)", id.BundleName(), uri, back, err)
		}
	})
}
