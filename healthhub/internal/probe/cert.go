// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

// certCheck judges a certificate by the part of its lifetime that is left, by its chain and by its name.
type certCheck struct {
	path             string // of a PEM file, leaf first; "": address is asked
	network, address string
	name             string // that the leaf must have; "": any
	warn, fail       float64
	trust            *trust
}

// certLook makes the look of kind cert.
func certLook(s setting.Check, files *identity.Files) (Func, error) {
	c := &certCheck{path: s.Path, network: "tcp", address: s.Address, name: s.ServerName}
	var err1, err2 error
	c.warn, err1 = setting.CertLevel(s.Warn, setting.CertWarn)
	c.fail, err2 = setting.CertLevel(s.Fail, setting.CertFail)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	c.trust = newTrust(s, files, setting.CAFleet)
	if c.name == "" && s.Address != "" {
		c.name, _, _ = net.SplitHostPort(s.Address)
	}
	return c.look, nil
}

func (c *certCheck) look(ctx context.Context) Result {
	chain, r := c.chain(ctx)
	if chain == nil {
		return r
	}
	var roots *x509.CertPool
	if c.trust.verify {
		var err error
		if roots, err = c.trust.roots.pool(); err != nil {
			return untrusting(err)
		}
	}
	return c.judge(chain, roots, time.Now())
}

// chain gets the certificates, leaf first. Without any it gives the result of the look.
func (c *certCheck) chain(ctx context.Context) ([]*x509.Certificate, Result) {
	if c.path == "" {
		return c.ask(ctx)
	}
	data, err := readFile(c.path, maxPEMBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail("%s does not exist", c.path).advise("see what should make it, or correct the path")
	}
	if err != nil {
		return nil, blind("%v", err)
	}
	chain, err := parseChain(data)
	if err != nil {
		return nil, fail("%s: %v", c.path, err).advise("put certificates in PEM there, the leaf first")
	}
	return chain, Result{}
}

// parseChain reads the certificates of a PEM file; keys beside them are passed over.
func parseChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(chain)+1, err)
		}
		chain = append(chain, cert)
	}
	if len(chain) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return chain, nil
}

// ask gets the certificates that a server shows, good or bad.
func (c *certCheck) ask(ctx context.Context) ([]*x509.Certificate, Result) {
	conn, err := connect(ctx, c.network, c.address)
	if err != nil {
		return nil, connection.failed(c.address, err)
	}
	defer conn.Close()
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.name, InsecureSkipVerify: true} // judge says what is wrong with them
	if c.trust.identity {
		shown, err := c.trust.client(c.name)
		if err != nil {
			return nil, untrusting(err)
		}
		conf.GetClientCertificate = shown.GetClientCertificate
	}
	secure := tls.Client(conn.Conn, conf)
	if err := secure.Handshake(); err != nil {
		return nil, handshake.failed(c.address, err)
	}
	return secure.ConnectionState().PeerCertificates, Result{}
}

// judge says what a chain is worth at a time. Roots are not asked where the chain is not to be verified.
func (c *certCheck) judge(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) Result {
	first := soonest(chain)
	left := part(chain[0], first.NotAfter, now)
	r := c.verdict(chain, first, left, roots, now)
	r.Values = []health.Value{
		{Name: "lifetime_left", Value: left, Unit: "1", Warn: &c.warn, Fail: &c.fail},
		value("time_left", "s", first.NotAfter.Sub(now).Round(time.Second).Seconds()),
	}
	return r
}

// verdict is the state and its words; left is the part of the leaf's lifetime until the first one of the chain expires.
func (c *certCheck) verdict(chain []*x509.Certificate, first *x509.Certificate, left float64, roots *x509.CertPool, now time.Time) Result {
	who := subject(first)
	for _, cert := range chain {
		if now.Before(cert.NotBefore) {
			text, action := notYet(cert, now)
			return fail("%s: %s", subject(cert), text).advise("%s", action)
		}
	}
	if !now.Before(first.NotAfter) {
		return fail("%s expired at %s%s", who, stamp(first.NotAfter), unlessClock()).
			advise("renew it now, and see why that did not happen by itself")
	}
	if c.trust.verify {
		if text, action := c.unverified(chain, roots, now); text != "" {
			return fail("%s", text).advise("%s", action)
		}
	}
	text := fmt.Sprintf("%s: %s of %s left, until %s", subject(chain[0]), percent(left), days(lifetime(chain[0])), stamp(first.NotAfter))
	if first != chain[0] {
		text += ", when " + who + " of its chain expires"
	}
	switch {
	case left < c.fail:
		return fail("%s: about to expire", text).advise("renew it now, and see why that did not happen by itself")
	case left < c.warn:
		return result(health.Warn, "%s: renewal overdue", text).advise("see why it was not renewed: the log of what renews it, and whether its authority answers")
	}
	return pass("%s", text)
}

// unverified says why nobody would believe the leaf; "" if they would.
func (c *certCheck) unverified(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (text, action string) {
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err == nil && c.name != "" {
		err = chain[0].VerifyHostname(c.name)
	}
	if err == nil {
		return "", ""
	}
	if text, action = explainTLS(err); text == "" {
		text, action = err.Error(), "have it made anew"
	}
	return text, action
}

// soonest is the certificate that expires first: the leaf, or one without which it is worth nothing.
func soonest(chain []*x509.Certificate) *x509.Certificate {
	first := chain[0]
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
	}
	return first
}

func lifetime(cert *x509.Certificate) time.Duration { return cert.NotAfter.Sub(cert.NotBefore) }

// part is how much of a leaf's lifetime is left until an end: 1 at its begin and 0 from the end on. What is measured is the leaf, since that
// is what gets renewed: an authority's certificate of ten years is well when it has but two of them left.
func part(leaf *x509.Certificate, end, now time.Time) float64 {
	whole := lifetime(leaf).Seconds()
	if whole <= 0 {
		return 0
	}
	return min(1, max(0, end.Sub(now).Seconds()/whole))
}

// appendCertLeft adds how long the chain of a server lasts.
func appendCertLeft(values []health.Value, chain []*x509.Certificate) []health.Value {
	if len(chain) == 0 {
		return values
	}
	return append(values, value("cert_left", "s", time.Until(soonest(chain).NotAfter).Round(time.Second).Seconds()))
}

// notYet explains a certificate whose time is still to come.
func notYet(cert *x509.Certificate, now time.Time) (text, action string) {
	text = fmt.Sprintf("the certificate is not valid before %s, which is %s ahead of the clock here", stamp(cert.NotBefore), days(cert.NotBefore.Sub(now)))
	if unsynced() {
		return text + ", and that clock is not synchronised", "have the host's clock set, by chrony or systemd-timesyncd"
	}
	return text, "compare the clocks of this host and of the authority: one of them is wrong"
}

// unlessClock is a doubt: on a machine without a clock that runs on while it is off, everything may look expired.
func unlessClock() string {
	if unsynced() {
		return ", if the clock here is right: it is not synchronised"
	}
	return ""
}

// unsynced reports whether the kernel says that nothing keeps this machine's clock right (adjtimex(2)). It is asked
// where a certificate's time looks wrong, no more: kind clock watches it.
func unsynced() bool {
	var tx unix.Timex
	_, err := unix.Adjtimex(&tx)
	return err == nil && tx.Status&unix.STA_UNSYNC != 0
}

func subject(cert *x509.Certificate) string {
	if cert.Subject.CommonName != "" {
		return cert.Subject.CommonName
	}
	return certNames(cert)
}

// certNames lists the names a certificate is for, the first few.
func certNames(cert *x509.Certificate) string {
	const most = 4
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	switch {
	case len(names) == 0:
		return "no name"
	case len(names) > most:
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

// days gives a long time in days, else like span.
func days(d time.Duration) string {
	if d >= 72*time.Hour {
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	}
	return span(d)
}
