// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

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

// Missing says which of the flags that a command cannot do without were not given, or are empty; nil when all were. It is used in place of
// the library's Required, which prints the help of the command over the error.
func Missing(c *cli.Context, flags ...string) error {
	var problems []error
	for _, name := range flags {
		if !c.IsSet(name) || c.String(name) == "" {
			problems = append(problems, fmt.Errorf("--%s is missing", name))
		}
	}
	return Usage(errors.Join(problems...))
}

// saidError marks an error that is in the log already.
type saidError struct{ error }

func (e saidError) Unwrap() error { return e.error }

// ErrSaid ends the program with exit code 1 and prints nothing: the output of the command says what is wrong.
var ErrSaid = error(saidError{errors.New("failed")})

// wrongUsage reports whether the same command line and settings will end in the same error.
func wrongUsage(err error) bool {
	return errors.As(err, new(usageError)) || errors.As(err, new(hubfile.Problems))
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
