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
	WaitFor  []string         `json:"wait_for" max:"16" doc:"what must be there before the service starts, each as tcp://host:port, http://… or https://… (status 200-399), unix:///socket, file:///path, dns:name or check:<name of a check>; HUB_START_DEADLINE bounds the wait"`
	Restart  Restart          `json:"restart" doc:"restarting the service in its container when it hangs"`
	Job      Job              `json:"job" doc:"for a container whose service does its work and ends, once or whenever something starts it"`

	Expect     string           `json:"expect" doc:"serve: the file of what should be there, as healthhub manifest makes it, or the root of the configuration tree; read again when it changes; empty: whoever has reported is expected to go on"`
	HostChecks map[string]Check `json:"host_checks" max:"100" doc:"serve: checks of the machine it runs on, by name, over those that a machine has without settings: memory, pressure, temperature, clock, readonly, scheduler, disk and inode"`
	HostRoot   string           `json:"host_root" doc:"serve: where the machine's file system is mounted when serve runs in a container, such as /host; empty: /"`

	Groups  map[string]Group `json:"groups" max:"100" doc:"serve: containers of which a number is enough, by name; of this host, or at the fleet of several"`
	Classes map[string]Class `json:"classes" max:"100" doc:"serve, at the fleet: hosts of which some may be down, by name"`

	Notify  map[string]Notify `json:"notify" max:"20" doc:"serve: who is told what is wrong and when it is over, by name; see docs/notify.md"`
	Deadman Deadman           `json:"deadman" doc:"serve: who is told that it is alive"`
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

// What becomes of a push check that nobody reports on in time.
const (
	ExpireFail    = "fail"
	ExpireUnknown = "unknown"
	ExpireRemove  = "remove"
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

	KindPorts     = "ports"
	KindLog       = "log"
	KindDisk      = "disk"
	KindInode     = "inode"
	KindMemory    = "memory"
	KindPressure  = "pressure"
	KindClock     = "clock"
	KindScheduler = "scheduler"

	KindTemperature = "temperature"
	KindReadonly    = "readonly"

	KindCert     = "cert"
	KindPostgres = "postgres"
	KindRedis    = "redis"
	KindDNS      = "dns"
)

// What the greetings of databases do where the settings do not say.
const (
	PostgresAddress = "127.0.0.1:5432"
	PostgresUser    = "postgres" // and the database
	RedisAddress    = "127.0.0.1:6379"
)

// The words that Check.CA knows besides the path of a file.
const (
	CASystem = "system" // the roots of the operating system
	CAFleet  = "fleet"  // the roots of this fleet, which came with the identity
)

// The conventions of kind exec.
const (
	ConventionPlain  = "plain"
	ConventionDocker = "docker"
	ConventionNagios = "nagios"
)

// Check is one check: how to look, how often, and what several looks together mean.
type Check struct {
	Kind        string `json:"kind" enum:"http|tcp|unix|cert|postgres|redis|dns|exec|process|ports|file|log|disk|inode|memory|pressure|clock|scheduler|temperature|readonly|push" doc:"how to look"`
	Class       string `json:"class" default:"ready" enum:"live|ready|started" doc:"what failing means: live: a restart would help; ready: no requests now; started: not up yet, and not looked at again after its first pass"`
	Criticality string `json:"criticality" default:"degrading" enum:"critical|degrading|info" doc:"what failing does to the container: critical: it fails; degrading: it warns; info: nothing"`

	Interval      time.Duration `json:"interval" default:"10s" min:"1s" max:"1h" doc:"from the end of a look to the next one"`
	Timeout       time.Duration `json:"timeout" default:"5s" min:"10ms" max:"5m" doc:"how long a look may take"`
	Fall          int           `json:"fall" default:"3" min:"1" max:"20" doc:"looks in a row that must be worse before the state is"`
	Rise          int           `json:"rise" default:"2" min:"1" max:"20" doc:"looks in a row that must be better before the state is; the first pass of all counts at once"`
	StartDeadline time.Duration `json:"start_deadline" default:"120s" min:"0s" max:"24h" doc:"from the start of the service to its first pass; until then failing is starting"`
	StartInterval time.Duration `json:"start_interval" default:"2s" min:"100ms" max:"1h" doc:"from the end of a look to the next one until the first pass, where interval is not shorter"`
	TTL           time.Duration `json:"ttl" min:"1s" max:"720h" doc:"push: how long a report counts, default 5m; after it, and if none comes at all, the check is what on_expire says"`
	OnExpire      string        `json:"on_expire" enum:"unknown|fail|remove" doc:"push: what silence for longer than ttl means; fail (default): what reports is dead; unknown: nobody knows; remove: the check is over, and is there again with its next report"`
	DependsOn     []string      `json:"depends_on" max:"16" doc:"checks that explain this one's failure when they fail themselves"`

	URL     string            `json:"url" doc:"http: what to ask for, http:// or https://"`
	Method  string            `json:"method" enum:"GET|HEAD" doc:"http: default GET"`
	Headers map[string]string `json:"headers" max:"32" doc:"http: headers to send, by name"`
	Status  string            `json:"status" doc:"http: statuses that pass, such as 200-399 or 200,204; default 200-399"`
	Header  map[string]string `json:"header" max:"32" doc:"http: headers that the answer must have: name to regular expression"`
	Body    string            `json:"body" doc:"http: regular expression the first 64 KiB of the body must match"`

	TLS        bool   `json:"tls" doc:"tcp, postgres, redis: speak TLS"`
	Identity   bool   `json:"identity" doc:"https, TLS and cert: show this container's certificate to the server, and trust the fleet's roots where ca says nothing else"`
	Verify     *bool  `json:"verify" doc:"https, TLS and cert: check the certificate; default true"`
	ServerName string `json:"server_name" doc:"https, TLS and cert: the name the certificate must be for, where it is not the host of url or address"`
	CA         string `json:"ca" doc:"https, TLS and cert: whose roots to trust: system (default), fleet (default of cert), or a PEM file"`

	User string `json:"user" doc:"postgres: as whom a session is begun, without a password; default postgres. Where no password is wanted the server logs one that it does not know"`

	Name    string   `json:"name" doc:"dns: what to resolve"`
	Type    string   `json:"type" enum:"A|AAAA" doc:"dns: default any of the two"`
	Server  string   `json:"server" doc:"dns: whom to ask, ip or ip:port; default as programs here do, with hosts file and resolv.conf"`
	Answers []string `json:"answers" max:"64" doc:"dns: addresses and networks (10.0.0.0/8) that the answers must be in; default any"`

	Address string `json:"address" doc:"tcp, cert, postgres, redis: host:port; default 127.0.0.1:5432 for postgres, 127.0.0.1:6379 for redis"`
	Path    string `json:"path" doc:"unix: the socket; http: a socket to ask at, instead of the host of url; cert: a PEM file, the leaf first; postgres, redis: a socket, instead of address; file: the file, or a glob (with **) of which the newest match counts; disk, inode: any path on the file system, default /; readonly: what must be writable, default every disk in use"`

	Command    []string `json:"command" doc:"exec: program and arguments; no shell is involved"`
	Convention string   `json:"convention" enum:"plain|docker|nagios" doc:"exec: what exit codes mean; plain (default): 0 pass, else fail; docker: the same, and what cannot be started fails too; nagios: 0 pass, 1 warn, 2 fail, else unknown"`

	MaxAge  time.Duration  `json:"max_age" min:"1s" doc:"file: oldest it may be"`
	MinSize *hubfile.Bytes `json:"min_size" doc:"file: smallest it may be"`
	MaxSize *hubfile.Bytes `json:"max_size" doc:"file: largest it may be"`
	MinAge  time.Duration  `json:"min_age" min:"1s" doc:"file: youngest it may be: what was written since is trouble"`
	Absent  bool           `json:"absent" doc:"file: it must not be there"`

	Warn   string        `json:"warn" doc:"from where on it warns; see fail"`
	Fail   string        `json:"fail" doc:"from where on it fails; disk, memory: used (\"95%\"), left (\"2GB\") or both; inode: \"95%\", \"10000\" left; pressure: part of the time (\"30%\"); temperature: \"95C\"; scheduler: late by (\"60s\"); cert: less of its lifetime left than (\"10%\")"`
	Window time.Duration `json:"window" min:"10s" max:"24h" doc:"log: how far back errors count, default 5m; pressure: the average taken, 10s, 60s (default) or 300s; memory, clock, scheduler: how long OOM kills, jumps and late looks are told, default 10m"`
	Scope  string        `json:"scope" enum:"container|host" doc:"memory, pressure: whose; default container"`

	Severity string `json:"severity" enum:"warn|error|fatal" doc:"log: least severity that counts, default error"`
	Max      *int   `json:"max" min:"0" max:"1000000" doc:"log: events of it within window that still pass, default 10"`

	Resource string        `json:"resource" enum:"cpu|memory|io" doc:"pressure: what is waited for; default all three"`
	Stall    string        `json:"stall" enum:"some|full" doc:"pressure: time in which some or all processes wait; default some for cpu, full for memory and io"`
	MaxJump  time.Duration `json:"max_jump" min:"100ms" max:"1h" doc:"clock: farthest it may be set from one look to the next, default 2s"`
}

// DefaultTTL is how long a report of a push check counts where nobody says.
const DefaultTTL = 5 * time.Minute

// DefaultCheck has the values that a check has without settings, as the tags of Check give them.
func DefaultCheck(kind string) Check {
	return Check{
		Kind: kind, Class: ClassReady, Criticality: Degrading, Interval: 10 * time.Second, Timeout: 5 * time.Second,
		Fall: 3, Rise: 2, StartDeadline: 2 * time.Minute, StartInterval: 2 * time.Second,
	}
}

// CheckSettings reports names that cannot be, and dependencies that lead nowhere or in a circle.
func (s *Settings) CheckSettings(report func(key, message string)) {
	s.checkServe(report)
	s.checkNotify(report)
	s.checkWaitFor(report)
	s.checkRestart(report)
	s.checkJob(report)
	if s.ReportTo != "" {
		if u, err := url.Parse(s.ReportTo); err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
			report("report_to", fmt.Sprintf("must be https://<host>[:port], got %q", Shown(s.ReportTo)))
		}
	}
	for name := range s.Groups {
		if err := health.CheckName(health.KindGroup, name); err != nil {
			report("groups."+name, err.Error())
		}
	}
	for name, check := range s.Checks {
		if err := health.CheckName(health.KindCheck, name); err != nil {
			report("checks."+name, err.Error())
		} else if strings.HasPrefix(name, rollup.HubPrefix) {
			report("checks."+name, "names under hub/ belong to the hubs")
		} else if strings.HasPrefix(name, rollup.RuntimePrefix) {
			report("checks."+name, "names under runtime/ belong to what the runtime knows")
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
