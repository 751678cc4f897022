// SPDX-License-Identifier: AGPL-3.0-or-later

// Package probe takes one look at one thing and says what it saw. Kinds:
//
//	http     a GET of a URL: the status, and what the body must contain
//	tcp      a connection to host:port
//	unix     a connection to a stream socket
//	exec     a command's exit code, by the convention of Docker, of Nagios plugins, or plainly
//	process  the container's service as hubinit sees it (init.json), and its process
//	file     a file's existence, age and size
//
// push checks have no look: somebody else reports (package monitor).
//
// A look ends with its context, whatever the thing looked at does: a command's whole process group is killed and
// waited for. It never panics and leaves nothing behind. Texts are one line of at most 4 KiB.
//
// Left out: when to look, and what several looks together mean (monitor).
package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// Result is what one look saw.
type Result struct {
	State health.State // pass, warn, fail or unknown
	Text  string       // what was seen, for people
	Blind bool         // the look itself could not be taken (State is unknown): it says nothing about the thing
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

func result(s health.State, format string, args ...any) Result {
	return Result{State: s, Text: health.CleanText(fmt.Sprintf(format, args...))}
}

// Place is where looks are taken.
type Place struct {
	RunDir string // of init.json, for kind process
}

// New makes the look that a check describes; for kind push it is nil. The rules of its settings are checked
// already; what is read here are files that they name.
func New(s setting.Check, place Place) (Func, error) {
	switch s.Kind {
	case setting.KindHTTP:
		return httpLook(s)
	case setting.KindTCP:
		return dial("tcp", s.Address), nil
	case setting.KindUnix:
		return dial("unix", s.Path), nil
	case setting.KindExec:
		return execLook(s), nil
	case setting.KindProcess:
		return Process(place.RunDir), nil
	case setting.KindFile:
		return fileLook(s), nil
	}
	return nil, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the roots for a check: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading the roots for a check: %s holds no certificate", path)
	}
	return pool, nil
}

// took gives a duration with the digits that matter.
func took(since time.Time) string {
	d := time.Since(since)
	if d < time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
