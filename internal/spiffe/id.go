// SPDX-License-Identifier: AGPL-3.0-or-later

// Package spiffe owns the names of the fleet: who a certificate says its holder is.
//
// A name is a SPIFFE ID (SPIFFE-ID.md §2, X509-SVID.md §2: exactly one URI SAN) in one of four shapes:
//
//	spiffe://<td>/host/<host>/stack/<stack>/service/<service>        a container
//	spiffe://<td>/host/<host>/stack/<stack>/service/<service>/<n>    its replica n (1, 2, …)
//	spiffe://<td>/host/<host>                                        a docker host
//	spiffe://<td>/genesis/<config|health|log>                        a genesis server
//	spiffe://<td>/operator/<name>                                    a person or a script with a person's rights
//
// Every variable part is a lower-case DNS label (RFC 1123 §2.1: letters, digits, inner hyphens, 1 to 63
// bytes); the trust domain is one or more of them joined by dots, 253 bytes at most. Nothing else is a name:
// no query, fragment, port, userinfo, percent-encoding, empty or dot segment, upper case or trailing slash.
// So a name has one spelling, and comparing two [ID] values with == compares the identities.
//
// What a name may do is not decided here; internal/mtls holds the rules.
package spiffe

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Role is the kind of holder, the first thing an authorisation looks at.
type Role uint8

// The roles. The zero Role belongs to the zero [ID] and is never valid.
const (
	Container Role = iota + 1
	Host
	Genesis
	Operator
)

// String returns the role as people say it: container, host, genesis, operator.
func (r Role) String() string {
	switch r {
	case Container:
		return "container"
	case Host:
		return "host"
	case Genesis:
		return "genesis"
	case Operator:
		return "operator"
	}
	return "unknown role " + strconv.Itoa(int(r))
}

// The three genesis servers, the only values of [ID].Name under the role [Genesis].
const (
	KindConfig = "config"
	KindHealth = "health"
	KindLog    = "log"
)

// ID is a parsed name. Values made by [Parse] and the For functions are valid and comparable with ==;
// fields that do not belong to the role are empty.
type ID struct {
	TrustDomain string
	Role        Role
	Host        string // container and host
	Stack       string // container
	Service     string // container
	Instance    string // container: "" for the first replica, else a positive decimal without leading zeros
	Name        string // genesis: config, health or log; operator: the operator's name
}

// ForContainer names replica instance ("" for the first) of a service on a host.
func ForContainer(trustDomain, host, stack, service, instance string) (ID, error) {
	return valid(ID{TrustDomain: trustDomain, Role: Container, Host: host, Stack: stack, Service: service, Instance: instance})
}

// ForHost names a docker host.
func ForHost(trustDomain, host string) (ID, error) {
	return valid(ID{TrustDomain: trustDomain, Role: Host, Host: host})
}

// ForGenesis names a genesis server; kind is config, health or log.
func ForGenesis(trustDomain, kind string) (ID, error) {
	return valid(ID{TrustDomain: trustDomain, Role: Genesis, Name: kind})
}

// ForOperator names an operator.
func ForOperator(trustDomain, name string) (ID, error) {
	return valid(ID{TrustDomain: trustDomain, Role: Operator, Name: name})
}

func valid(id ID) (ID, error) {
	if err := id.Check(); err != nil {
		return ID{}, err
	}
	return id, nil
}

// Check reports the first part of the name that is not allowed, saying which one it is.
func (id ID) Check() error {
	if err := CheckTrustDomain(id.TrustDomain); err != nil {
		return err
	}
	switch id.Role {
	case Container:
		if err := checkLabels("host", id.Host, "stack", id.Stack, "service", id.Service); err != nil {
			return err
		}
		return checkInstance(id.Instance)
	case Host:
		return checkLabels("host", id.Host)
	case Genesis:
		return checkKind(id.Name)
	case Operator:
		return checkLabels("operator", id.Name)
	}
	return fmt.Errorf("no role: a name is a container, a host, a genesis server or an operator")
}

// String returns the SPIFFE ID.
func (id ID) String() string {
	return "spiffe://" + id.TrustDomain + id.path()
}

func (id ID) path() string {
	switch id.Role {
	case Container:
		p := "/host/" + id.Host + "/stack/" + id.Stack + "/service/" + id.Service
		if id.Instance != "" {
			p += "/" + id.Instance
		}
		return p
	case Host:
		return "/host/" + id.Host
	case Genesis:
		return "/genesis/" + id.Name
	case Operator:
		return "/operator/" + id.Name
	}
	return ""
}

// URI returns the SPIFFE ID as the URI SAN of a certificate holds it.
func (id ID) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: id.path()}
}

// BundleName returns the name under which the genesis keeps what belongs to this identity:
// web.shop.vm1 for a container (its replicas share it), else host.vm1, genesis.config, operator.desk.
func (id ID) BundleName() string {
	switch id.Role {
	case Container:
		return id.Service + "." + id.Stack + "." + id.Host
	case Host:
		return "host." + id.Host
	case Genesis:
		return "genesis." + id.Name
	case Operator:
		return "operator." + id.Name
	}
	return ""
}

// CommonName returns the certificate's CN. Nothing is authorised by it; step-ca wants one, because the
// token that renews an expired certificate names it. It may exceed the 64 bytes of RFC 5280's ub-common-name
// when host, stack and service are long; step-ca and crypto/x509 take it all the same.
func (id ID) CommonName() string {
	switch id.Role {
	case Container:
		return id.BundleName()
	case Host:
		return "host/" + id.Host
	case Genesis:
		return genesisDNS
	case Operator:
		return "operator/" + id.Name
	}
	return ""
}

// genesisDNS is the one DNS name of the genesis machine, whichever of its servers answers.
const genesisDNS = "genesis.internal"

// DNSNames returns the DNS SANs, under which the holder may serve; none for an operator.
func (id ID) DNSNames() []string {
	switch id.Role {
	case Container:
		return []string{id.BundleName() + ".internal"}
	case Host:
		return []string{id.Host + ".internal"}
	case Genesis:
		return []string{genesisDNS}
	}
	return nil
}

// ParseBundleName is the inverse of [ID.BundleName]: three labels are a container (its first replica), two
// are a host, a genesis server or an operator.
func ParseBundleName(trustDomain, name string) (ID, error) {
	labels := strings.Split(name, ".")
	switch {
	case len(labels) == 3:
		return ForContainer(trustDomain, labels[2], labels[1], labels[0], "")
	case len(labels) == 2 && labels[0] == "host":
		return ForHost(trustDomain, labels[1])
	case len(labels) == 2 && labels[0] == "genesis":
		return ForGenesis(trustDomain, labels[1])
	case len(labels) == 2 && labels[0] == "operator":
		return ForOperator(trustDomain, labels[1])
	}
	return ID{}, fmt.Errorf("name %s: must be <service>.<stack>.<host>, host.<host>, genesis.<kind> or operator.<name>", quote(name))
}
