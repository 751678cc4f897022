// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// envPart makes this test program another one: the part that it plays for a test.
const envPart = "PROBE_TEST_PART"

func TestMain(m *testing.M) {
	switch part := os.Getenv(envPart); part {
	case "":
		os.Exit(m.Run())
	case "root": // a set-user-ID program that becomes root wholly, as su does
		if err := syscall.Setuid(0); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Stdout.Close()
		os.Stderr.Close()
		time.Sleep(1300 * time.Millisecond)
	default:
		play(part)
	}
}

// shell is a check that a shell does.
func shell(script string, args ...string) setting.Check {
	return setting.Check{Kind: setting.KindExec, Command: append([]string{"/bin/sh", "-c", script, "sh"}, args...)}
}

// A command that takes too long goes with everything it started, and what it said is told.
func TestExecKillsAll(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	got := look(t, shell("sleep 300 & echo $! > $1; echo started; wait", pidFile), 300*time.Millisecond)
	expect(t, got, health.Fail, "took too long and was killed: started")
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %s", d)
	}
	gone(t, pidFile)
}

// A command that leaves a child behind with its output open does not hold the check up.
func TestExecLeftBehind(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	expect(t, look(t, shell("sleep 300 & echo $! > $1; echo fine", pidFile), 30*time.Second), health.Pass, "fine")
	gone(t, pidFile)
	// A daemon proper: its own session, nothing of the command's open, its parent gone.
	start := time.Now()
	got := look(t, shell(`setsid sh -c 'echo $$ > $0; sleep 300 & sleep 300' $1 </dev/null >/dev/null 2>&1 &
		while ! [ -s $1 ]; do sleep 0.01; done; echo fine`, pidFile+"2"), 30*time.Second)
	expect(t, got, health.Pass, "fine")
	gone(t, pidFile+"2")
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %s", d)
	}
}

// TestExecLeavesNothing lets commands do their worst, four at a time: they fork, make themselves independent, ignore TERM, hold their
// output open and hang.
func TestExecLeavesNothing(t *testing.T) {
	const lanes, rounds = 4, 50
	pids := filepath.Join(t.TempDir(), "pids")
	worst := shell(`trap '' TERM HUP INT
		daemon='trap "" TERM HUP INT; echo $$ >> $0; sleep 300 & echo $! >> $0; exec sleep 300'
		echo $$ >> $1
		setsid sh -c "$daemon" $1 &
		(setsid sh -c "$daemon" $1 &)
		(setsid env -i /bin/sh -c "(setsid sh -c '$daemon' $1 &)" &)
		(sleep 300; true) &
		exec sleep 300`, pids)
	f, err := New(worst, Place{RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	looks := make([]Func, lanes) // a check never overlaps itself
	for i := range looks {
		if looks[i], err = New(worst, Place{RunDir: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	f(ctx) // what is there once is there before
	cancel()
	fds, goroutines := countFDs(t), runtime.NumGoroutine()
	var lane sync.WaitGroup
	for i := range looks {
		lane.Go(func() {
			for range rounds {
				ctx, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
				// On a busy machine the time is over before the command could be started: that look says nothing. And what was
				// killed may take longer to go than the look waits: then the next one says so.
				got := looks[i](ctx)
				slow := strings.Contains(got.Text, "cannot be killed")
				if !got.Blind && (got.State != health.Fail || !slow && !strings.Contains(got.Text, "took too long and was killed")) {
					t.Errorf("%v %q", got.State, got.Text)
				}
				cancel()
			}
		})
	}
	lane.Wait()
	data, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	started := strings.Fields(string(data))
	if len(started) < 2*lanes*rounds { // of up to 7 each; the kill comes early for some
		t.Errorf("%d processes told that they run: too few to tell anything", len(started))
	}
	left := func(p member) bool { return p.parent == os.Getpid() || slices.Contains(started, fmt.Sprint(p.pid)) }
	for end := time.Now().Add(10 * time.Second); slices.ContainsFunc(processes(), left) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // what could not be killed at once is tried again after a second
	}
	alive := map[string]bool{}
	for _, p := range processes() {
		alive[fmt.Sprint(p.pid)] = true
		if p.parent == os.Getpid() {
			t.Errorf("process %d is left, dead: %t", p.pid, p.dead)
		}
	}
	for _, pid := range started {
		if alive[pid] {
			cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			t.Errorf("process %s is left: %q", pid, cmdline)
		}
	}
	if n := countFDs(t); n > fds {
		t.Errorf("%d descriptors, %d before", n, fds)
	}
	waitFor(t, 5*time.Second, func() bool { return runtime.NumGoroutine() <= goroutines })
	t.Logf("%d processes started", len(started))
}

func countFDs(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// What lost its parent while several looks are under way stays until none of those is left that could have started it; and a child
// that belongs to somebody else in this process stays in any case.
func TestExecSparesOthers(t *testing.T) {
	dir := t.TempDir()
	other := exec.Command("sleep", "300")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		other.Process.Kill()
		other.Wait()
	}()
	ended := exec.Command("true") // dead, and its owner comes for it later
	if err := ended.Start(); err != nil {
		t.Fatal(err)
	}
	long, err := New(shell("(setsid sh -c 'echo $$ > $0/daemon; exec sleep 300' $1 >/dev/null 2>&1 &); while ! [ -e $1/end ]; do sleep 0.01; done; echo fine", dir), Place{RunDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan Result)
	go func() { done <- long(t.Context()) }()
	pidFile := filepath.Join(dir, "daemon")
	waitFor(t, 10*time.Second, func() bool { info, err := os.Stat(pidFile); return err == nil && info.Size() > 0 })
	expect(t, look(t, shell("echo short"), 10*time.Second), health.Pass, "short")
	data, _ := os.ReadFile(pidFile)
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(data))); err != nil {
		t.Error("a look that ended took what another one had started")
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, <-done, health.Pass, "fine")
	gone(t, pidFile)
	if err := ended.Wait(); err != nil {
		t.Errorf("somebody else waited for a child of ours: %v", err)
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("somebody else's child: %v", err)
	}
}

// own is a copy of this program that everybody can run, with these permissions.
func own(t *testing.T, mode os.FileMode) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "probe.test")
	to, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	for _, err := range []error{err, to.Close(), os.Chmod(dir, 0o755), os.Chmod(path, mode)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// play is what this program does when it is not the test.
func play(part string) {
	if part == "none" {
		return
	}
	f, err := New(setting.Check{Kind: setting.KindExec, Command: os.Args[1:]}, Place{RunDir: "/nowhere"})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	look := func(within time.Duration) {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		r := f(ctx)
		fmt.Println(r.State, r.Text)
	}
	switch part {
	case "look": // and wait to be killed
		look(time.Minute)
	case "stuck": // a command that cannot be killed
		os.Setenv(envPart, "root")
		look(200 * time.Millisecond)
		look(200 * time.Millisecond)
		for p := processes(); len(p.below(func(p member) bool { return p.parent == os.Getpid() })) > 0; p = processes() {
			time.Sleep(10 * time.Millisecond)
		}
		os.Setenv(envPart, "none")
		look(5 * time.Second)
	}
}

// A command that took another uid is out of reach. Its look ends all the same, no second one is started meanwhile, and once it is gone all is
// as before.
func TestExecCannotBeKilled(t *testing.T) {
	t.Parallel()
	needRoot(t)
	cmd := exec.Command(own(t, 0o755), own(t, 0o4755|os.ModeSetuid))
	cmd.Env = append(os.Environ(), envPart+"=stuck")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	want := "fail took too long, and cannot be killed\n" +
		"fail the command of an earlier look still runs: it cannot be killed\n" +
		"pass exit code 0\n"
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// When healthhub is killed, nobody is left to end a command that hangs; so it goes too.
func TestExecEndsWithUs(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(os.Args[0], "/bin/sh", "-c", "echo $$ > "+pidFile+"; exec sleep 300")
	cmd.Env = append(os.Environ(), envPart+"=look")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 10*time.Second, func() bool { info, err := os.Stat(pidFile); return err == nil && info.Size() > 0 })
	cmd.Process.Kill()
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok || exit.Success() {
		t.Errorf("it ended with %v", exit)
	}
	gone(t, pidFile)
}

func TestParseStat(t *testing.T) {
	const line = "42 (a) (b c) S 7 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 9876 100 200\n"
	if p, ok := parseStat([]byte(line)); !ok || p != (member{pid: 42, parent: 7, session: 41, begun: 9876}) {
		t.Errorf("%+v, %t", p, ok)
	}
	for _, bad := range []string{"", "42", "42 (a", "42 (a) S", "42 (a) S 7 42 41", ") 42 ("} {
		if p, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q is %+v", bad, p)
		}
	}
}
