// SPDX-License-Identifier: AGPL-3.0-or-later

package identity

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"cloud4.internal/hub/internal/spiffe"
)

// Settings is the section "identity" of the settings. Which names are set decides the role:
//
//	host, stack, service   a container
//	host                   a docker host
//	genesis                a genesis server
//	operator               an operator
type Settings struct {
	TrustDomain   string `json:"trust_domain" default:"cloud4.internal" doc:"the fleet's name, the first part of every identity"`
	Host          string `json:"host" doc:"the docker host this container runs on; alone, the host itself"`
	Stack         string `json:"stack" doc:"the compose stack (project) of this container"`
	Service       string `json:"service" doc:"the service this container is of"`
	Genesis       string `json:"genesis" enum:"config|health|log" doc:"which genesis server this is; instead of host, stack and service"`
	Operator      string `json:"operator" doc:"for an operator: the name; instead of host, stack and service"`
	CAURL         string `json:"ca_url" doc:"the certificate authority, https://genesis.internal:9000; without it there is no enrolment"`
	CAFingerprint string `json:"ca_fingerprint" doc:"SHA-256 of the authority's root certificate, 64 hex digits"`
}

// ErrUnnamed says that the settings name nobody: fine for a container that works without a genesis.
var ErrUnnamed = errors.New("no name: set identity.host, identity.stack and identity.service")

// ID returns the identity the settings name, for state slot slot: slot n of a container is its replica n,
// slot 0 the first and unnumbered one. Hosts, genesis servers and operators are one, whatever their slot.
// The error is [ErrUnnamed] if no name is set, else it names the key that is missing or wrong.
func (s Settings) ID(slot int) (spiffe.ID, error) {
	domain := s.TrustDomain
	if domain == "" {
		domain = DefaultTrustDomain
	}
	if s.Host+s.Stack+s.Service+s.Genesis+s.Operator == "" {
		return spiffe.ID{}, ErrUnnamed
	}
	problems := s.nameProblems(true)
	if len(problems) > 0 {
		return spiffe.ID{}, fmt.Errorf("identity.%s: %s", problems[0].key, problems[0].message)
	}
	switch {
	case s.Genesis != "":
		return spiffe.ForGenesis(domain, s.Genesis)
	case s.Operator != "":
		return spiffe.ForOperator(domain, s.Operator)
	case s.Service != "":
		instance := ""
		if slot > 0 {
			instance = strconv.Itoa(slot)
		}
		return spiffe.ForContainer(domain, s.Host, s.Stack, s.Service, instance)
	}
	return spiffe.ForHost(domain, s.Host)
}

// DefaultTrustDomain is the trust domain where the settings name none.
const DefaultTrustDomain = "cloud4.internal"

type problem struct{ key, message string }

// CheckSettings reports what is wrong with the section, all of it. A name that is missing is wrong only
// where an authority is set: without one nobody needs it, and an image may be run by itself.
func (s Settings) CheckSettings(report func(key, message string)) {
	if err := spiffe.CheckTrustDomain(s.TrustDomain); s.TrustDomain != "" && err != nil {
		report("trust_domain", err.Error())
	}
	for _, p := range s.nameProblems(s.CAURL != "") {
		report(p.key, p.message)
	}
	if s.CAURL != "" && s.Host+s.Stack+s.Service+s.Genesis+s.Operator == "" {
		report("host", "is missing: the authority in ca_url needs to know who this is; set host, stack and service")
	}
	if err := checkCAURL(s.CAURL); err != nil {
		report("ca_url", err.Error())
	}
	switch {
	case s.CAURL != "" && s.CAFingerprint == "":
		report("ca_fingerprint", `is missing: the authority in ca_url cannot be trusted without it; it is what "confighub ca-init" prints and stands in its file "fingerprint"`)
	case s.CAFingerprint != "":
		if _, err := ParseFingerprint(s.CAFingerprint); err != nil {
			report("ca_fingerprint", err.Error())
		}
	}
}

// nameProblems judges the names; missing ones only if complete is set.
func (s Settings) nameProblems(complete bool) []problem {
	var out []problem
	add := func(key, format string, args ...any) { out = append(out, problem{key, fmt.Sprintf(format, args...)}) }
	for _, n := range []problem{{"host", s.Host}, {"stack", s.Stack}, {"service", s.Service}, {"operator", s.Operator}} {
		if n.message == "" {
			continue
		}
		if err := spiffe.CheckLabel(n.message); err != nil {
			add(n.key, "%v", err)
		}
	}
	switch {
	case s.Genesis != "" && s.Host+s.Stack+s.Service+s.Operator != "":
		add("genesis", "a genesis server has no host, stack, service or operator: set either genesis or those")
	case s.Operator != "" && s.Host+s.Stack+s.Service != "":
		add("operator", "an operator has no host, stack or service: set either operator or those")
	case s.Genesis != "":
		if _, err := spiffe.ForGenesis(DefaultTrustDomain, s.Genesis); err != nil {
			add("genesis", "must be config, health or log, got %q", s.Genesis)
		}
	case complete && s.Host == "" && s.Stack+s.Service != "":
		add("host", "is missing: a container's name is host, stack and service")
	}
	if complete && s.Genesis == "" && s.Operator == "" {
		if s.Service != "" && s.Stack == "" {
			add("stack", "is missing: service %q belongs to a stack", s.Service)
		}
		if s.Stack != "" && s.Service == "" {
			add("service", "is missing: stack %q is set; a host has neither stack nor service", s.Stack)
		}
	}
	return out
}

func checkCAURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("must be https://<host>[:<port>], got %q", s)
	case (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("must be https://<host>[:<port>] and nothing more, got %q", s)
	}
	return nil
}

// ParseFingerprint returns the SHA-256 of a root certificate as 64 lower-case hex digits, from the forms
// people paste: upper case, colons between the bytes.
func ParseFingerprint(s string) (string, error) {
	f := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(s), ":", ""))
	if b, err := hex.DecodeString(f); err != nil || len(b) != 32 {
		return "", fmt.Errorf("must be 64 hex digits, got %q", s)
	}
	return f, nil
}
