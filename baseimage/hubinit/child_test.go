// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/proctest"
)

// TestServiceEnvironment: container's + rendered + protocol's, without secrets.
func TestServiceEnvironment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub").setenv("KEPT=a\nb", "HUB_TOKEN=secret", "HUB_TOKEN_FILE=/secret", "HUB_TOKEN_2=secret",
		"HUB_LOG_STDOUT=raw", "HUB_READY_FD=77",
		"PLAY_CONFIGHUB=env:HUB_TOKEN;env:HUB_READY_FD;ready;wait", "PLAY_HEALTHHUB=env:HUB_TOKEN;env:HUB_LOG_FDS;env:HUB_STATE_DIR;ready;wait")
	w.start("sh", "-c", "until grep -q HUB_STATE_DIR $JOURNAL; do sleep 0.01; done; exec env -u PWD -0") // PWD is the shell's
	w.wantExit(0)
	got := map[string]string{}
	for kv := range strings.SplitSeq(strings.TrimSuffix(w.out.String(), "\x00"), "\x00") {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "PLAY_") && name != "GORACE" {
			got[name] = value
		}
	}
	want := map[string]string{
		"PATH": "/usr/local/bin:/usr/bin:/bin", "KEPT": "a\nb", "JOURNAL": w.path("journal"),
		"HUB_HUBS": "loghub,healthhub,confighub", "HUB_CONFIG": w.path("etc/hub.json"), "HUB_LOG_STDOUT": "raw",
		"HUB_RUN_DIR": w.run, "HUB_VAR_DIR": w.path("var"), "HUB_SLOT": "0", "HUB_STATE_DIR": w.path("var/0"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	journal := strings.Join(w.journal(), "\n")
	for _, line := range []string{"confighub HUB_TOKEN=secret", "confighub HUB_READY_FD=\n", "healthhub HUB_TOKEN=\n", "healthhub HUB_LOG_FDS=\n",
		"healthhub HUB_STATE_DIR=" + w.path("var/0")} {
		if !strings.Contains(journal+"\n", line) {
			t.Errorf("journal lacks %q:\n%s", line, journal)
		}
	}
}

// ignored is the line of /proc/self/status on ignored signals of a child of this test, "SigIgn:\t…". It is not
// always zero: GNU make has its children ignore the signals 32 and 33.
func ignored(t *testing.T) string {
	t.Helper()
	line, err := exec.Command("grep", "SigIgn", "/proc/self/status").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(line))
}

// TestServiceProcess: signal mask and dispositions, descriptors, limits, working
// directory, umask and name are as the container had them.
func TestServiceProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub")
	extra, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	script := `umask; pwd; ulimit -Sn; grep -E "^Sig(Blk|Ign)" /proc/self/status; ls /proc/$$/fd; cat /proc/self/oom_score_adj; cat /proc/$$/cmdline | tr '\0' ' '`
	argv := []string{"-c", `umask 027; ulimit -Sn 333; cd ` + w.path("etc") + `; exec "$@"`, "sh", w.path("bin/hubinit"), "sh", "-c", script, "argument zero"}
	w.cmd = proctest.Init(t, append([]string{"/bin/sh"}, argv...)...)
	w.cmd.ExtraFiles = []*os.File{extra}
	w.launch().wantExit(0)
	want := "0027\n" + w.path("etc") + "\n333\nSigBlk:\t0000000000000000\n" + ignored(t) + "\n0\n1\n2\n0\nsh -c " + script + " argument zero "
	if diff := cmp.Diff(want, w.out.String()); diff != "" {
		t.Error(diff)
	}
}

// TestHubProcess: a hub has a session of its own, is the kernel's preferred
// victim, and holds its own descriptors only.
func TestHubProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "loghub,healthhub,confighub").start("sleep", "100")
	s := w.waitRunning()
	w.waitFor("all hubs ready", func() bool { return w.hub(initctl.Loghub).Ready && w.hub(initctl.Healthhub).Ready })
	for name, fds := range map[string]int{initctl.Loghub: 3 + 2 + 1 + 3 + 1 + 2, initctl.Healthhub: 3 + 2, initctl.Confighub: 3 + 2 + 1} {
		outer := w.outside(s.Hubs[name].PID)
		proc := fmt.Sprintf("/proc/%d", outer)
		if score, _ := os.ReadFile(proc + "/oom_score_adj"); string(score) != "500\n" {
			t.Errorf("%s: oom_score_adj %q", name, score)
		}
		stat, _ := os.ReadFile(proc + "/stat")
		if p, ok := parseStat(string(stat)); !ok || p.session != outer {
			t.Errorf("%s: session %d, pid %d", name, p.session, outer)
		}
		// The ready pipe is closed just after its hub has said so.
		w.waitFor(fmt.Sprintf("%s to have %d descriptors", name, fds-1), func() bool {
			files, _ := filepath.Glob(proc + "/fd/*")
			open := 0
			for _, f := range files {
				if target, _ := os.Readlink(f); !strings.HasPrefix(target, "anon_inode:[event") && !strings.HasPrefix(target, "/sys/fs/cgroup/") { // those are the Go runtime's
					open++
				}
			}
			return open == fds-1
		})
		if environ, _ := os.ReadFile(proc + "/environ"); !strings.Contains(string(environ), "HUB_SLOT=0") {
			t.Errorf("%s: environment %q", name, environ)
		}
	}
	if score, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", w.cmd.Process.Pid)); string(score) != "0\n" {
		t.Errorf("hubinit: oom_score_adj %q", score)
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", w.cmd.Process.Pid)); cwd != "/" {
		t.Errorf("hubinit stands in %q", cwd)
	}
	w.signal(syscall.SIGTERM)
	w.wantExit(143)
}

// TestUser: HUB_USER by number and by name, with groups, and a stdout that the
// user may open anew.
func TestUser(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]string{
		"12345:54321": "12345 54321 54321\n",
		"12345":       "12345 0 0\n",
		"nobody":      "65534 65534 65534\n",
		"nobody:12":   "65534 12 12\n",
	} {
		t.Run(user, func(t *testing.T) {
			w := newWorld(t, "loghub").setenv("HUB_USER=" + user)
			w.start("sh", "-c", "echo $(id -u) $(id -g) $(id -G) >/dev/stdout")
			w.wantExit(0)
			if diff := cmp.Diff(want, w.out.String()); diff != "" {
				t.Error(diff, w.err)
			}
		})
	}
}

// TestUnprivileged: any uid, and nothing to write to: it is said on one line and
// the service runs.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	for _, writable := range []bool{true, false} {
		t.Run(fmt.Sprint(writable), func(t *testing.T) {
			w := newWorld(t, "loghub,confighub")
			for dir := w.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
				os.Chmod(dir, 0o755)
			}
			mode := os.FileMode(0o755)
			if writable {
				mode = 0o777 | os.ModeSticky
			}
			os.Chmod(w.run, mode)
			os.Chmod(w.path("var"), mode)
			os.WriteFile(w.path("journal"), nil, 0o666)
			os.Chmod(w.path("journal"), 0o666)
			argv := append([]string{"--reuid=12345", "--regid=12345", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
				w.path("bin/hubinit")}, "sh", "-c", "id -u; echo $HUB_SLOT; exit 5")
			w.cmd = proctest.Init(t, append([]string{"setpriv"}, argv...)...)
			w.launch().wantExit(5)
			slot := map[bool]string{true: "0", false: "-"}[writable]
			if diff := cmp.Diff("12345\n"+slot+"\n", w.out.String()); diff != "" {
				t.Error(diff)
			}
			for _, line := range []string{"run directory is not writable", "no state slot"} {
				if n := strings.Count(w.err.String(), line); n != map[bool]int{true: 0, false: 1}[writable] {
					t.Errorf("%q is said %d times:\n%s", line, n, w.err)
				}
			}
		})
	}
}

// TestTightened: as root the directories that the image ships as 1777 become 0755,
// and the run directory is emptied.
func TestTightened(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "none")
	for _, dir := range []string{w.run, w.path("var")} {
		os.Chmod(dir, 0o777|os.ModeSticky)
	}
	os.MkdirAll(filepath.Join(w.run, "stale/deep"), 0o755)
	os.Symlink(w.path("etc"), filepath.Join(w.run, "link"))
	os.WriteFile(w.path("etc/kept"), nil, 0o644)
	w.start("true").wantExit(0)
	for dir, want := range map[string]os.FileMode{w.run: 0o755, w.path("var"): 0o755, w.path("var/0"): 0o700} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want || info.Mode()&os.ModeSticky != 0 {
			t.Errorf("%s: %v %v, want %v", dir, info.Mode(), err, want)
		}
	}
	entries, _ := os.ReadDir(w.run)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"init.json", "service.pid"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(w.path("etc/kept")); err != nil {
		t.Errorf("emptying followed a link: %v", err)
	}
}

// TestRunDirTaken: a second hubinit in a container does not blind the first.
func TestRunDirTaken(t *testing.T) {
	t.Parallel()
	first := newWorld(t, "none").start("sleep", "100")
	first.waitRunning()
	second := exec.Command(first.path("bin/hubinit"), "true")
	second.Env = first.env
	out, err := second.CombinedOutput()
	if second.ProcessState.ExitCode() != 78 || !strings.Contains(string(out), "HUB_RUN_DIR") {
		t.Errorf("second hubinit: %v %s", err, out)
	}
	if first.state().Service.State != initctl.ServiceRunning {
		t.Error("the first one's state is gone")
	}
}

// TestSlots: three containers on one volume take 0, 1 and 2; what is freed is
// taken again; a link or another's directory is passed over.
func TestSlots(t *testing.T) {
	t.Parallel()
	shared := newWorld(t, "none")
	start := func() *world {
		w := newWorld(t, "none").setenv("HUB_VAR_DIR="+shared.path("var")).start("sleep", "100")
		w.waitRunning()
		return w
	}
	worlds := []*world{start(), start(), start()}
	for n, w := range worlds {
		if s := w.state(); s.Slot != fmt.Sprint(n) || s.StateDir != shared.path(fmt.Sprintf("var/%d", n)) {
			t.Errorf("container %d has slot %s in %s", n, s.Slot, s.StateDir)
		}
	}
	worlds[1].signal(syscall.SIGKILL)
	worlds[1].wait(0)
	<-worlds[1].exited
	if w := start(); w.state().Slot != "1" {
		t.Errorf("the freed slot was not taken: %s", w.state().Slot)
	}
	if err := os.Symlink(shared.path("etc"), shared.path("var/3")); err != nil {
		t.Fatal(err)
	}
	if w := start(); w.state().Slot != "4" {
		t.Errorf("slot %s instead of the one after the link", w.state().Slot)
	}
}
