// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// CheckSettings reports keys that are missing for the kind, or mean nothing to it.
func (c *Check) CheckSettings(report func(key, message string)) {
	if c.Kind == "" {
		report("kind", "is missing: it says how to look")
		return
	}
	keys := slices.Concat(c.keys(), c.machineKeys())
	for i, key := range keys {
		takers, first := takers(keys, key.name)
		if key.set && i == first && !slices.Contains(takers, c.Kind) {
			report(key.name, fmt.Sprintf("means nothing for kind %s, only for %s", c.Kind, strings.Join(takers, " and ")))
		}
		if !key.set && key.needed && slices.Contains(key.kinds, c.Kind) {
			report(key.name, "is missing: kind "+c.Kind+" needs it")
		}
	}
	c.checkHTTP(report)
	c.checkLevels(report)
	c.checkFile(report)
	c.checkTLS(report)
	c.checkCert(report)
	c.checkGreeting(report)
	c.checkDNS(report)
	if c.Address != "" {
		if _, port, err := net.SplitHostPort(c.Address); err != nil || !validPort(port) {
			report("address", fmt.Sprintf("must be host:port, got %q", c.Address))
		}
	}
	if c.Path != "" && !filepath.IsAbs(c.Path) {
		report("path", fmt.Sprintf("must be absolute, got %q", c.Path))
	}
	if len(c.Command) > 0 && c.Command[0] == "" {
		report("command", "names no program")
	}
}

// keyUse says which kinds have a key. Where some need it and others may have it, there are two of one name.
type keyUse struct {
	name   string
	set    bool
	needed bool
	kinds  []string
}

// takers gives the kinds that may have a key, and the index of the first keyUse of that name.
func takers(keys []keyUse, name string) (kinds []string, first int) {
	for _, key := range keys {
		if key.name == name {
			kinds = append(kinds, key.kinds...)
		}
	}
	return kinds, slices.IndexFunc(keys, func(key keyUse) bool { return key.name == name })
}

func (c *Check) keys() []keyUse {
	one := func(kinds ...string) []string { return kinds }
	return []keyUse{
		{"url", c.URL != "", true, one(KindHTTP)},
		{"method", c.Method != "", false, one(KindHTTP)},
		{"headers", len(c.Headers) > 0, false, one(KindHTTP)},
		{"status", c.Status != "", false, one(KindHTTP)},
		{"header", len(c.Header) > 0, false, one(KindHTTP)},
		{"body", c.Body != "", false, one(KindHTTP)},
		{"tls", c.TLS, false, one(KindTCP, KindPostgres, KindRedis)},
		{"identity", c.Identity, false, one(KindHTTP, KindTCP, KindCert, KindPostgres, KindRedis)},
		{"verify", c.Verify != nil, false, one(KindHTTP, KindTCP, KindCert, KindPostgres, KindRedis)},
		{"server_name", c.ServerName != "", false, one(KindHTTP, KindTCP, KindCert, KindPostgres, KindRedis)},
		{"ca", c.CA != "", false, one(KindHTTP, KindTCP, KindCert, KindPostgres, KindRedis)},
		{"address", c.Address != "", true, one(KindTCP)},
		{"address", c.Address != "", false, one(KindCert, KindPostgres, KindRedis)},
		{"path", c.Path != "", true, one(KindUnix, KindFile)},
		{"path", c.Path != "", false, one(KindHTTP, KindCert, KindPostgres, KindRedis)},
		{"name", c.Name != "", true, one(KindDNS)},
		{"type", c.Type != "", false, one(KindDNS)},
		{"server", c.Server != "", false, one(KindDNS)},
		{"answers", len(c.Answers) > 0, false, one(KindDNS)},
		{"user", c.User != "", false, one(KindPostgres)},
		{"warn", c.Warn != "", false, one(KindCert)},
		{"fail", c.Fail != "", false, one(KindCert)},
		{"command", len(c.Command) > 0, true, one(KindExec)},
		{"convention", c.Convention != "", false, one(KindExec)},
		{"max_age", c.MaxAge != 0, false, one(KindFile)},
		{"min_size", c.MinSize != nil, false, one(KindFile)},
		{"ttl", c.TTL != 0, false, one(KindPush)},
		{"on_expire", c.OnExpire != "", false, one(KindPush)},
		{"max_size", c.MaxSize != nil, false, one(KindFile)},
	}
}

func (c *Check) checkHTTP(report func(key, message string)) {
	if c.URL != "" {
		u, err := url.Parse(c.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Port() != "" && !validPort(u.Port()) {
			report("url", fmt.Sprintf("must be http://host[:port]/… or https://…, got %q", Shown(c.URL)))
		} else if strings.ContainsFunc(u.Host, func(r rune) bool { return r > unicode.MaxASCII }) {
			report("url", fmt.Sprintf("must have its host in letters of ASCII (xn--…), got %q", u.Host))
		}
	}
	if _, err := ParseStatuses(c.Status); err != nil {
		report("status", err.Error())
	}
	if _, err := regexp.Compile(c.Body); err != nil {
		report("body", err.Error())
	}
	if c.Body != "" && c.Method == "HEAD" {
		report("body", "nothing matches it: the answer to HEAD has no body")
	}
	for name, value := range c.Headers {
		key := "headers." + name
		switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
		case !isToken(name):
			report(key, "is no name of a header")
		case slices.Contains([]string{"Connection", "Content-Length", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}, canonical):
			report(key, "belongs to the connection, which healthhub makes")
		case strings.ContainsFunc(value, unicode.IsControl):
			report(key, "must not contain control characters")
		}
	}
	for name, pattern := range c.Header {
		if !isToken(name) {
			report("header."+name, "is no name of a header")
		} else if _, err := regexp.Compile(pattern); err != nil {
			report("header."+name, err.Error())
		}
	}
}

// isToken reports whether s can be the name of a header (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && strings.Trim(s, alphanumeric+"-!#$%&'*+.^_`|~") == ""
}

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// checkTLS reports what is said about TLS where there is none.
func (c *Check) checkTLS(report func(key, message string)) {
	if c.CA != "" && c.CA != CASystem && c.CA != CAFleet && !filepath.IsAbs(c.CA) {
		report("ca", fmt.Sprintf("must be system, fleet or an absolute path, got %q", c.CA))
	}
	if c.CA != "" && c.Verify != nil && !*c.Verify {
		report("ca", "means nothing with verify: false")
	}
	without := ""
	switch {
	case c.Kind == KindHTTP && strings.HasPrefix(c.URL, "http://"):
		without = "means nothing without https"
	case slices.Contains([]string{KindTCP, KindPostgres, KindRedis}, c.Kind) && !c.TLS:
		without = "means nothing without tls: true"
	case c.Kind == KindCert && c.Path != "" && c.Identity:
		report("identity", "means nothing for a file, only for a server at an address")
	}
	if without == "" {
		return
	}
	for key, set := range map[string]bool{"ca": c.CA != "", "verify": c.Verify != nil, "server_name": c.ServerName != "", "identity": c.Identity} {
		if set {
			report(key, without)
		}
	}
}

func (c *Check) checkCert(report func(key, message string)) {
	if c.Kind != KindCert {
		return
	}
	if (c.Address == "") == (c.Path == "") {
		report("kind", "cert needs one of address and path")
	}
	warn, err1 := CertLevel(c.Warn, CertWarn)
	fail, err2 := CertLevel(c.Fail, CertFail)
	switch {
	case err1 != nil:
		report("warn", err1.Error())
	case err2 != nil:
		report("fail", err2.Error())
	case warn < fail:
		report("fail", fmt.Sprintf("%.0f%% comes before warn %.0f%%: it would never warn", 100*fail, 100*warn))
	}
}

// The parts of a certificate's lifetime that must be left where the settings do not say. What is renewed at half or at two
// thirds of it, as our identities and by ACME, is overdue when but a quarter is left, be it of a day or of three months.
const (
	CertWarn = 0.25
	CertFail = 0.10
)

// CertLevel reads warn or fail of kind cert, "25%"; "" is the usual.
func CertLevel(text string, usual float64) (float64, error) {
	if text == "" {
		return usual, nil
	}
	return parsePart(text)
}

// checkGreeting reports places that cannot be, for the kinds that greet a server.
func (c *Check) checkGreeting(report func(key, message string)) {
	if c.Kind != KindPostgres && c.Kind != KindRedis {
		return
	}
	if c.Address != "" && c.Path != "" {
		report("path", "goes without address: the server is looked at in one place")
	}
	if c.Path != "" && c.TLS {
		report("tls", "means nothing for a socket: both ends are in this container")
	}
	if strings.ContainsRune(c.User, 0) {
		report("user", "must not contain a zero character")
	}
}

func (c *Check) checkDNS(report func(key, message string)) {
	if c.Kind != KindDNS {
		return
	}
	if c.Name != "" && !isDNSName(c.Name) {
		report("name", fmt.Sprintf("must be a name such as db.shop.test, in letters of ASCII, got %.100q", c.Name))
	}
	if _, err := ParseServer(c.Server); c.Server != "" && err != nil {
		report("server", err.Error())
	}
	if _, err := ParseAnswers(c.Answers); err != nil {
		report("answers", err.Error())
	}
}

// isDNSName reports whether names of hosts and services are written like that (RFC 1035 §2.3; RFC 2782 has the underscore).
func isDNSName(s string) bool {
	if len(s) > maxDNSName {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > maxDNSLabel || strings.Trim(label, alphanumeric+"-_") != "" {
			return false
		}
	}
	return true
}

const maxDNSName, maxDNSLabel = 253, 63

// ParseServer reads the address of a name server, with the usual port where it has none.
func ParseServer(s string) (string, error) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(ip, 53).String(), nil
	}
	if at, err := netip.ParseAddrPort(s); err == nil && at.Port() > 0 {
		return at.String(), nil
	}
	return "", fmt.Errorf("must be ip or ip:port, got %q", s)
}

// ParseAnswers reads addresses and networks.
func ParseAnswers(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
			out = append(out, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("must be addresses or networks such as 10.0.0.1 or 10.0.0.0/8, got %q", s)
		}
		out = append(out, p)
	}
	return out, nil
}

func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// Statuses is a range of HTTP statuses, both ends included.
type Statuses struct{ From, To int }

// ParseStatuses reads "200", "200-399", "200,204,300-399"; "" is 200-399.
func ParseStatuses(s string) ([]Statuses, error) {
	if s == "" {
		return []Statuses{{200, 399}}, nil
	}
	var out []Statuses
	for item := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(item), "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || from < 100 || to > 599 || from > to {
			return nil, fmt.Errorf("must be statuses such as 200, 200-399 or 200,204, got %q", s)
		}
		out = append(out, Statuses{from, to})
	}
	return out, nil
}
