// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"errors"
	"strings"

	"cloud4.internal/hub/internal/hubfile"
)

// Exit codes of every program but hubinit, whose own are the service's.
const (
	ExitDone   = 0 // what was asked for is done, or the program was told to stop
	ExitFailed = 1 // it went wrong and may go right another time
	ExitUsage  = 2 // command line or settings are wrong: the same again ends the same
)

// usageError marks an error as one of usage or settings.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Usage makes err end the program with exit code 2. A hubfile.Problems does so without it. Usage(nil) is nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return usageError{err}
}

// saidError marks an error that is in the log already.
type saidError struct{ error }

func (e saidError) Unwrap() error { return e.error }

// ErrSaid ends the program with exit code 1 and prints nothing: the output of the command says what is wrong.
var ErrSaid = error(saidError{errors.New("failed")})

// wrongUsage reports whether the same command line and settings will end in the same error.
func wrongUsage(err error) bool {
	// The library's error of a required flag that is missing has no exported type, and does not go through OnUsageError.
	return errors.As(err, new(usageError)) || errors.As(err, new(hubfile.Problems)) || strings.HasPrefix(err.Error(), "Required flag")
}

// lines splits an error into what is printed a line each.
func lines(err error) []string {
	var problems hubfile.Problems
	if !errors.As(err, &problems) {
		return []string{err.Error()}
	}
	out := make([]string, len(problems))
	for i, problem := range problems {
		out[i] = problem.String()
	}
	return out
}
