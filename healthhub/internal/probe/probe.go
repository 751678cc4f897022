// SPDX-License-Identifier: AGPL-3.0-or-later

// Package probe takes one look at one thing and says what it saw. Kinds:
//
//	http     a GET or HEAD of a URL, by TCP or a Unix socket: the status, and what headers and body must match
//	tcp      a connection to host:port, and a TLS handshake if wanted
//	unix     a connection to a stream socket
//	cert     a certificate in a file or of a server: the part of its lifetime that is left, its chain, its name
//	postgres the start of a session with PostgreSQL, up to where it wants a password
//	redis    a PING of Redis, without a password
//	dns      a name that resolves, as programs do it or by asking one server, and to what
//	exec     a command's exit code, by the convention of Docker, of Nagios plugins with what they measure, or plainly
//	process  the container's service as hubinit sees it (init.json), and its process
//	ports    the TCP ports on which the service listened at some time
//	file     a file's existence, age and size, or those of the newest file that matches a glob
//	log      errors that the container wrote lately, as loghub counts them (log.json)
//	disk     how full a file system is
//	inode    how many files it can still take
//	memory   a container's or a host's memory, and what was killed for want of it
//	pressure how much time is lost waiting for processor, memory or storage
//	clock    whether something keeps the wall clock right, and whether it jumped
//
//	scheduler    whether looks are taken in time
//	temperature  the machine's sensors
//	readonly     disks that take no more writes
//
// push checks have no look: somebody else reports (package monitor).
//
// A look ends with its context, whatever the thing looked at does: all processes that a command started are killed and
// waited for. It never panics and leaves nothing behind. Texts are one line of at most 4 KiB.
//
// Left out: when to look, and what several looks together mean (monitor).
package probe

import (
	"context"
	"fmt"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

// Result is what one look saw.
type Result struct {
	State health.State // pass, warn, fail or unknown
	Text  string       // what was seen, for people
	Blind bool         // the look itself could not be taken (State is unknown): it says nothing about the thing

	Action string // what to do about it, for people; "" where all is well, or nothing is known to help

	// Unsupported says that this cannot be looked at here, now and for good (State is unknown, Blind is true): no pressure files, no
	// memory cgroup. Text says what is missing.
	Unsupported bool
	Values      []health.Value // what was measured, within the limits of health.Node
}

// Func takes one look. It ends soon after ctx does.
type Func func(ctx context.Context) Result

func pass(format string, args ...any) Result { return result(health.Pass, format, args...) }
func fail(format string, args ...any) Result { return result(health.Fail, format, args...) }

// blind is the result of a look that could not be taken.
func blind(format string, args ...any) Result {
	r := result(health.Unknown, format, args...)
	r.Blind = true
	return r
}

// advise says what to do about what was seen.
func (r Result) advise(format string, args ...any) Result {
	r.Action = health.CleanText(fmt.Sprintf(format, args...))
	return r
}

func result(s health.State, format string, args ...any) Result {
	return Result{State: s, Text: health.CleanText(fmt.Sprintf(format, args...))}
}

// Place is where looks are taken.
type Place struct {
	RunDir string          // of init.json: where the service is
	Root   string          // where the file system begins that files and the machine are looked at in; "" is /
	Files  *identity.Files // of this container, for what it shows to servers and whom it trusts; nil: it has none
}

// New makes the look that a check describes; for kind push it is nil. The rules of its settings are checked
// already. Files that they name are read by the looks.
func New(s setting.Check, place Place) (Func, error) {
	switch s.Kind {
	case setting.KindHTTP:
		return httpLook(s, place.Files)
	case setting.KindTCP:
		return tcpLook(s, place.Files), nil
	case setting.KindUnix:
		return dial("unix", s.Path, nil), nil
	case setting.KindDNS:
		return dnsLook(s)
	case setting.KindPostgres:
		return postgresLook(s, place.Files), nil
	case setting.KindRedis:
		return redisLook(s, place.Files), nil
	case setting.KindCert:
		return certLook(s, place.Files)
	case setting.KindExec:
		return execLook(s, place.RunDir), nil
	case setting.KindProcess:
		return newProcess(place.RunDir, tree(place.Root)).look, nil
	case setting.KindPorts:
		return Ports(place.RunDir), nil
	case setting.KindFile:
		return fileLook(s, tree(place.Root)), nil
	case setting.KindLog:
		return logLook(s, place.RunDir), nil
	case setting.KindDisk:
		return diskLook(s, tree(place.Root))
	case setting.KindInode:
		return inodeLook(s, tree(place.Root))
	case setting.KindMemory:
		return memoryLook(s, tree(place.Root))
	case setting.KindPressure:
		return pressureLook(s, tree(place.Root))
	case setting.KindClock:
		return newClock(s).look, nil
	case setting.KindScheduler:
		return schedulerLook(s)
	case setting.KindTemperature:
		return temperatureLook(s, tree(place.Root))
	case setting.KindReadonly:
		return readonlyLook(s, tree(place.Root)), nil
	}
	return nil, nil
}

// took gives a duration with the digits that matter.
func took(since time.Time) string {
	d := time.Since(since)
	if d < time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
