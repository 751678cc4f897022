// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/proctest"
)

// The test binary is the program too, when this variable says so: signals, prctl and exit codes need a real process.
const childVariable = "DAEMON_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Unsetenv(childVariable)
		os.Exit(Main(testApp()))
	}
	os.Exit(m.Run())
}

// child prepares the test's program as a process.
func child(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// TestSignals starts a service, ends it with each signal, and reads the signal's name in its log.
func TestSignals(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			cmd := child(t, "--config", configFile(t, "{}"), "run")
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stderr)
			if !lines.Scan() || !strings.Contains(lines.Text(), "started") {
				t.Fatalf("first line: %q %v", lines.Text(), lines.Err())
			}
			var started struct{ Dumpable *int }
			if err := json.Unmarshal(lines.Bytes(), &started); err != nil || started.Dumpable == nil || *started.Dumpable != 0 {
				t.Errorf("the service is not hardened: %s %v", lines.Text(), err)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			var last string
			for lines.Scan() {
				last = lines.Text()
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("ended with %v, want 0", err)
			}
			var entry struct{ Message, Cause string }
			if err := json.Unmarshal([]byte(last), &entry); err != nil {
				t.Fatalf("%v in %q", err, last)
			}
			if entry.Message != "stopped" || !strings.Contains(entry.Cause, signal.String()) {
				t.Errorf("last line %q does not name %v", last, signal)
			}
		})
	}
}

// TestReaderGone: when whoever read its log went away, a service goes on, and ends when it is told to.
func TestReaderGone(t *testing.T) {
	cmd := child(t, "--config", configFile(t, "{}"), "run")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if lines := bufio.NewScanner(stderr); !lines.Scan() {
		t.Fatal(lines.Err())
	}
	if err := errors.Join(stderr.Close(), cmd.Process.Signal(syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil { // its last line had nowhere to go
		t.Errorf("ended with %v, want 0", err)
	}
}

// TestCrash: exit code 2 is a verdict on settings and final; a service that crashes is to be started again.
func TestCrash(t *testing.T) {
	cmd := child(t, "panicking")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT {
		t.Errorf("ended with %v, want SIGABRT", err)
	}
	if !strings.Contains(stderr.String(), "panic: a defect") {
		t.Errorf("says nothing of the panic: %.300s", &stderr)
	}
	if status.CoreDump() {
		t.Error("left a core, which holds secrets")
	}
}

func TestExitCodeOfProcess(t *testing.T) {
	for command, want := range map[string]int{"done": 0, "failing": 1, "wrong": 2} {
		cmd := child(t, command)
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
			t.Errorf("%s ended with %v, want %d", command, err, want)
		}
	}
}

func TestLogger(t *testing.T) {
	t.Run("json", func(t *testing.T) {
		var out bytes.Buffer
		log := Logger("prog", &out)
		log.Debug().Msg("not at this level")
		log.Warn().Str("path", "/x").Msg("it is full")
		var got map[string]string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, &out)
		}
		at, err := time.Parse("2006-01-02T15:04:05.000Z", got["time"])
		if err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("time %q: %v", got["time"], err)
		}
		delete(got, "time")
		if diff := cmp.Diff(map[string]string{"level": "warn", "program": "prog", "path": "/x", "message": "it is full"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	for name, test := range map[string]struct {
		noColor, term string
		coloured      bool
	}{
		"coloured":      {"", "xterm", true},
		"NO_COLOR":      {"1", "xterm", false},
		"dumb terminal": {"", "dumb", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NO_COLOR", test.noColor)
			t.Setenv("TERM", test.term)
			master, slave := proctest.Terminal(t)
			log := Logger("prog", slave)
			log.Warn().Str("path", "/x").Msg("it is full")
			line, err := bufio.NewReader(io.LimitReader(master, 4096)).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(line, "{") || !strings.Contains(line, "WRN") || !strings.Contains(line, "it is full") {
				t.Errorf("not a line for people: %q", line)
			}
			if got := strings.Contains(line, "\x1b["); got != test.coloured {
				t.Errorf("coloured is %v, want %v: %q", got, test.coloured, line)
			}
		})
	}
}
