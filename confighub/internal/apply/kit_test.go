// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/internal/initctl"
)

// world is a container's directories and its service as init.json shows it.
type world struct {
	t testing.TB
	// state, run and etc are directories; targets lie in etc.
	state, run, etc string
	// shm is on a tmpfs.
	shm      string
	control  *recorder
	settle   time.Duration
	actions  map[string][]string
	fault    func(point)
	inject   func(operation, string) error
	drift    string
	volatile bool
	log      zerolog.Logger
}

func newWorld(t testing.TB) *world {
	base := t.TempDir()
	w := worldIn(t, base)
	for _, dir := range []string{w.state, w.run, w.etc} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.shm = newMemory(t)
	w.control.start()
	return w
}

func worldIn(t testing.TB, base string) *world {
	w := &world{t: t, state: filepath.Join(base, "state"), run: filepath.Join(base, "run"), etc: filepath.Join(base, "etc"), log: zerolog.Nop()}
	w.control = &recorder{run: w.run}
	return w
}

// newMemory makes a directory on a tmpfs, for copies of secrets.
func newMemory(t testing.TB) string {
	dir, err := os.MkdirTemp(sharedMemory, "apply-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// applier opens the state anew, as a start of confighub does.
func (w *world) applier() *Applier {
	w.t.Helper()
	return New(Options{
		Dir: w.state, RunDir: w.run, Control: w.control, Settle: w.settle, Log: w.log, fault: w.fault, inject: w.inject, volatile: w.volatile, DriftPolicy: w.drift, shm: w.shm,
		Policy: Policy{Targets: []string{w.etc}, Actions: w.actions},
	})
}

func (w *world) path(name string) string { return filepath.Join(w.etc, name) }

// file is a target below etc.
func (w *world) file(name, text string, more ...func(*render.File)) render.File {
	f := render.File{Path: w.path(name), Bytes: []byte(text), Mode: 0o644}
	for _, change := range more {
		change(&f)
	}
	return f
}

func check(name string) func(*render.File) {
	return func(f *render.File) { f.Check = bundle.Action{Name: name} }
}

func reload(name string) func(*render.File) {
	return func(f *render.File) { f.Reload = bundle.Action{Name: name} }
}

func generation(serial uint64, files ...render.File) Generation {
	slices.SortFunc(files, func(a, b render.File) int { return strings.Compare(a.Path, b.Path) })
	return Generation{Version: bundle.Version{Serial: serial, Digest: "d"}, Output: &render.Output{Files: files}}
}

func (w *world) write(name, text string, mode fs.FileMode) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(w.path(name), []byte(text), mode); err != nil {
		w.t.Fatal(err)
	}
}

// tree lists every file below etc: its path, mode and text.
func (w *world) tree() map[string]string {
	w.t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(w.etc, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text := ""
		if info.Mode().IsRegular() {
			raw, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text = string(raw)
		}
		rel, _ := filepath.Rel(w.etc, name)
		files[rel] = fmt.Sprintf("%v %s", info.Mode(), text)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

// leftovers lists what a finished transaction must not leave in the state directory.
func (w *world) leftovers() []string {
	var names []string
	for _, dir := range []string{w.state, w.run, w.shm, w.etc} {
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			base := entry.Name()
			if strings.HasPrefix(base, ".init.json.") {
				return err // hubinit's, which a test plays
			}
			if base == journalFile || base == undoDir || strings.HasSuffix(base, ".tmp") || strings.Contains(base, ".hub-") || strings.Contains(base, checkPrefix) {
				names = append(names, name)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			w.t.Fatal(err)
		}
	}
	return names
}

// recorder is hubinit as far as a transaction sees it: it keeps init.json and writes down what was asked.
type recorder struct {
	run string

	mu      sync.Mutex
	asked   []string
	starts  int
	service initctl.ServiceState
	// stopping is why the container ends; "" while it does not.
	stopping string
	// fail is what hubinit answers to a request ("hold", "signal", "restart").
	fail map[string]error
	// onSignal happens when the service is signalled, onRestart when it was started anew.
	onSignal, onRestart func()
}

func (r *recorder) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, what)
}

func (r *recorder) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// start makes the service run, as a new process.
func (r *recorder) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts++
	r.service.State, r.service.PID, r.service.StartedAt = initctl.ServiceRunning, 1000+r.starts, time.Now()
	r.store()
}

// exit makes the service end.
func (r *recorder) exit(code int, signal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.service.State, r.service.PID = initctl.ServiceExited, 0
	r.service.LastExit = &initctl.Exit{Code: code, Signal: signal, At: time.Now()}
	r.store()
}

// stop tells the container to stop, upon which the service ends.
func (r *recorder) stop() {
	r.mu.Lock()
	r.stopping = "signal TERM"
	r.mu.Unlock()
	r.exit(0, "")
}

func (r *recorder) store() {
	state := initctl.State{Boot: "one boot", Service: r.service, Stopping: r.stopping}
	if err := state.Write(r.run); err != nil {
		panic(err)
	}
}

func (r *recorder) Hold(context.Context, time.Duration) error {
	r.note("hold")
	return r.fail["hold"]
}

func (r *recorder) Release(context.Context) error { r.note("release"); return nil }

func (r *recorder) Restart(context.Context) error {
	r.note("restart")
	if err := r.fail["restart"]; err != nil {
		return err
	}
	r.start()
	if r.onRestart != nil {
		r.onRestart()
	}
	return nil
}

func (r *recorder) Signal(_ context.Context, name string) error {
	r.note("signal " + name)
	if err := r.fail["signal"]; err != nil {
		return err
	}
	if r.onSignal != nil {
		r.onSignal()
	}
	return nil
}
