// SPDX-License-Identifier: AGPL-3.0-or-later

package proctest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	os.Exit(Main(m, map[string]Program{"named": func(args []string) int {
		fmt.Println("named", args)
		return 5
	}}))
}

// run gives a command's stdout and exit code; minus the signal when one killed it.
func run(t *testing.T, cmd *exec.Cmd) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	if err == nil {
		return out.String(), 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return out.String(), exit.ExitCode()
}

func TestSteps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for _, test := range []struct {
		name  string
		steps []string
		out   string
		code  int
	}{
		{"prints and exits", []string{"print=one", "print=two=2", "exit=3"}, "one\ntwo=2\n", 3},
		{"ends with 0", []string{"print=x"}, "x\n", 0},
		{"killed", []string{"kill=TERM", "print=not reached"}, "", -1},
		{"killed by number", []string{"trap=USR1:7", "kill=10"}, "", -1}, // a signal to itself is not trapped
		{"unknown step", []string{"dance"}, "", 99},
		{"file", []string{"append=" + file + ":a:b"}, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			argv := Argv(test.steps...)
			out, code := run(t, exec.Command(argv[0], argv[1:]...))
			if diff := cmp.Diff(fmt.Sprint(test.out, test.code), fmt.Sprint(out, code)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "a:b\n" {
		t.Errorf("appended %q, %v", data, err)
	}
}

func TestNamedProgram(t *testing.T) {
	dir := t.TempDir()
	Link(t, dir, "named")
	out, code := run(t, exec.Command(filepath.Join(dir, "named"), "run", "fast"))
	if diff := cmp.Diff("named [run fast]\n5", fmt.Sprint(out, code)); diff != "" {
		t.Error(diff)
	}
}

func TestInit(t *testing.T) {
	out, code := run(t, Init(t, "/bin/sh", "-c", "echo pid $$; ls -d /proc/[0-9]* | wc -l; exit 4"))
	if !strings.HasPrefix(out, "pid 1\n") || code != 4 {
		t.Errorf("process 1: %q, code %d", out, code)
	}
	if strings.TrimSpace(out[len("pid 1\n"):]) > "4" { // sh, ls, wc
		t.Errorf("/proc shows processes from outside: %q", out)
	}
}

// TestInitKillsAll: a daemon inside must not outlive process 1.
func TestInitKillsAll(t *testing.T) {
	file := filepath.Join(t.TempDir(), "alive")
	cmd := Init(t, Argv("daemon=append="+file+":up;sleep=3s;append="+file+":still there", "wait")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if data, _ := os.ReadFile(file); len(data) > 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the daemon did not start")
		}
	}
	cmd.Process.Kill()
	cmd.Wait() // returns when the namespace is empty
	entries, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, e := range entries {
		if data, _ := os.ReadFile(e); bytes.Contains(data, []byte(file)) {
			t.Errorf("%s lives on: %q", e, data)
		}
	}
}
