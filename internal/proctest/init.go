// SPDX-License-Identifier: AGPL-3.0-or-later

package proctest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Init prepares argv to run as process 1 of new PID and mount namespaces with a
// /proc of their own. The caller sets environment and files and starts it; the
// command and all its descendants are killed when the test ends, or the test
// binary dies. Signals go to cmd.Process as with any other child.
//
// Without root the test is skipped.
func Init(t testing.TB, argv ...string) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a PID namespace needs root")
	}
	cmd := exec.Command(self(), append([]string{initArg}, argv...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	t.Cleanup(func() {
		if cmd.Process != nil {
			cmd.Process.Kill() // process 1: the kernel kills the namespace with it
			awaitDeath(cmd.Process.Pid)
		}
	})
	return cmd
}

// awaitDeath returns when the process is gone or a zombie, which process 1 becomes
// only after all others of its namespace. To reap it is its starter's, with
// cmd.Wait, which two must not call at once.
func awaitDeath(pid int) {
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || isZombie(string(stat)) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// isZombie reads proc_pid_stat(5). While other threads of a process are about to end, its first one is a zombie
// already, and the namespace still lives.
func isZombie(stat string) bool {
	const threads = 20 - 3 // num_threads is field 20, what follows the name begins with field 3
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	return len(fields) > threads && fields[0] == "Z" && fields[threads] == "1"
}

// becomeInit is the first act inside the namespaces: mount /proc, unseen from
// outside, and turn into the command, which so is process 1.
func becomeInit(argv []string) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("executing %s: %w", strings.Join(argv, " "), syscall.Exec(path, argv, os.Environ()))
}
