// SPDX-License-Identifier: AGPL-3.0-or-later

package lint

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// Limits from which on cost is worth a word.
const (
	muchCPU     = 0.01 // of one processor, for one check
	muchStarted = 1.0  // processes a second
	muchTime    = 0.5  // of the timeout
	shortLook   = 0.25 // seconds
)

// judge finds what is likely wrong, check by check and with all of them.
func judge(c Container, looks []Look) (found []Finding) {
	for i := range looks {
		l := &looks[i]
		s := c.Checks[l.Check]
		add := func(level, action, format string, args ...any) {
			found = append(found, Finding{l.Check, level, health.CleanText(fmt.Sprintf(format, args...)), action})
		}
		if s.Kind == setting.KindPush {
			continue
		}
		outcome(l, s, add)
		times(l, s, add)
		wrongReason(l, s, add)
		outside(c, s, add)
	}
	return append(found, together(c, looks)...)
}

type adder func(level, action, format string, args ...any)

// outcome tells of looks that saw nothing, or trouble.
func outcome(l *Look, s setting.Check, add adder) {
	switch r := l.result; {
	case r.Unsupported:
		add(Warning, "leave the check out here, or give the container what it needs", "says nothing here: %s", r.Text)
	case r.Blind && s.Kind == setting.KindExec:
		add(Error, cmp.Or(r.Action, "correct the check's command"), "cannot be run: %s", r.Text)
	case r.Blind:
		add(Warning, cmp.Or(r.Action, "see what keeps it from looking"), "sees nothing: %s", r.Text)
	case r.State == health.Fail:
		add(Warning, cmp.Or(r.Action, "see the service"), "fails now: %s", r.Text)
	}
}

// times tells of what takes long, or much.
func times(l *Look, s setting.Check, add adder) {
	if s.Timeout > s.Interval {
		add(Warning, "make timeout at most interval", "timeout %s is above interval %s: one look that hangs takes the time of several, and trouble shows late",
			setting.Words(s.Timeout), setting.Words(s.Interval))
	}
	if part := l.Took / s.Timeout.Seconds(); part > muchTime && l.result.State != health.Fail {
		add(Warning, "make timeout several times what a look takes, or the look quicker", "took %.2g s of the %s that it may: it will fail on a busy machine", l.Took, setting.Words(s.Timeout))
	}
	round := s.Interval.Seconds() + l.Took
	if use := l.CPU / round; use > muchCPU {
		add(Warning, "look less often, or in a cheaper way: http, tcp and unix start nothing", "costs %.0f %% of a processor: %.0f ms every %s", 100*use, 1000*l.CPU, setting.Words(s.Interval))
	}
	// In a long look too much else starts to be sure.
	if rate := float64(l.Started) / round; rate > muchStarted && l.Took < shortLook {
		add(Warning, "look less often, or without a shell", "starts %d processes every %s", l.Started, setting.Words(s.Interval))
	}
}

// pluginOutput is how plugins begin their output, or end it: with what they measured.
var pluginOutput = regexp.MustCompile(`(^|: )[A-Z_0-9 ]*\b(OK|WARNING|CRITICAL|UNKNOWN)\b|\| *\S+=[0-9.]`)

// swallows is how shell commands end that pass whatever happens.
var swallows = regexp.MustCompile(`(\|\| *(true|:)|; *(true|:|exit 0)) *$`)

// wrongReason tells of checks that pass, or fail, for a reason that says little of the thing.
func wrongReason(l *Look, s setting.Check, add adder) {
	switch s.Kind {
	case setting.KindHTTP:
		if code := measured(l, "status"); l.State == health.Pass && code >= 300 && code < 400 && s.Status == "" {
			add(Warning, "give the URL that it leads to, or \"status\": \"200\"", "passes by a redirection (%d), which is not followed: what is behind it may be gone", code)
		}
	case setting.KindExec:
		if s.Convention != setting.ConventionNagios && isPlugin(s.Command[0], l.Text) {
			add(Warning, "\"convention\": \"nagios\"", "looks like a Nagios plugin: its exit code 1 is a warning, and fails here")
		}
		if swallows.MatchString(s.Command[len(s.Command)-1]) {
			add(Error, "leave out what swallows the exit code", "passes whatever happens: %s", s.Command[len(s.Command)-1])
		}
	case setting.KindFile:
		if s.MaxAge == 0 && s.MinAge == 0 && s.MinSize == nil && s.MaxSize == nil && !s.Absent {
			add(Warning, "give max_age, or min_size", "passes as long as the file is there, however old or empty it is")
		}
	}
	if s.Verify != nil && !*s.Verify {
		add(Warning, "say whom to trust with ca", "trusts any certificate (\"verify\": false)")
	}
}

func isPlugin(program, said string) bool {
	return strings.HasPrefix(path.Base(program), "check_") || strings.Contains(program, "/nagios/") || strings.Contains(program, "/monitoring-plugins/") ||
		pluginOutput.MatchString(said)
}

func measured(l *Look, name string) int {
	for _, v := range l.result.Values {
		if v.Name == name {
			return int(v.Value)
		}
	}
	return 0
}

// outside tells of checks that make others' trouble this container's.
func outside(c Container, s setting.Check, add adder) {
	host := target(s)
	if host == "" || c.local(host) {
		return
	}
	switch {
	case s.Class == setting.ClassLive && s.Criticality != setting.Info:
		add(Error, "\"class\": \"ready\": a restart of this container mends nothing elsewhere", "looks at %s, and says that this container is dead when that is (class live)", host)
	case s.Criticality == setting.Critical:
		add(Warning, "\"criticality\": \"degrading\", unless nothing works without it", "looks at %s, and makes this container fail when that does (critical)", host)
	}
}

// target is the host that a check depends on; "": none that is known.
func target(s setting.Check) string {
	if s.Path != "" {
		return ""
	}
	switch s.Kind {
	case setting.KindHTTP:
		if u, err := url.Parse(s.URL); err == nil {
			return u.Hostname()
		}
	case setting.KindTCP, setting.KindPostgres, setting.KindRedis, setting.KindCert:
		if host, _, err := net.SplitHostPort(address(s)); err == nil {
			return host
		}
	case setting.KindDNS:
		return cmp.Or(s.Server, "its name servers")
	}
	return ""
}

// address is that of a check, or what its kind takes without one.
func address(s setting.Check) string {
	if usual := map[string]string{setting.KindPostgres: setting.PostgresAddress, setting.KindRedis: setting.RedisAddress}[s.Kind]; s.Address == "" {
		return usual
	}
	return s.Address
}

func (c *Container) local(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) || slices.Contains(c.Own, host)
}

// together tells of what the checks are as a whole.
func together(c Container, looks []Look) (found []Finding) {
	add := func(level, action, format string, args ...any) {
		found = append(found, Finding{"", level, fmt.Sprintf(format, args...), action})
	}
	if len(c.Checks) == 0 {
		add(Error, "give one in health.checks: docs/checks.md has examples", "no check looks at this container: it passes as long as healthhub runs")
		return found
	}
	critical, ports := false, false
	covered := map[uint16]bool{}
	worst, now := 0.0, 0.0
	for _, l := range looks {
		s := c.Checks[l.Check]
		critical = critical || s.Criticality == setting.Critical
		ports = ports || s.Kind == setting.KindPorts
		if host := target(s); host != "" && c.local(host) {
			covered[targetPort(s)] = true
		}
		if s.Kind != setting.KindPush {
			worst += s.Timeout.Seconds() / (s.Interval + s.Timeout).Seconds()
			now += l.Took / (s.Interval.Seconds() + l.Took)
		}
	}
	if !critical {
		add(Warning, "\"criticality\": \"critical\" for the one without which the service is of no use", "no check is critical: whatever happens, this container only warns")
	}
	for _, port := range c.Ports {
		if !covered[port] && !ports {
			add(Warning, fmt.Sprintf("a check of kind http or tcp at 127.0.0.1:%d, or one of kind ports for all of them", port), "the service listens on port %d, and no check looks at it", port)
		}
	}
	const much = "longer intervals, shorter timeouts, or fewer checks"
	switch {
	case now > monitor.Concurrency/2:
		add(Error, much, "looks take %.1f of the %d places that there are at one time: they will be late", now, monitor.Concurrency)
	case worst > monitor.Concurrency:
		add(Warning, much, "if everything hangs, looks take %.1f of the %d places that there are at one time: trouble shows late then", worst, monitor.Concurrency)
	}
	return found
}

// targetPort is the TCP port that a check looks at; 0: none.
func targetPort(s setting.Check) uint16 {
	text := ""
	switch s.Kind {
	case setting.KindHTTP:
		u, err := url.Parse(s.URL)
		if err != nil {
			return 0
		}
		if text = u.Port(); text == "" {
			text = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
	case setting.KindTCP, setting.KindPostgres, setting.KindRedis, setting.KindCert:
		_, text, _ = net.SplitHostPort(address(s)) // without an address there is no port
	}
	port, _ := strconv.ParseUint(text, 10, 16) // 0: none
	return uint16(port)
}
