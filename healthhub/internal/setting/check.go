// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// CheckSettings reports keys that are missing for the kind, or mean nothing to it.
func (c *Check) CheckSettings(report func(key, message string)) {
	if c.Kind == "" {
		report("kind", "is missing: must be http, tcp, unix, exec, process, file or push")
		return
	}
	for _, key := range c.keys() {
		if key.set && !slices.Contains(key.kinds, c.Kind) {
			report(key.name, fmt.Sprintf("means nothing for kind %s, only for %s", c.Kind, strings.Join(key.kinds, " and ")))
		}
		if !key.set && key.needed && slices.Contains(key.kinds, c.Kind) {
			report(key.name, "is missing: kind "+c.Kind+" needs it")
		}
	}
	c.checkHTTP(report)
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
	if c.MinSize != nil && c.MaxSize != nil && *c.MinSize > *c.MaxSize {
		report("max_size", "is below min_size: nothing could pass")
	}
}

type keyUse struct {
	name   string
	set    bool
	needed bool
	kinds  []string
}

func (c *Check) keys() []keyUse {
	one := func(kinds ...string) []string { return kinds }
	return []keyUse{
		{"url", c.URL != "", true, one(KindHTTP)},
		{"status", c.Status != "", false, one(KindHTTP)},
		{"body", c.Body != "", false, one(KindHTTP)},
		{"verify", c.Verify != nil, false, one(KindHTTP)},
		{"server_name", c.ServerName != "", false, one(KindHTTP)},
		{"ca", c.CA != "", false, one(KindHTTP)},
		{"address", c.Address != "", true, one(KindTCP)},
		{"path", c.Path != "", true, one(KindUnix, KindFile)},
		{"command", len(c.Command) > 0, true, one(KindExec)},
		{"convention", c.Convention != "", false, one(KindExec)},
		{"max_age", c.MaxAge != 0, false, one(KindFile)},
		{"min_size", c.MinSize != nil, false, one(KindFile)},
		{"ttl", c.TTL != 0, false, one(KindPush)},
		{"max_size", c.MaxSize != nil, false, one(KindFile)},
	}
}

func (c *Check) checkHTTP(report func(key, message string)) {
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			report("url", fmt.Sprintf("must be http://host[:port]/… or https://…, got %q", c.URL))
		}
	}
	if _, err := ParseStatuses(c.Status); err != nil {
		report("status", err.Error())
	}
	if _, err := regexp.Compile(c.Body); err != nil {
		report("body", err.Error())
	}
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
