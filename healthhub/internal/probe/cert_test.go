// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
)

// TestCert judges certificates at a time of their lives, of a day and of three months.
func TestCert(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	if err := identity.SaveRoots(dir, []*x509.Certificate{ca.root}); err != nil {
		t.Fatal(err)
	}
	place := Place{Files: identity.Open(dir)} // roots and no certificate: what a container has that is being enrolled
	rootFile := filepath.Join(dir, "roots.pem")
	off := false
	for name, test := range map[string]struct {
		from, to time.Duration // from now
		check    setting.Check
		by       *authority
		state    health.State
		text     string
		action   string
	}{
		"fresh, a day":          {-time.Hour, 23 * time.Hour, setting.Check{}, ca, health.Pass, "web: 95 % of 24h left, until ", ""},
		"fresh, 90 days":        {-24 * time.Hour, 89 * 24 * time.Hour, setting.Check{}, ca, health.Pass, "98 % of 90 days left", ""},
		"two thirds, a day":     {-17 * time.Hour, 7 * time.Hour, setting.Check{}, ca, health.Pass, "29 % of 24h", ""},
		"overdue, a day":        {-19 * time.Hour, 5 * time.Hour, setting.Check{}, ca, health.Warn, "renewal overdue", "not renewed"},
		"overdue, 90 days":      {-70 * 24 * time.Hour, 20 * 24 * time.Hour, setting.Check{}, ca, health.Warn, "renewal overdue", "not renewed"},
		"about to expire":       {-23 * time.Hour, time.Hour, setting.Check{}, ca, health.Fail, "about to expire", "renew it now"},
		"about to, 90 days":     {-85 * 24 * time.Hour, 5 * 24 * time.Hour, setting.Check{}, ca, health.Fail, "about to expire", "renew it now"},
		"own limits":            {-13 * time.Hour, 11 * time.Hour, setting.Check{Warn: "50%"}, ca, health.Warn, "renewal overdue", "not renewed"},
		"expired":               {-25 * time.Hour, -time.Hour, setting.Check{}, ca, health.Fail, "web expired at ", "renew it now"},
		"to come":               {3 * time.Hour, 27 * time.Hour, setting.Check{}, ca, health.Fail, "ahead of the clock here", "clock"},
		"another root":          {-time.Hour, 23 * time.Hour, setting.Check{}, stranger, health.Fail, "not trusted", "ca"},
		"another root, no care": {-time.Hour, 23 * time.Hour, setting.Check{Verify: &off}, stranger, health.Pass, "95 %", ""},
		"root by file":          {-time.Hour, 23 * time.Hour, setting.Check{CA: rootFile}, ca, health.Pass, "95 %", ""},
		"no public root":        {-time.Hour, 23 * time.Hour, setting.Check{CA: setting.CASystem}, ca, health.Fail, "not trusted", "ca"},
		"name":                  {-time.Hour, 23 * time.Hour, setting.Check{ServerName: "web.test"}, ca, health.Pass, "95 %", ""},
		"another name":          {-time.Hour, 23 * time.Hour, setting.Check{ServerName: "db.test"}, ca, health.Fail, "for web.test, not for db.test", "server_name"},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			dir := t.TempDir()
			test.by.issue(t, filepath.Join(dir, "id.pem"), x509.Certificate{
				Subject: pkix.Name{CommonName: "web"}, DNSNames: []string{"web.test"}, NotBefore: now.Add(test.from), NotAfter: now.Add(test.to),
			})
			test.check.Kind, test.check.Path = setting.KindCert, filepath.Join(dir, "id.pem")
			fromFile := lookAt(t, test.check, place)
			test.check.Path, test.check.Address = "", strings.TrimPrefix(secure(t, serverConfig(t, dir, nil)).URL, "https://")
			if test.check.ServerName == "" {
				test.check.ServerName = "web.test" // the certificate has no address in it
			}
			fromServer := lookAt(t, test.check, place)
			for _, got := range []Result{fromFile, fromServer} {
				expect(t, got, test.state, test.text)
				if !strings.Contains(got.Action, test.action) || (got.State == health.Pass) != (got.Action == "") {
					t.Errorf("action %q, want one with %q", got.Action, test.action)
				}
				acceptable(t, got)
				left, seconds := measured(t, got, "lifetime_left"), measured(t, got, "time_left")
				if want := test.to.Seconds(); seconds.Value < want-5 || seconds.Value > want+1 {
					t.Errorf("%v s left, want %v", seconds.Value, want)
				}
				want := min(1, max(0, test.to.Seconds()/(test.to-test.from).Seconds()))
				if left.Value < want-0.001 || left.Value > want+0.001 || *left.Fail != setting.CertFail {
					t.Errorf("%v of the lifetime left, want %v; %+v", left.Value, want, left)
				}
			}
		})
	}
}

// A chain is worth what its weakest member is, by the leaf's measure: long-lived authorities are not renewed at two thirds.
func TestCertOfIntermediate(t *testing.T) {
	now := time.Now()
	day := 24 * time.Hour
	cert := func(name string, from, to time.Duration) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-from), NotAfter: now.Add(to)}
	}
	leaf := cert("leaf", 10*day, 80*day)
	off := false
	c := &certCheck{warn: setting.CertWarn, fail: setting.CertFail, trust: newTrust(setting.Check{Verify: &off}, nil, setting.CAFleet)}
	old, ending, expired := cert("old", 9*365*day, 365*day), cert("ending", 364*day, day), cert("expired", 365*day, -day)
	expect(t, c.judge([]*x509.Certificate{leaf, old}, nil, now), health.Pass, "leaf: 88 % of 90 days left")
	expect(t, c.judge([]*x509.Certificate{leaf, ending}, nil, now), health.Fail, "leaf: 1.1 % of 90 days left, until "+stamp(now.Add(day))+", when ending of its chain expires")
	expect(t, c.judge([]*x509.Certificate{leaf, expired}, nil, now), health.Fail, "expired expired at")
}

// authority is a certificate authority for leaves of any times, whose own lasts ten years.
type authority struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	a.root, a.key = a.sign(t, x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority"}, NotBefore: time.Now().Add(-8 * 365 * 24 * time.Hour), NotAfter: time.Now().Add(2 * 365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// sign makes a key and a certificate for it; the first one signs itself.
func (a *authority) sign(t testing.TB, template x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	parent, signer := a.root, a.key
	if parent == nil {
		parent, signer = &template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// issue writes a file with a key and, after it, its certificate and the authority's.
func (a *authority) issue(t testing.TB, path string, template x509.Certificate) {
	t.Helper()
	cert, key := a.sign(t, template)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for _, block := range []*pem.Block{{Type: "PRIVATE KEY", Bytes: secret}, {Type: "CERTIFICATE", Bytes: cert.Raw}, {Type: "CERTIFICATE", Bytes: a.root.Raw}} {
		file = append(file, pem.EncodeToMemory(block)...)
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCertUnreadable(t *testing.T) {
	ca := identitytest.New(t)
	dir := ca.Dir(t, container(t, "web"))
	path := filepath.Join(t.TempDir(), "cert.pem")
	check := setting.Check{Kind: setting.KindCert, Path: path}
	expect(t, lookAt(t, check, Place{}), health.Fail, "does not exist")
	if err := os.WriteFile(path, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, lookAt(t, check, Place{}), health.Fail, "holds no certificate")
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	if err := os.WriteFile(path, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, lookAt(t, check, Place{}), health.Fail, "certificate 1: ")
	check.Path = filepath.Join(dir, "id.pem")
	if got := lookAt(t, check, Place{}); !got.Blind || !strings.Contains(got.Text, "no certificate yet") {
		t.Errorf("without roots of the fleet: %+v", got)
	}
	check.Path = t.TempDir()
	if got := lookAt(t, check, Place{}); !got.Blind || !strings.Contains(got.Text, "regular file") {
		t.Errorf("of a directory: %+v", got)
	}
	check.Path, check.Address = "", speak(t, "no TLS")
	expect(t, lookAt(t, check, Place{}), health.Fail, "does not speak TLS")
}
