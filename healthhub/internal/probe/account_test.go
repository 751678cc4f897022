// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// serviceAs starts a service as a user, as hubinit would, and gives the run directory that says so.
func serviceAs(t *testing.T, c *syscall.Credential) (runDir string) {
	t.Helper()
	service := exec.Command("sleep", "300")
	service.SysProcAttr = &syscall.SysProcAttr{Credential: c}
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		service.Process.Kill()
		service.Wait()
	})
	runDir = t.TempDir()
	state := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, PID: service.Process.Pid}}
	if err := state.Write(runDir); err != nil {
		t.Fatal(err)
	}
	return runDir
}

// A command is what the service is, and has nothing of the hubs'.
func TestExecAsTheService(t *testing.T) {
	needRoot(t)
	for name, value := range map[string]string{
		"HUB_TOKEN": "secret1", "HUB_TOKEN_FILE": "secret2", "HUB_CTL_FD": "secret3", "HUB_LOG_FDS": "secret4", "HUB_NEXT_FD": "secret5",
		"HUB_SLOT": "7", "HOME": "/root",
	} {
		t.Setenv(name, value)
	}
	runDir := serviceAs(t, &syscall.Credential{Uid: 4711, Gid: 4712, Groups: []uint32{4713, 4714}})
	f, err := New(shell("id -u; id -g; id -G; echo slot $HUB_SLOT home $HOME; env | grep secret; ls -l /proc/self/fd | wc -l; readlink /proc/self/fd/0"), Place{RunDir: runDir})
	if err != nil {
		t.Fatal(err)
	}
	// Of ls there are three descriptors, the directory that it lists, and a line in front.
	expect(t, f(t.Context()), health.Pass, "4711 4712 4712 4713 4714 slot 7 home / 5 /dev/null")

	// A service that stopped is not forgotten: its checks do not become root.
	state := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceExited}}
	if err := state.Write(runDir); err != nil {
		t.Fatal(err)
	}
	expect(t, f(t.Context()), health.Pass, "4711 ")

	// One that is to run as somebody, and has not run yet, has nobody's rights to give.
	t.Setenv("HUB_USER", "4711")
	f, err = New(shell("id -u"), Place{RunDir: runDir})
	if err != nil {
		t.Fatal(err)
	}
	if got := f(t.Context()); !got.Blind || !strings.Contains(got.Text, "has not run yet") {
		t.Errorf("%+v", got)
	}
}

// Such a command is killed too, with what it started.
func TestExecAsTheServiceIsKilled(t *testing.T) {
	needRoot(t)
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	f, err := New(shell("(setsid sleep 300 &); sleep 300 & echo $! > $1; wait", filepath.Join(dir, "pid")), Place{RunDir: serviceAs(t, &syscall.Credential{Uid: 4711, Gid: 4712})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	expect(t, f(ctx), health.Fail, "took too long and was killed")
	gone(t, filepath.Join(dir, "pid"))
}

// Without the rights to become the service's user nothing is run: not as root.
func TestExecWithoutCapabilities(t *testing.T) {
	needRoot(t)
	runDir := serviceAs(t, &syscall.Credential{Uid: 4711, Gid: 4712})
	cmd := exec.Command("setpriv", "--bounding-set", "-kill", own(t, 0o755), "-test.run=^TestExecWithoutKill$", "-test.v")
	cmd.Env = append(os.Environ(), "PROBE_TEST_RUN_DIR="+runDir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestExecWithoutKill") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestExecWithoutKill(t *testing.T) {
	runDir := os.Getenv("PROBE_TEST_RUN_DIR")
	if runDir == "" {
		return // TestExecWithoutCapabilities runs it
	}
	f, err := New(shell("id -u"), Place{RunDir: runDir})
	if err != nil {
		t.Fatal(err)
	}
	if got := f(t.Context()); !got.Blind || !got.Unsupported || !strings.Contains(got.Action, "KILL") {
		t.Errorf("%+v", got)
	}
}

func TestParseCredential(t *testing.T) {
	got, err := parseCredential("Name:\tUid:\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&syscall.Credential{Uid: 1, Gid: 5, Groups: []uint32{9, 10}}, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "Uid:\t1\nGid:\t1\n", "Uid:\tx\nGid:\t1\nGroups:\n"} {
		if got, err := parseCredential(bad); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}
