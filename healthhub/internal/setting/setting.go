// SPDX-License-Identifier: AGPL-3.0-or-later

// Package setting is the section "health" of the settings: what healthhub checks in its container, and to
// whom it reports. It holds shapes, defaults and rules; hubfile reads it.
//
// Left out: what the values make happen (probe, monitor, report).
package setting

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
)

// Name is the section's.
const Name = "health"

// Settings is the section.
type Settings struct {
	ReportTo string           `json:"report_to" doc:"the healthhub this container reports to, https://<host>.internal:8444; empty: to nobody"`
	Checks   map[string]Check `json:"checks" max:"200" doc:"the checks, by name; without any, the service's process and the ports it listens on are watched"`
}

// The values of Check.Class and Check.Criticality.
const (
	ClassLive    = "live"
	ClassReady   = "ready"
	ClassStarted = "started"

	Critical  = "critical"
	Degrading = "degrading"
	Info      = "info"
)

// The kinds of checks.
const (
	KindHTTP    = "http"
	KindTCP     = "tcp"
	KindUnix    = "unix"
	KindExec    = "exec"
	KindProcess = "process"
	KindFile    = "file"
	KindPush    = "push"
)

// The conventions of kind exec.
const (
	ConventionPlain  = "plain"
	ConventionDocker = "docker"
	ConventionNagios = "nagios"
)

// Check is one check: how to look, how often, and what several looks together mean.
type Check struct {
	Kind        string `json:"kind" enum:"http|tcp|unix|exec|process|file|push" doc:"how to look"`
	Class       string `json:"class" default:"ready" enum:"live|ready|started" doc:"what failing means: live: a restart would help; ready: no requests now; started: not up yet, and not looked at again after its first pass"`
	Criticality string `json:"criticality" default:"degrading" enum:"critical|degrading|info" doc:"what failing does to the container: critical: it fails; degrading: it warns; info: nothing"`

	Interval      time.Duration `json:"interval" default:"10s" min:"1s" max:"1h" doc:"from the end of a look to the next one"`
	Timeout       time.Duration `json:"timeout" default:"5s" min:"10ms" max:"5m" doc:"how long a look may take"`
	Fall          int           `json:"fall" default:"3" min:"1" max:"20" doc:"looks in a row that must be worse before the state is"`
	Rise          int           `json:"rise" default:"2" min:"1" max:"20" doc:"looks in a row that must be better before the state is; the first pass of all counts at once"`
	StartDeadline time.Duration `json:"start_deadline" default:"120s" min:"0s" max:"24h" doc:"from the start of the service to its first pass; until then failing is starting"`
	TTL           time.Duration `json:"ttl" min:"1s" max:"720h" doc:"push: how long a report counts, default 5m; after it, and if none comes at all, the check fails"`
	DependsOn     []string      `json:"depends_on" max:"16" doc:"checks that explain this one's failure when they fail themselves"`

	URL        string `json:"url" doc:"http: what to GET, http:// or https://"`
	Status     string `json:"status" doc:"http: statuses that pass, such as 200-399 or 200,204; default 200-399"`
	Body       string `json:"body" doc:"http: regular expression the first 64 KiB of the body must match"`
	Verify     *bool  `json:"verify" doc:"http: check the certificate of an https server; default true"`
	ServerName string `json:"server_name" doc:"http: the name an https server must prove, where it is not the URL's host"`
	CA         string `json:"ca" doc:"http: PEM file of the roots to trust, where they are not the system's"`

	Address string `json:"address" doc:"tcp: host:port"`
	Path    string `json:"path" doc:"unix: the socket; file: the file"`

	Command    []string `json:"command" doc:"exec: program and arguments; no shell is involved"`
	Convention string   `json:"convention" enum:"plain|docker|nagios" doc:"exec: what exit codes mean; plain (default): 0 pass, else fail; docker: the same, and what cannot be started fails too; nagios: 0 pass, 1 warn, 2 fail, else unknown"`

	MaxAge  time.Duration  `json:"max_age" min:"1s" doc:"file: oldest it may be"`
	MinSize *hubfile.Bytes `json:"min_size" doc:"file: smallest it may be"`
	MaxSize *hubfile.Bytes `json:"max_size" doc:"file: largest it may be"`
}

// DefaultTTL is how long a report of a push check counts where nobody says.
const DefaultTTL = 5 * time.Minute

// DefaultCheck has the values that a check has without settings, as the tags of Check give them.
func DefaultCheck(kind string) Check {
	return Check{
		Kind: kind, Class: ClassReady, Criticality: Degrading, Interval: 10 * time.Second, Timeout: 5 * time.Second,
		Fall: 3, Rise: 2, StartDeadline: 2 * time.Minute,
	}
}

// CheckSettings reports names that cannot be, and dependencies that lead nowhere or in a circle.
func (s *Settings) CheckSettings(report func(key, message string)) {
	if s.ReportTo != "" {
		if u, err := url.Parse(s.ReportTo); err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" {
			report("report_to", fmt.Sprintf("must be https://<host>[:port], got %q", s.ReportTo))
		}
	}
	for name, check := range s.Checks {
		if err := health.CheckName(health.KindCheck, name); err != nil {
			report("checks."+name, err.Error())
		} else if strings.HasPrefix(name, rollup.HubPrefix) {
			report("checks."+name, "names under hub/ belong to the hubs")
		}
		for _, parent := range check.DependsOn {
			if _, ok := s.Checks[parent]; !ok {
				report("checks."+name+".depends_on", fmt.Sprintf("there is no check %q", parent))
			}
		}
		if s.dependsOn(name, name, map[string]bool{}) {
			report("checks."+name+".depends_on", "leads back to the check itself")
		}
	}
}

// dependsOn reports whether from leads to target.
func (s *Settings) dependsOn(from, target string, seen map[string]bool) bool {
	return slices.ContainsFunc(s.Checks[from].DependsOn, func(parent string) bool {
		if parent == target {
			return true
		}
		if seen[parent] {
			return false
		}
		seen[parent] = true
		return s.dependsOn(parent, target, seen)
	})
}
