// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// serves says in a new run directory that the service is the process; change may say otherwise.
func serves(t testing.TB, pid int) (dir string, set func(initctl.ServiceState)) {
	t.Helper()
	dir = t.TempDir()
	set = func(s initctl.ServiceState) {
		t.Helper()
		if err := (&initctl.State{Service: s}).Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	set(initctl.ServiceState{State: initctl.ServiceRunning, PID: pid, Restarts: 2})
	return dir, set
}

func TestProcess(t *testing.T) {
	if got := Process(t.TempDir())(t.Context()); !got.Blind {
		t.Errorf("without init.json: %+v", got)
	}
	child := exec.Command("sleep", "300")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	dir, set := serves(t, child.Process.Pid)
	look := func() Result {
		r := Process(dir)(t.Context())
		acceptable(t, r)
		return r
	}
	r := look()
	expect(t, r, health.Pass, "runs since 0001-01-01T00:00:00Z, restarted 2 times")
	if v := measured(t, r, "restarts").Value; v != 2 {
		t.Errorf("%v restarts", v)
	}
	if v := measured(t, r, "rss").Value; v < 10e3 || v > 1e9 {
		t.Errorf("rss %v", v)
	}
	if v := measured(t, r, "open_files").Value; v < 3 || v > 1000 {
		t.Errorf("%v open files", v)
	}
	signal := func(s syscall.Signal, state string) {
		t.Helper()
		if err := child.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		waitFor(t, 5*time.Second, func() bool {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.Process.Pid))
			return err == nil && strings.Contains(string(stat), state)
		})
	}
	signal(syscall.SIGSTOP, ") T ")
	expect(t, look(), health.Fail, "is stopped, by a signal")
	signal(syscall.SIGCONT, ") S ")
	expect(t, look(), health.Pass, "")
	signal(syscall.SIGKILL, ") Z ")
	expect(t, look(), health.Fail, "zombie")
	child.Wait()
	expect(t, look(), health.Fail, "is gone")
	set(initctl.ServiceState{State: initctl.ServiceExited, LastExit: &initctl.Exit{Code: 137, OOM: true}})
	expect(t, look(), health.Fail, "exited with code 137: out of memory")
	set(initctl.ServiceState{State: initctl.ServiceWaiting, Waiting: "confighub"})
	expect(t, look(), health.Fail, "waits for confighub")
}

// Another user's open files are left out, and not 0.
func TestProcessOfAnother(t *testing.T) {
	if pid := os.Getenv("TEST_ANOTHER"); pid != "" {
		n, _ := strconv.Atoi(pid)
		dir, _ := serves(t, n)
		r := Process(dir)(t.Context())
		expect(t, r, health.Pass, "runs since")
		measured(t, r, "rss")
		if slices.ContainsFunc(r.Values, func(v health.Value) bool { return v.Name == "open_files" }) {
			t.Errorf("%+v", r.Values)
		}
		return
	}
	another := os.Getpid()
	if os.Getuid() != 0 {
		another = 1 // root's, wherever this is
	}
	asOther(t, "TestProcessOfAnother", fmt.Sprintf("TEST_ANOTHER=%d", another))
}

func procFiles(state string, cpu int) files {
	return files{
		"/proc/9/stat":   fmt.Sprintf("9 (a ) b) %s 1 9 9 0 -1 4194560 1 0 0 0 %d 5 0 0 20 0 7 0 1 1000000 250 18446744073709551615\n", state, cpu),
		"/proc/9/limits": "Limit                     Soft Limit           Hard Limit           Units\nMax open files            20                   524288               files\n",
	}
}

func TestProcessWaitsForStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, _ := serves(t, 9)
		root := procFiles("D", 1).plant(t)
		p := newProcess(dir, tree(root))
		after := func(d time.Duration, state string, cpu int) Result {
			time.Sleep(d)
			procFiles(state, cpu).add(t, root)
			return p.look(t.Context())
		}
		expect(t, after(0, "D", 1), health.Pass, "runs since")
		expect(t, after(20*time.Second, "D", 1), health.Pass, "")
		expect(t, after(20*time.Second, "D", 2), health.Pass, "") // it worked in between
		expect(t, after(29*time.Second, "D", 2), health.Pass, "")
		expect(t, after(10*time.Second, "D", 2), health.Fail, "process 9 waits for storage since 39s")
		expect(t, after(10*time.Second, "S", 2), health.Pass, "")
		expect(t, after(10*time.Second, "D", 2), health.Pass, "")
		expect(t, after(10*time.Second, "t", 2), health.Fail, "a debugger")
	})
}

func TestProcessOpensTooMany(t *testing.T) {
	child := exec.Command("sh", "-c", "ulimit -n 10; exec 3</dev/null 4</dev/null 5</dev/null 6</dev/null 7</dev/null 8</dev/null; echo; read x")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	dir, _ := serves(t, child.Process.Pid)
	r := Process(dir)(t.Context())
	expect(t, r, health.Warn, " files open of 10 that it may")
	if v := measured(t, r, "open_files"); v.Value < 9 || v.Value > 20 || *v.Warn != 9 || r.Action == "" {
		t.Errorf("%+v", r)
	}
	in.Close()
	child.Wait()
}

func BenchmarkProcess(b *testing.B) {
	dir, _ := serves(b, os.Getpid())
	look := Process(dir)
	b.ReportAllocs()
	for b.Loop() {
		look(b.Context())
	}
}
