// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStdinKinds: whatever a shell or a supervisor puts there.
func TestStdinKinds(t *testing.T) {
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	name := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	file := must(os.Open(name))
	defer file.Close()
	fds := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	socket := os.NewFile(uintptr(fds[0]), "socket")
	defer socket.Close()
	go func() {
		other := os.NewFile(uintptr(fds[1]), "other")
		defer other.Close()
		_, _ = other.WriteString(text.String())
	}()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	null := must(os.Open(os.DevNull))
	defer null.Close()
	tests := []struct {
		name  string
		stdin *os.File
		out   string
		code  int
		said  string
	}{
		{"file", file, text.String(), 0, ""},
		{"socket", socket, text.String(), 0, ""},
		{"null", null, "", 0, "nothing to do"},
		{"terminal", terminal, "", 2, "stdin is a terminal"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Args = []string{"loghub", "run"}
			cmd.Env = []string{"LOGHUB_TEST_MAIN=1", "HUB_RUN_DIR=" + dir, "HUB_STATE_DIR=" + dir, "HUB_CONFIG=" + filepath.Join(dir, "hub.json")}
			var out, log bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = tt.stdin, &out, &log
			_ = cmd.Run()
			if cmd.ProcessState.ExitCode() != tt.code || out.String() != tt.out || !strings.Contains(log.String(), tt.said) {
				t.Errorf("exit %d, %d bytes, said %s", cmd.ProcessState.ExitCode(), out.Len(), &log)
			}
		})
	}
}
