// SPDX-License-Identifier: AGPL-3.0-or-later

package identitytest_test

import (
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

func web(t *testing.T) spiffe.ID {
	t.Helper()
	id, err := spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestFilesHoldWhatTheAuthorityIssued(t *testing.T) {
	ca := identitytest.New(t, identitytest.Lifetime(8*time.Second))
	id := web(t)
	files := ca.Files(t, id)
	got, err := files.ID()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(id, got); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	cert, err := files.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"web.shop.vm1.internal"}, cert.Leaf.DNSNames); diff != "" {
		t.Errorf("DNS names (-want +got):\n%s", diff)
	}
	if life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore); life != 8*time.Second {
		t.Errorf("lifetime %s, want 8s", life)
	}
	roots, err := files.Roots()
	if err != nil {
		t.Fatal(err)
	}
	middle := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		middle.AddCert(c)
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle}); err != nil {
		t.Errorf("verifying: %v", err)
	}
}

func TestStopAndStartKeepTheAddress(t *testing.T) {
	ca := identitytest.New(t)
	roots := x509.NewCertPool()
	for _, root := range ca.Roots() {
		roots.AddCert(root)
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.TLSClientConfig.RootCAs = roots
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 5 * time.Second}
	healthy := func() bool {
		resp, err := client.Get(ca.URL + "/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	url := ca.URL
	var got []bool
	got = append(got, healthy())
	ca.Stop()
	got = append(got, healthy())
	ca.Start(t)
	got = append(got, healthy())
	if diff := cmp.Diff([]bool{true, false, true}, got); diff != "" {
		t.Errorf("healthy before, during and after the outage (-want +got):\n%s", diff)
	}
	if ca.URL != url {
		t.Errorf("URL %s, was %s", ca.URL, url)
	}
}
