// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/internal/initctl"
)

// Environment of the re-executed child.
const (
	childRole  = "APPLY_TEST_ROLE"
	childBase  = "APPLY_TEST_BASE"
	childPoint = "APPLY_TEST_POINT"
	childFirst = "APPLY_TEST_FIRST"
	childShm   = "APPLY_TEST_SHM"
	childStart = "APPLY_TEST_START"
)

func TestMain(m *testing.M) {
	roles := map[string]func(base string) int{
		"crash": child, "victim": victimMain, "mounted": mounted, "mounted meanwhile": mountedMeanwhile, "mounted secret": mountedSecret,
		"full disk": fullDisk, "full mount": fullMount, "read-only": readOnly, "vanished owner": vanishedOwner, "elsewhere": elsewhere, "overlay": overlay, "runner": runner,
	}
	if role, ok := roles[os.Getenv(childRole)]; ok {
		os.Exit(role(os.Getenv(childBase)))
	}
	os.Exit(m.Run())
}

// die ends this process as nobody can prevent.
func die(point) {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// at calls do when a point is passed: "journaled", or, for the third time, "swapped one#3".
func at(spec string, do func(point)) func(point) {
	name, number, _ := strings.Cut(spec, "#")
	left, err := strconv.Atoi(number)
	if err != nil {
		left = 1
	}
	return func(now point) {
		if string(now) != name {
			return
		}
		if left--; left == 0 {
			do(now)
		}
	}
}

// fatal is a testing.TB of a child that is no test.
type fatal struct{ testing.TB }

func (fatal) Helper()           {}
func (fatal) Fatal(args ...any) { fmt.Fprintln(os.Stderr, args...); os.Exit(1) }

// child applies generation two and dies at the named point.
func child(base string) int {
	w := worldIn(fatal{}, base)
	state, err := initctl.ReadState(w.run)
	if err != nil {
		return 1
	}
	w.control.service = state.Service
	w.shm = os.Getenv(childShm)
	w.fault = at(os.Getenv(childPoint), die)
	_, err = w.applier().Apply(context.Background(), second(w), os.Getenv(childFirst) != "")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func first(w *world) Generation {
	return generation(1, w.file("a", "one"), w.file("b", "one"), w.file("leaves", "one"))
}

func second(w *world) Generation {
	return generation(2, w.file("a", "two", reload("signal:HUP")), w.file("b", "two"), w.file("new/c", "two"))
}

// crash runs the child until it kills itself at the point.
func (w *world) crash(point string, first bool) {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"=crash", childBase+"="+filepath.Dir(w.state), childPoint+"="+point, childShm+"="+w.shm)
	if first {
		cmd.Env = append(cmd.Env, childFirst+"=1")
	}
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		w.t.Fatalf("the child ended with %v: %s", err, out)
	}
}

// A service that gave its new files another mode before the crash does not make the transaction half done; nor does
// a change of nothing but the mode count as done before it was.
func TestCrashAfterChmod(t *testing.T) {
	w := newWorld(t)
	if _, err := w.applier().Apply(t.Context(), first(w), true); err != nil {
		t.Fatal(err)
	}
	w.crash("settled", false)
	if err := os.Chmod(w.path("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := w.applier()
	if found, err := a.Recover(); err != nil || !found.Finished || !found.Owed {
		t.Errorf("recovered %+v, %v, want it finished and owed", found, err)
	}
	if err := a.Resume(t.Context()); err != nil {
		t.Error(err)
	}
	want := map[string]string{"a": "-rw------- two", "b": "-rw-r--r-- two", "new/c": "-rw-r--r-- two"}
	if diff := cmp.Diff(want, w.tree()); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		point    string
		finished bool
	}{{"journaled", false}, {"swapped", true}} {
		t.Run("mode alone, "+tt.point, func(t *testing.T) {
			w := newWorld(t)
			w.write("a", "one", 0o644)
			w.fault = at(tt.point, func(now point) { panic(now) })
			func() {
				defer func() { recover() }()
				w.applier().Apply(t.Context(), generation(1, w.file("a", "one", func(f *render.File) { f.Mode = 0o640 })), true)
			}()
			w.fault = nil
			if found, err := w.applier().Recover(); err != nil || found.Finished != tt.finished {
				t.Errorf("recovered %+v, %v, want finished %v", found, err, tt.finished)
			}
		})
	}
}

// A transaction that was recorded stands, whatever was done to its targets since.
func TestCrashAfterRecord(t *testing.T) {
	for _, spec := range []string{"remembered", "tidied"} {
		w := newWorld(t)
		if _, err := w.applier().Apply(t.Context(), first(w), true); err != nil {
			t.Fatal(err)
		}
		w.crash(spec, false)
		w.write("a", "by hand", 0o644)
		a := w.applier()
		if found, err := a.Recover(); err != nil || !found.Finished || found.Owed {
			t.Errorf("recovered %+v, %v, want it finished", found, err)
		}
		want := map[string]string{"a": "-rw-r--r-- by hand", "b": "-rw-r--r-- two", "new/c": "-rw-r--r-- two"}
		if diff := cmp.Diff(want, w.tree()); diff != "" {
			t.Error(diff)
		}
		if left := w.leftovers(); left != nil {
			t.Errorf("left: %v", left)
		}
	}
}

// A crash on the way back is undone too.
func TestCrashOfUndo(t *testing.T) {
	w := newWorld(t)
	if _, err := w.applier().Apply(t.Context(), first(w), true); err != nil {
		t.Fatal(err)
	}
	before := w.tree()
	w.crash("swapped one#3", false)
	w.fault = at("returned#2", func(now point) { panic(now) })
	func() {
		defer func() { recover() }()
		w.applier().Recover()
	}()
	w.fault = nil
	if _, err := w.applier().Recover(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, w.tree()); diff != "" {
		t.Error(diff)
	}
}

// A new container has the files of its image: they are neither old nor new and stay. What the cut off transaction
// was to remove went with the container before, and comes with the last good generation.
func TestRecoverInAnotherContainer(t *testing.T) {
	w := newWorld(t)
	if _, err := w.applier().Apply(t.Context(), first(w), true); err != nil {
		t.Fatal(err)
	}
	w.crash("swapped one#2", false)
	if err := os.RemoveAll(w.etc); err != nil {
		t.Fatal(err)
	}
	w.write("a", "image", 0o644)
	a := w.applier()
	found, err := a.Recover()
	want := []string{"putting back " + w.path("leaves") + ": the file that was there before is gone, until the configuration is put in place again"}
	if diff := cmp.Diff(want, found.Lines); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if diff := cmp.Diff(map[string]string{"a": "-rw-r--r-- image"}, w.tree()); diff != "" {
		t.Error(diff)
	}
	if _, err := a.Apply(t.Context(), first(w), true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"a": "-rw-r--r-- one", "b": "-rw-r--r-- one", "leaves": "-rw-r--r-- one"}, w.tree()); diff != "" {
		t.Error(diff)
	}
}

// A container that is told to stop while its service settles says nothing of the new files: the next start finds them
// finished, and has them on trial.
func TestStopIsNoVerdict(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"settling":       func(w *world) { w.control.onSignal = w.control.stop },
		"health unhappy": func(w *world) { w.healthhub(`{"verdict":"worse"}`); w.control.onSignal = w.control.stop },
		"reloading": func(w *world) {
			w.actions = map[string][]string{"x": {"false"}}
			w.fault = func(at point) {
				if at == "swapped" {
					w.control.stop()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.settle = 2 * time.Second
			prepare(w)
			action := "signal:HUP"
			if w.actions != nil {
				action = "x"
			}
			begin := time.Now()
			_, err := w.applier().Apply(t.Context(), generation(2, w.file("a", "two", reload(action))), false)
			if !errors.Is(err, ErrInterrupted) {
				t.Errorf("got %v, want it interrupted", err)
			}
			if took := time.Since(begin); took >= w.settle {
				t.Errorf("it settled on for %s", took)
			}
			w.fault, w.control.stopping, w.control.service = nil, "", initctl.ServiceState{State: initctl.ServiceWaiting}
			w.control.store()
			if found, err := w.applier().Recover(); err != nil || !found.Finished || found.Owed || found.Version.Serial != 2 {
				t.Errorf("recovered %+v, %v", found, err)
			}
			if diff := cmp.Diff(map[string]string{"a": "-rw-r--r-- two"}, w.tree()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The clock of a machine may be set back between the service's start and a transaction.
func TestOwedWhateverTheClock(t *testing.T) {
	w := newWorld(t)
	w.control.service.StartedAt = time.Now().Add(time.Hour)
	w.control.store()
	if _, err := w.applier().Apply(t.Context(), first(w), true); err != nil {
		t.Fatal(err)
	}
	w.crash("swapped", false)
	if found, err := w.applier().Recover(); err != nil || !found.Owed {
		t.Errorf("recovered %+v, %v, want it owed", found, err)
	}
	w.control.start()
	if found, err := w.applier().Recover(); err != nil || found.Owed {
		t.Errorf("recovered %+v, %v after a start of the service, want it not owed", found, err)
	}
}

// A finished transaction that the service never took up is settled at the next start, and taken back when the
// service dies of it.
func TestResumeTakesBack(t *testing.T) {
	w := newWorld(t)
	if _, err := w.applier().Apply(t.Context(), first(w), true); err != nil {
		t.Fatal(err)
	}
	before := w.tree()
	w.crash("swapped", false)
	w.settle = 2 * time.Second
	w.control.onSignal = func() { w.control.exit(1, "") }
	a := w.applier()
	found, err := a.Recover()
	if err != nil || !found.Owed {
		t.Fatalf("recovered %+v, %v", found, err)
	}
	if _, ok := errors.AsType[*RolledBack](a.Resume(t.Context())); !ok {
		t.Error("not taken back")
	}
	if diff := cmp.Diff(before, w.tree()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"hold", "signal HUP", "hold", "restart", "release"}, w.control.requests()); diff != "" {
		t.Error(diff)
	}
}
