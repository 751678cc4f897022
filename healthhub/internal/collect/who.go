// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"fmt"
	"strings"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

// Refusal is why something was not taken, and the HTTP status that says so.
type Refusal struct {
	Status int
	Why    string
}

func (r *Refusal) Error() string { return r.Why }

// name is what a sender's node must be called.
func name(id spiffe.ID) string {
	if id.Role == spiffe.Host {
		return id.Host
	}
	if id.Instance != "" {
		return id.BundleName() + "/" + id.Instance
	}
	return id.BundleName()
}

// may judges whether the sender may report here at all, and what it says of whom.
func (c *Collector) may(from spiffe.ID, r *report.Report) error {
	refuse := func(format string, args ...any) error { return &Refusal{403, fmt.Sprintf(format, args...)} }
	if err := c.maySpeak(from); err != nil {
		return err
	}
	if r.Node.Kind != c.kind || r.Node.Name != name(from) {
		return refuse("%s speaks for %s %s alone, not for %s %s", from, c.kind, name(from), r.Node.Kind, r.Node.Name)
	}
	for i := range r.Node.Children {
		child := &r.Node.Children[i]
		switch {
		case c.kind == health.KindContainer && !isCheck(child):
			return refuse("%s is made of checks, not of %s %s with %d parts", from, child.Kind, child.Name, len(child.Children))
		case c.kind == health.KindHost && !partOfHost(child, from.Host):
			return refuse("%s speaks for its own containers alone, not for %s %s", from, child.Kind, child.Name)
		}
	}
	return nil
}

// isCheck reports whether a part is a check, which has no parts: whatever stood below it would be seen under names
// that nobody judged.
func isCheck(n *health.Node) bool { return n.Kind == health.KindCheck && len(n.Children) == 0 }

// partOfHost reports whether a host may speak of a part: its own checks and groups, and its containers, which are made
// of checks.
func partOfHost(n *health.Node, host string) bool {
	switch n.Kind {
	case health.KindCheck, health.KindGroup:
		return len(n.Children) == 0
	case health.KindContainer:
		for i := range n.Children {
			if !isCheck(&n.Children[i]) {
				return false
			}
		}
		return of(n.Name, host)
	}
	return false
}

// maySpeak judges who reports, whatever it says.
func (c *Collector) maySpeak(from spiffe.ID) *Refusal {
	refuse := func(format string, args ...any) *Refusal { return &Refusal{403, fmt.Sprintf(format, args...)} }
	switch {
	case from.TrustDomain != c.Self.TrustDomain:
		return refuse("%s is not of the trust domain %s", from, c.Self.TrustDomain)
	case c.kind == health.KindContainer && from.Role != spiffe.Container:
		return refuse("%s is no container: only containers report to a host", from)
	case c.kind == health.KindContainer && from.Host != c.Self.Host:
		return refuse("%s is a container of host %s; this is host %s", from, from.Host, c.Self.Host)
	case c.kind == health.KindHost && from.Role != spiffe.Host:
		return refuse("%s is no docker host: only hosts report to the fleet", from)
	}
	return nil
}

// of reports whether the container of that name ("web.shop.vm1", "web.shop.vm1/2") is one of the host.
func of(container, host string) bool {
	service, _, _ := strings.Cut(container, "/")
	return strings.HasSuffix(service, "."+host)
}
