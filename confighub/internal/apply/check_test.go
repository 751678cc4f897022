// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/internal/initctl"
)

// gone waits until the process whose number is in a file is no more.
func gone(t *testing.T, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		// Nobody here reaps what is not our child.
		if err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d lives on: %s", pid, stat)
		}
	}
}

// A command that takes too long is killed with all of its group, and what it said until then is told.
func TestCommandIsTimed(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	begin := time.Now()
	err := run(t.Context(), 500*time.Millisecond, []string{"sh", "-c", "echo begun; sleep 600 & echo $! >" + pid + "; sleep 600"}, nil)
	if err == nil || err.Error() != "not done after 500ms: begun" {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	gone(t, pid)
}

// So is one whose caller gives up.
func TestCommandIsCancelled(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if raw, _ := os.ReadFile(pid); len(raw) > 0 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if err := run(ctx, time.Hour, []string{"sh", "-c", "sleep 600 & echo $! >" + pid + "; sleep 600"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	gone(t, pid)
}

// What a command leaves running in its group ends with it, in success and in failure, and does not keep the caller.
func TestCommandLeavesNothing(t *testing.T) {
	for code, want := range map[string]string{"0": "", "3": "exit status 3: said"} {
		pid := filepath.Join(t.TempDir(), "pid")
		begin := time.Now()
		err := run(t.Context(), time.Hour, []string{"sh", "-c", "sleep 600 & echo $! >" + pid + "; echo said; exit " + code}, nil)
		if got := ""; err != nil {
			if got = err.Error(); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		} else if want != "" {
			t.Errorf("no error, want %q", want)
		}
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("a grandchild that holds the pipe kept the caller for %s", took)
		}
		gone(t, pid)
	}
}

// A grandchild that left the group, as daemons do, and holds the pipe open does not keep the caller either.
func TestCommandWithDaemon(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	begin := time.Now()
	err := run(t.Context(), time.Hour, []string{"sh", "-c", "setsid sh -c 'echo $$ >" + pid + "; exec sleep 600' & while ! test -s " + pid + "; do :; done"}, nil)
	if took := time.Since(begin); err != nil || took > 30*time.Second {
		t.Errorf("%v after %s", err, took)
	}
	raw, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err == nil {
		err = syscall.Kill(daemon, syscall.SIGKILL)
	}
	if err != nil {
		t.Errorf("a daemon that a command started is not its check's to end: %v", err)
	}
}

func TestCommandOutputIsBounded(t *testing.T) {
	err := run(t.Context(), time.Hour, []string{"sh", "-c", "yes | head -c 10000000; echo end; exit 1"}, nil)
	if err == nil || len(err.Error()) > maxTold+100 || !strings.HasPrefix(err.Error(), "exit status 1: … ") || !strings.HasSuffix(err.Error(), "y\nend") {
		t.Errorf("the output is not cut: %.100v", err)
	}
}

func TestCommandCannotSteerTerminals(t *testing.T) {
	print := []string{"sh", "-c", `printf '\033[2Jred\r\n\n\tand\007 \342\200\256blue\377'; exit 1`}
	err := run(t.Context(), time.Hour, print, nil)
	if want := "exit status 1: [2Jred\n\n and blue?"; err == nil || err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if err := run(t.Context(), time.Hour, print, []string{"and\a \u202eblue"}); err == nil || err.Error() != "exit status 1: [2Jred\n\n ***?" {
		t.Errorf("a secret in it is shown: %q", err)
	}
}

// Neither a whole secret, nor one that is cut where the quote begins, nor one line of a key is told.
func TestCommandTellsNoSecret(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 200)
	key := "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEF\nAASCBKcwggSjAgEAAoIBAQ\n-----END KEY-----\n"
	secrets := []string{key, long, "hunter2"}
	for name, tt := range map[string]struct{ text, want string }{
		"whole":    {"password hunter2!", "password ***!"},
		"cut":      {strings.Repeat("x", 100) + long + strings.Repeat("y", maxTold-200), "***" + strings.Repeat("y", maxTold-200)},
		"key line": {"bad line: MIIEvQIBADANBgkqhkiG9w0BAQEF", "bad line: ***"},
	} {
		file := filepath.Join(t.TempDir(), "text")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := run(t.Context(), time.Hour, []string{"sh", "-c", "cat " + file + "; exit 1"}, secrets)
		if err == nil || !strings.HasSuffix(err.Error(), tt.want) || strings.Contains(err.Error(), "abcdef") {
			t.Errorf("%s: got %.300q", name, err)
		}
	}
}

// A reload's words are quoted without the secrets of the generation, and of the one before it, and not at all by a
// process that does not know them yet.
func TestReloadTellsNoSecret(t *testing.T) {
	w := newWorld(t)
	w.actions = map[string][]string{"tell": {"sh", "-c", "cat " + w.path("key") + "; exit 1"}}
	a := w.applier()
	apply := func(n uint64, password, action string) error {
		g := generation(n, w.file("key", password, secret, reload(action)))
		g.Output.Redact = []string{password}
		_, err := a.Apply(t.Context(), g, false)
		return err
	}
	if err := apply(1, "first password", "signal:HUP"); err != nil {
		t.Fatal(err)
	}
	err := apply(2, "second password", "tell")
	back, ok := errors.AsType[*RolledBack](err)
	if !ok || strings.Join(back.Lines, "|") != "reload tell: exit status 1: ***|on the way back: reload tell: exit status 1: ***" {
		t.Errorf("got %v", err)
	}
	again := w.applier()
	if _, err := again.Recover(); err != nil {
		t.Fatal(err)
	}
	err = again.RetryOwed(t.Context())
	if !errors.Is(err, ErrOwed) || strings.Contains(err.Error()+again.OwedReason(), "password") || !strings.Contains(err.Error(), "what it said is left out") {
		t.Errorf("got %v, %s", err, again.OwedReason())
	}
	raw, err := os.ReadFile(filepath.Join(w.state, owedFile))
	if err != nil || strings.Contains(string(raw), "password") {
		t.Errorf("owed.json is %s, %v", raw, err)
	}
}

// A command is handed nothing that is the hubs' own, and sees no secret in its arguments.
func TestCommandEnvironment(t *testing.T) {
	for _, name := range initctl.Private() {
		t.Setenv(name, "private")
	}
	w := newWorld(t)
	told := filepath.Join(t.TempDir(), "told")
	w.actions = map[string][]string{"tell": {"sh", "-c", `env >"$0"; cat /proc/$$/cmdline >>"$0"`, told, "{{path}}", "{{root}}"}}
	text := func(f *render.File) { f.Bytes = []byte(aSecret) }
	if _, err := w.applier().Apply(t.Context(), generation(1, w.file("key", "", secret, text, check("tell"))), true); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(told)
	if err != nil || len(raw) == 0 || strings.Contains(string(raw), "private") || strings.Contains(string(raw), aSecret) {
		t.Errorf("a check was handed %q, %v", raw, err)
	}
}

// A check that is cut off, since the container is told to stop, is no verdict on the generation.
func TestCheckIsCutOff(t *testing.T) {
	w := newWorld(t)
	begun := filepath.Join(t.TempDir(), "begun")
	w.actions = map[string][]string{"long": {"sh", "-c", "echo >" + begun + "; sleep 600"}}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if _, err := os.Stat(begun); err == nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	_, err := w.applier().Apply(ctx, generation(1, w.file("a", "x", check("long"))), false)
	if _, rejected := errors.AsType[*Rejected](err); rejected || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it cancelled", err)
	}
	if tree, left := w.tree(), w.leftovers(); len(tree) != 0 || left != nil {
		t.Errorf("there is %v, and left %v", tree, left)
	}
}

// runner runs a command until it is killed.
func runner(base string) int {
	run(context.Background(), time.Hour, []string{"sh", "-c", "echo $$ >" + filepath.Join(base, "pid") + "; exec sleep 600"}, nil)
	return 1
}

// A command does not outlive confighub, which would run it again.
func TestCommandEndsWithConfighub(t *testing.T) {
	base := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"=runner", childBase+"="+base)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := filepath.Join(base, "pid")
	deadline := time.Now().Add(30 * time.Second)
	for raw := []byte(nil); !strings.HasSuffix(string(raw), "\n"); raw, _ = os.ReadFile(pid) {
		if time.Now().After(deadline) {
			t.Fatal("the command does not begin")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	gone(t, pid)
}
