// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"
)

// timeFormat is RFC 3339 with milliseconds; times are in UTC, so it ends in Z.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// Logger returns the program's own log: one JSON object a line with level, program, time and message. When w is a
// terminal it is text for people, coloured unless NO_COLOR (https://no-color.org) is set or TERM is dumb.
// The level is info; ask for more with Logger(…).Level.
func Logger(program string, w io.Writer) zerolog.Logger {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		w = zerolog.ConsoleWriter{
			Out:          w,
			NoColor:      os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb",
			TimeFormat:   "15:04:05.000",
			TimeLocation: time.Local,
			PartsExclude: []string{"program"},
		}
	}
	// zerolog's own timestamp has its format in a package variable, which is not ours to change.
	stamp := zerolog.HookFunc(func(e *zerolog.Event, _ zerolog.Level, _ string) {
		e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(timeFormat))
	})
	return zerolog.New(w).Level(zerolog.InfoLevel).Hook(stamp).With().Str("program", program).Logger()
}
