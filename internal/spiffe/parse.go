// SPDX-License-Identifier: AGPL-3.0-or-later

package spiffe

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"strconv"
	"strings"
)

// maxURIBytes bounds what is looked at: SPIFFE-ID.md §2.3 lets an implementation refuse longer IDs.
const maxURIBytes = 2048

// Parse reads a SPIFFE ID in one of the shapes of the package comment. The error says which part is wrong.
func Parse(uri string) (ID, error) {
	if len(uri) > maxURIBytes {
		return ID{}, fmt.Errorf("identity of %d bytes: longer than %d", len(uri), maxURIBytes)
	}
	rest, ok := strings.CutPrefix(uri, "spiffe://")
	if !ok {
		return ID{}, fmt.Errorf("identity %s: must start with spiffe://", quote(uri))
	}
	domain, path, _ := strings.Cut(rest, "/")
	id, err := parsePath(domain, strings.Split(path, "/"))
	if err != nil {
		return ID{}, fmt.Errorf("identity %s: %w", quote(uri), err)
	}
	return id, nil
}

func parsePath(domain string, seg []string) (ID, error) {
	n := len(seg)
	switch {
	case (n == 6 || n == 7) && seg[0] == "host" && seg[2] == "stack" && seg[4] == "service":
		if n == 7 && seg[6] == "" {
			return ID{}, fmt.Errorf("a slash at the end")
		}
		return ForContainer(domain, seg[1], seg[3], seg[5], strings.Join(seg[6:], ""))
	case n == 2 && seg[0] == "host":
		return ForHost(domain, seg[1])
	case n == 2 && seg[0] == "genesis":
		return ForGenesis(domain, seg[1])
	case n == 2 && seg[0] == "operator":
		return ForOperator(domain, seg[1])
	}
	// The trust domain is reported first, as it stands first.
	if err := CheckTrustDomain(domain); err != nil {
		return ID{}, err
	}
	return ID{}, fmt.Errorf("path %s: must be /host/<host>, /host/<host>/stack/<stack>/service/<service>[/<n>], "+
		"/genesis/<kind> or /operator/<name>", quote("/"+strings.Join(seg, "/")))
}

// oidSubjectAltName is id-ce-subjectAltName (RFC 5280 §4.2.1.6).
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// tagURI is the context tag of uniformResourceIdentifier in GeneralName (RFC 5280 §4.2.1.6).
const tagURI = 6

// FromCertificate returns the name in the certificate's URI SAN; there must be exactly one.
//
// It reads the bytes of the extension, not cert.URIs: net/url forgets an empty fragment and lowers the scheme,
// and a name must have one spelling.
func FromCertificate(cert *x509.Certificate) (ID, error) {
	var uris []string
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oidSubjectAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return ID{}, fmt.Errorf("certificate %s: its alternative names cannot be read", quote(cert.Subject.CommonName))
		}
		for _, name := range names {
			if name.Class == asn1.ClassContextSpecific && name.Tag == tagURI {
				uris = append(uris, string(name.Bytes))
			}
		}
	}
	if len(uris) != 1 {
		return ID{}, fmt.Errorf("certificate %s: must hold exactly one URI name, holds %d", quote(cert.Subject.CommonName), len(uris))
	}
	return Parse(uris[0])
}

// CheckLabel reports why s is not a lower-case DNS label: a to z, 0 to 9 and inner hyphens, 1 to 63 bytes.
func CheckLabel(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is empty")
	case len(s) > 63:
		return fmt.Errorf("%s has %d characters, at most 63 are allowed", quote(s), len(s))
	case s[0] == '-' || s[len(s)-1] == '-':
		return fmt.Errorf("%s starts or ends with a hyphen", quote(s))
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("%s must be a lower-case DNS label (a-z, 0-9, hyphens inside), has %q", quote(s), rune(c))
		}
	}
	return nil
}

// CheckTrustDomain reports why s is not one or more lower-case DNS labels joined by dots, 253 bytes at most.
func CheckTrustDomain(s string) error {
	if len(s) > 253 {
		return fmt.Errorf("trust domain of %d characters: at most 253 are allowed", len(s))
	}
	for label := range strings.SplitSeq(s, ".") {
		if err := CheckLabel(label); err != nil {
			return fmt.Errorf("trust domain %s: label %w", quote(s), err)
		}
	}
	return nil
}

// checkLabels takes pairs of a part's name and its value.
func checkLabels(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := CheckLabel(pairs[i+1]); err != nil {
			return fmt.Errorf("%s %w", pairs[i], err)
		}
	}
	return nil
}

// maxInstanceDigits keeps an instance inside an int32, whatever machine reads it.
const maxInstanceDigits = 9

func checkInstance(s string) error {
	if s == "" {
		return nil
	}
	bad := s[0] == '0' || len(s) > maxInstanceDigits
	for i := range len(s) {
		bad = bad || s[i] < '0' || s[i] > '9'
	}
	if bad {
		return fmt.Errorf("instance %s must be a positive decimal number", quote(s))
	}
	return nil
}

func checkKind(s string) error {
	switch s {
	case KindConfig, KindHealth, KindLog:
		return nil
	}
	return fmt.Errorf("genesis %s must be config, health or log", quote(s))
}

// quote keeps what a stranger wrote short and printable.
func quote(s string) string {
	if len(s) > 256 {
		s = s[:256] + "…"
	}
	return strconv.QuoteToASCII(s)
}
