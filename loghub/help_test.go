// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// The commands that people type say what they are for, with examples; the shell completes commands and flags.
func TestHelp(t *testing.T) {
	for _, name := range []string{"status", "doctor", "replay", "tail", "parse"} {
		var out, errs bytes.Buffer
		app := newApp()
		app.Writer, app.ErrWriter, app.ExitErrHandler = &out, &errs, nil
		if err := app.RunContext(context.Background(), []string{"loghub", name, "--help"}); err != nil || errs.Len() > 0 {
			t.Errorf("%s --help: %v %s", name, err, errs.String())
		}
		if !regexp.MustCompile(`(?m)^ {6}.*\bloghub ` + name + `\b`).MatchString(out.String()) {
			t.Errorf("%s --help has no example:\n%s", name, out.String())
		}
		for line := range strings.Lines(newApp().Command(name).Description) {
			if n := utf8.RuneCountInString(line); n > 150 {
				t.Errorf("%s --help: a line of %d characters: %s", name, n, line)
			}
		}
	}
	for args, want := range map[string]string{"": "tail", "tail --": "--where", "parse --": "--explain", "status --": "--watch", "doctor --": "--timeout", "replay --": "--list", "tail --fo": "--follow"} {
		out, _, code := command(t, "", nil, append(strings.Fields(args), "--generate-bash-completion")...)
		if !strings.Contains(out, want) || code != 0 {
			t.Errorf("%q is completed by %q, exit %d, want %s", args, out, code, want)
		}
	}
}
