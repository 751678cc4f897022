// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"cloud4.internal/hub/internal/daemon"
)

// Every command says what it is for with an example of its use, and stands in the manual, which is the package's comment.
func TestHelp(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	manual, _, _ := strings.Cut(string(source), "\npackage main")
	for _, command := range newApp(new(int)).Commands {
		if !regexp.MustCompile(`(?m)^//\thealthhub ` + command.Name + ` +\S`).MatchString(manual) {
			t.Errorf("%s is not in the comment of main.go", command.Name)
		}
		var out, errs bytes.Buffer
		app := newApp(new(int))
		app.Writer, app.ErrWriter = &out, &errs
		app.ExitErrHandler, app.OnUsageError = nil, nil
		if err := app.RunContext(context.Background(), []string{"healthhub", command.Name, "--help"}); err != nil || errs.Len() > 0 {
			t.Errorf("%s --help: %v %s", command.Name, err, errs.String())
		}
		if !regexp.MustCompile(`(?m)^ {6}.*\bhealthhub .*\b` + command.Name + `\b`).MatchString(out.String()) {
			t.Errorf("%s --help has no example:\n%s", command.Name, out.String())
		}
		for line := range strings.Lines(command.Description) {
			if n := utf8.RuneCountInString(line); n > 150 {
				t.Errorf("%s --help: a line of %d characters: %s", command.Name, n, line)
			}
		}
	}
	for line := range strings.Lines(manual) {
		if name := regexp.MustCompile(`^//\thealthhub (\S+)`).FindStringSubmatch(line); name != nil && newApp(new(int)).Command(name[1]) == nil {
			t.Errorf("main.go tells of a command %s, which there is not", name[1])
		}
	}
}

// Who types the name alone is shown what there is; that nothing was done shows in the exit code.
func TestNameAlone(t *testing.T) {
	code, out, errs := newMachine(t, "").call(t)
	if code != daemon.ExitUsage || !strings.Contains(out, "explain") || !strings.Contains(errs, "a command is missing") {
		t.Errorf("%d\n%s\n%s", code, out, errs)
	}
}

// The shell completes commands, flags, and names where healthhub knows them.
func TestCompletion(t *testing.T) {
	m := newMachine(t, `{"health": {"checks": {"backup": {"kind": "push"}}}}`)
	m.start(t, "run")
	waitFor(t, waitLimit, "healthhub answers", func() bool {
		_, out, _ := m.call(t, "status", "--generate-bash-completion")
		return strings.Contains(out, "backup\n")
	})
	for args, want := range map[string]string{
		"": "explain", "wait --": "--timeout", "history --f": "--follow", "mute ": "hub/health", "explain --json ": "backup", "serve --": "--listen",
	} {
		words := strings.Fields(args)
		if _, out, _ := m.call(t, append(words, "--generate-bash-completion")...); !strings.Contains(out, want) {
			t.Errorf("%q is completed by %q, want %s", args, out, want)
		}
	}
	if code, out, errs := newMachine(t, "").call(t, "status", "--generate-bash-completion"); code != 0 || out+errs != "" {
		t.Errorf("nobody there: %d %q %q", code, out, errs)
	}
}
