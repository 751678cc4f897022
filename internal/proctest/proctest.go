// SPDX-License-Identifier: AGPL-3.0-or-later

// Package proctest is a test kit: real child processes without a second program.
//
// A test binary executes itself again. As a child it plays one of two parts:
//
//   - a script of steps, for a process that does something simple: Argv("print=hello",
//     "trap=TERM:7", "wait") prints a line and then waits for TERM, on which it
//     exits 7. The steps are listed at Steps.
//   - a program of the test's own, chosen by the name the binary is started under:
//     Link puts it into a directory as "loghub", and the test binary, started
//     under that name, calls the function of that name.
//
// Both need the package's TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(proctest.Main(m, map[string]proctest.Program{"loghub": fakeLoghub})) }
//
// Init runs a command as process 1 of a PID namespace of its own, with its own
// /proc; when the test or the command ends, the kernel kills all that is in it.
// That needs root.
package proctest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Program is a child's main: arguments without the program's name, exit code back.
type Program func(args []string) int

// Arguments that tell a child from the test binary itself.
const (
	stepsArg = "-proctest.steps"
	initArg  = "-proctest.init"
)

// Main runs the tests, or in a child its part; TestMain passes its result to
// os.Exit. programs may be nil.
func Main(m *testing.M, programs map[string]Program) int {
	if program, ok := programs[filepath.Base(os.Args[0])]; ok {
		return program(os.Args[1:])
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case stepsArg:
			return runSteps(os.Args[2:])
		case initArg:
			fmt.Fprintln(os.Stderr, "proctest:", becomeInit(os.Args[2:]))
			return 1
		}
	}
	return m.Run()
}

// Argv is the command line of a child that does the steps, one after another.
func Argv(steps ...string) []string {
	return append([]string{self(), stepsArg}, steps...)
}

// Link puts the test binary into dir under the given names.
func Link(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.Link(self(), path); err == nil {
			continue
		}
		data, err := os.ReadFile(self()) // another file system
		if err == nil {
			err = os.WriteFile(path, data, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// self is the test binary. It is a real path, not /proc/self/exe: a child of
// another process would find that one's program there.
func self() string {
	path, err := os.Executable()
	if err != nil {
		panic(err) // no /proc: no test of processes can run
	}
	return path
}
