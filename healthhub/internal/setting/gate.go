// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// Wait is one thing that must be there before the service starts.
type Wait struct {
	// Kind is KindHTTP, KindTCP, KindUnix, KindFile, WaitDNS or WaitCheck.
	Kind string
	// Target is what the kind needs: a URL, host:port, an absolute path, a host's name, a check's name.
	Target string
}

// What only a Wait can be.
const (
	WaitDNS   = "dns"
	WaitCheck = "check"
)

// ParseWait reads an item of wait_for.
func ParseWait(s string) (Wait, error) {
	if name, ok := strings.CutPrefix(s, "check:"); ok && name != "" {
		return Wait{WaitCheck, name}, nil
	}
	if name, ok := strings.CutPrefix(s, "dns:"); ok && name != "" && !strings.ContainsAny(name, "/: ") {
		return Wait{WaitDNS, name}, nil
	}
	scheme, rest, _ := strings.Cut(s, "://")
	switch scheme {
	case "http", "https":
		if u, err := url.Parse(s); err == nil && u.Hostname() != "" {
			return Wait{KindHTTP, s}, nil
		}
	case "tcp":
		if host, port, err := net.SplitHostPort(rest); err == nil && host != "" && validPort(port) {
			return Wait{KindTCP, rest}, nil
		}
	case KindUnix, KindFile:
		if filepath.IsAbs(rest) {
			return Wait{scheme, rest}, nil
		}
	}
	return Wait{}, fmt.Errorf("must be tcp://host:port, http://host/…, https://host/…, unix:///socket, file:///path, dns:name or check:<name>, got %q", Shown(s))
}

// Shown is an item of wait_for, or a URL, as others may see it: without the parts of a URL in which passwords and tokens stand.
func Shown(s string) string {
	const hidden = "hidden"
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme != "http" && scheme != "https" {
		return s
	}
	u, err := url.Parse(s)
	if err != nil { // a password that is not escaped, as likely as not
		rest, _, _ = strings.Cut(rest, "?")
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			rest = hidden + rest[i:]
		}
		return scheme + "://" + rest
	}
	if u.User != nil {
		u.User = url.User(hidden)
	}
	if u.RawQuery != "" {
		u.RawQuery = hidden
	}
	return u.String()
}

func (s *Settings) checkWaitFor(report func(key, message string)) {
	for i, item := range s.WaitFor {
		w, err := ParseWait(item)
		if err == nil && w.Kind == WaitCheck {
			switch check, ok := s.Checks[w.Target]; {
			case !ok:
				err = fmt.Errorf("there is no check %q", w.Target)
			case check.Kind == KindProcess:
				err = fmt.Errorf("check %q looks at the service itself, which would wait for its own start", w.Target)
			}
		}
		if err != nil {
			report(fmt.Sprintf("wait_for[%d]", i), err.Error())
		}
	}
}

// Restart is when the service is restarted in its container, through hubinit: a check of class live (not info) failed for
// After, nobody holds the service or settles, and there were fewer than Max such restarts within Per.
type Restart struct {
	After time.Duration `json:"after" default:"0s" min:"0s" max:"1h" doc:"how long a check of class live must fail before the service is restarted in its container, at least 5s; 0s: never"`
	Max   int           `json:"max" default:"3" min:"1" max:"100" doc:"restarts within per; from then on the container is left as it is, failing, until per has gone by"`
	Per   time.Duration `json:"per" default:"1h" min:"1m" max:"168h" doc:"the time that max is for"`
}

func (s *Settings) checkRestart(report func(key, message string)) {
	if s.Restart.After == 0 {
		return
	}
	if s.Restart.After < 5*time.Second {
		report("restart.after", fmt.Sprintf("must be 0s (never) or at least 5s, got %s", s.Restart.After))
	}
	for _, c := range s.Checks {
		if c.Class == ClassLive && c.Criticality != Info {
			return
		}
	}
	report("restart.after", "no check is of class live: give the one whose failure a restart mends \"class\": \"live\", or declare the push check watchdog so where the service notifies")
}

// JobCheck is the name of the check that tells how the job ended last.
const JobCheck = "job"

func (s *Settings) checkJob(report func(key, message string)) {
	if c, ok := s.Checks[JobCheck]; ok && s.Job.Every > 0 && c.Kind != KindPush {
		report("checks."+JobCheck, "is the check that tells how health.job ended: declare it with kind push, for its criticality, or name this one otherwise")
	}
}

// Job says that the service of this container is to do its work and end: how it ended counts until the next time.
type Job struct {
	Every time.Duration `json:"every" default:"0s" min:"0s" max:"8760h" doc:"how often the job runs, 24h for a daily one; 0s: the service is no job"`
	Grace time.Duration `json:"grace" default:"10m" min:"0s" max:"168h" doc:"how much later than that its end may be before it is overdue; the longest a run takes, with some air"`
}
