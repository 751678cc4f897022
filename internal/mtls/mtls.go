// SPDX-License-Identifier: AGPL-3.0-or-later

// Package mtls owns how the programs of the fleet talk to each other: TLS 1.3 (RFC 8446) with certificates on
// both sides, HTTP/2 or HTTP/1.1 by ALPN, the identity in the URI name, and words for everything that can go wrong.
//
// Both sides take key, chain and roots from [identity.Files] at each handshake, so a renewed identity or a new root
// is used without a restart. The role of the other side is checked in tls.Config.VerifyConnection, which, unlike
// VerifyPeerCertificate, runs on resumed connections too; servers hand out no session tickets all the same.
//
// A connection outlives the certificate it was made with. Therefore the server looks at the certificate's end at
// each request (401 and Connection: close), and the client moves to new connections as soon as its identity
// changed. Key exchange is Go's default, post-quantum hybrids first.
//
// Left out: revocation (identities are short-lived, and the authority refuses to renew), proxies (an intercepting
// one would break the handshake; variables like HTTPS_PROXY are ignored), and retries (the caller's).
package mtls

import (
	"errors"
	"fmt"

	"cloud4.internal/hub/internal/spiffe"
)

// Rule says why an identity is not the one wanted; nil if it is.
type Rule func(spiffe.ID) error

// RoleError is the answer of a rule: a genuine certificate of somebody else.
type RoleError struct {
	Got    spiffe.ID
	Wanted string // "genesis/config", "host vm1", …; alternatives joined by " or "
}

// Error says who it is and who was expected.
func (e *RoleError) Error() string {
	return fmt.Sprintf("%s is not %s", e.Got, e.Wanted)
}

// Genesis accepts the genesis server of a kind: config, health or log.
func Genesis(trustDomain, kind string) Rule {
	want := spiffe.ID{TrustDomain: trustDomain, Role: spiffe.Genesis, Name: kind}
	return exactly(want, "genesis/"+kind)
}

// Host accepts one docker host, or with host "" any.
func Host(trustDomain, host string) Rule {
	if host == "" {
		return anyOfRole(trustDomain, spiffe.Host)
	}
	want := spiffe.ID{TrustDomain: trustDomain, Role: spiffe.Host, Host: host}
	return exactly(want, "host "+host)
}

// Operator accepts one operator, or with name "" any.
func Operator(trustDomain, name string) Rule {
	if name == "" {
		return anyOfRole(trustDomain, spiffe.Operator)
	}
	want := spiffe.ID{TrustDomain: trustDomain, Role: spiffe.Operator, Name: name}
	return exactly(want, "operator "+name)
}

// AnyOf accepts whom one of the rules accepts; without rules nobody.
func AnyOf(rules ...Rule) Rule {
	return func(id spiffe.ID) error {
		wanted := ""
		for _, rule := range rules {
			err := rule(id)
			if err == nil {
				return nil
			}
			words := err.Error()
			if role, ok := errors.AsType[*RoleError](err); ok {
				words = role.Wanted
			}
			if wanted != "" {
				wanted += " or "
			}
			wanted += words
		}
		if wanted == "" {
			wanted = "anybody (no rule accepts anyone)"
		}
		return &RoleError{Got: id, Wanted: wanted}
	}
}

func exactly(want spiffe.ID, words string) Rule {
	return func(id spiffe.ID) error {
		if id == want {
			return nil
		}
		return &RoleError{Got: id, Wanted: words}
	}
}

func anyOfRole(trustDomain string, role spiffe.Role) Rule {
	words := map[spiffe.Role]string{spiffe.Host: "a docker host", spiffe.Operator: "an operator"}[role]
	return func(id spiffe.ID) error {
		if id.TrustDomain == trustDomain && id.Role == role {
			return nil
		}
		return &RoleError{Got: id, Wanted: words + " of " + trustDomain}
	}
}
