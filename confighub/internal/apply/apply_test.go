// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/internal/initctl"
)

func TestUnchangedTouchesNothing(t *testing.T) {
	w := newWorld(t)
	owned := func(f *render.File) { f.Owner, f.Mode = fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid()), 0o640 }
	g := generation(1, w.file("a.conf", "one", reload("signal:HUP"), owned), w.file("d/b.conf", "one", reload("restart")))
	g.Output.Env = []string{"A=1"}
	if _, err := w.applier().Apply(t.Context(), g, true); err != nil {
		t.Fatal(err)
	}
	before := w.inodes()
	for _, a := range []*Applier{w.applier(), w.applier()} {
		outcome, err := a.Apply(t.Context(), g, false)
		if err != nil || outcome.Changed != nil || outcome.Reloads != nil {
			t.Errorf("got %+v, %v", outcome, err)
		}
	}
	if diff := cmp.Diff(before, w.inodes()); diff != "" {
		t.Error(diff)
	}
	if asked := w.control.requests(); asked != nil {
		t.Errorf("asked hubinit for %v", asked)
	}
}

// inodes says of everything in this world when it was touched last.
func (w *world) inodes() map[string]string {
	w.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Dir(w.etc), func(name string, _ fs.DirEntry, err error) error {
		var stat syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(name, &stat)
		}
		found[name] = fmt.Sprint(stat.Ino, stat.Mtim, stat.Ctim, stat.Mode, stat.Uid)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func TestReloadOnceForEachAction(t *testing.T) {
	w := newWorld(t)
	count := filepath.Join(t.TempDir(), "count")
	w.actions = map[string][]string{"count": {"sh", "-c", "echo x >>" + count}}
	a := w.applier()
	g := generation(1, w.file("a", "1", reload("count")), w.file("b", "1", reload("signal:HUP")), w.file("c", "1", reload("count")), w.file("d", "1"))
	outcome, err := a.Apply(t.Context(), g, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"count", "signal:HUP"}, outcome.Reloads); diff != "" {
		t.Error(diff)
	}
	if raw, _ := os.ReadFile(count); string(raw) != "x\n" {
		t.Errorf("the command ran as %q", raw)
	}
	if diff := cmp.Diff([]string{"hold", "signal HUP", "release"}, w.control.requests()); diff != "" {
		t.Error(diff)
	}
	g = generation(2, w.file("a", "2", reload("count")), w.file("b", "2", reload("restart")), w.file("c", "1"), w.file("d", "1"))
	if outcome, err = a.Apply(t.Context(), g, false); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"restart"}, outcome.Reloads); diff != "" {
		t.Error(diff)
	}
}

func TestLeavingTargets(t *testing.T) {
	w := newWorld(t)
	w.write("image.conf", "image", 0o640)
	a := w.applier()
	if _, err := a.Apply(t.Context(), generation(1, w.file("image.conf", "ours", reload("signal:USR1")), w.file("new.conf", "ours"), w.file("edited.conf", "ours")), true); err != nil {
		t.Fatal(err)
	}
	w.write("edited.conf", "somebody else's", 0o644)
	outcome, err := w.applier().Apply(t.Context(), generation(2), false)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"image.conf": "-rw-r----- image", "edited.conf": "-rw-r--r-- somebody else's"}
	if diff := cmp.Diff(want, w.tree()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"signal:USR1"}, outcome.Reloads); diff != "" {
		t.Error(diff)
	}
}

func TestRejectedChangesNothing(t *testing.T) {
	w := newWorld(t)
	secret := "hunter2hunter2"
	w.actions = map[string][]string{
		"no":   {"sh", "-c", "echo checked {{path}} with " + secret + "; exit 3"},
		"tree": {"sh", "-c", "cat {{root}}" + w.path("a") + " {{root}}" + w.path("b") + "; exit 1"},
		"gone": {"/no/such/program"},
	}
	tests := []struct {
		name string
		file func(*render.File)
		want string
	}{
		{"failing check", check("no"), w.path("a") + ": check no: exit status 3: checked " + w.path("a") + " with ***"},
		{"all targets", check("tree"), w.path("a") + ": check tree: exit status 1: newkept"},
		{"no program", check("gone"), w.path("a") + ": check gone: fork/exec /no/such/program: no such file or directory"},
		{"no action", check("unknown"), "bundle.json: targets." + w.path("a") + `: check: no action "unknown" in this image's settings (config.actions)`},
		{"own command", func(f *render.File) { f.Reload = bundle.Action{Argv: []string{"rm", "-rf", "/x"}} },
			"bundle.json: targets." + w.path("a") + ": reload: brings a command of its own (rm -rf /x), which this image's settings do not allow: name an action of config.actions, or set config.bundle_commands"},
		{"owner", func(f *render.File) { f.Owner = "nobody-here" }, "bundle.json: targets." + w.path("a") + ".owner: no user nobody-here in this container"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.write("a", "old", 0o644)
			w.write("b", "kept", 0o644)
			before := w.tree()
			g := generation(1, w.file("a", "new", tt.file), w.file("b", "kept"), w.file("made/for/c", "new"))
			g.Output.Redact = []string{secret}
			_, err := w.applier().Apply(t.Context(), g, false)
			rejected, ok := errors.AsType[*Rejected](err)
			if !ok {
				t.Fatalf("got %v, want Rejected", err)
			}
			if diff := cmp.Diff([]string{tt.want}, rejected.Lines); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, w.tree()); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Stat(w.path("made")); err == nil {
				t.Error("a directory made for a target stays")
			}
			if left := append(w.leftovers(), w.control.requests()...); left != nil {
				t.Errorf("left or asked: %v", left)
			}
		})
	}
}

func TestRollback(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(*world)
		reload  string
		want    string
		asked   []string
	}{
		{"reload fails", func(w *world) {
			w.actions = map[string][]string{"bad": {"sh", "-c", "grep -q new " + w.path("a") + " && echo refused && exit 1; exit 0"}}
		}, "bad", "reload bad: exit status 1: refused", []string{"hold", "hold", "release"}},
		{"service exits", func(w *world) { w.control.onSignal = func() { w.control.exit(7, "") } },
			"signal:HUP", "the service exited with code 7 on the new configuration", []string{"hold", "signal HUP", "hold", "restart", "release"}},
		{"service is killed", func(w *world) { w.control.onSignal = func() { w.control.exit(139, "SEGV") } },
			"signal:HUP", "the service was killed by SIGSEGV on the new configuration", []string{"hold", "signal HUP", "hold", "restart", "release"}},
		{"restarted service exits at once", func(w *world) {
			w.control.onRestart = func() { w.control.onRestart = nil; w.control.exit(1, "") }
		}, "restart", "the service exited with code 1 on the new configuration", []string{"hold", "restart", "hold", "restart", "release"}},
		{"health gets worse", func(w *world) { w.healthhub(`{"verdict":"worse","reasons":["check page: 503"]}`) },
			"signal:HUP", "check page: 503", []string{"hold", "signal HUP", "hold", "signal HUP", "release"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.settle = 2 * time.Second
			w.write("a", "old", 0o640)
			w.write("gone", "old", 0o600)
			a := w.applier()
			if _, err := a.Apply(t.Context(), generation(1, w.file("a", "good"), w.file("gone", "good")), true); err != nil {
				t.Fatal(err)
			}
			before := w.tree()
			tt.prepare(w)
			a = w.applier()
			g := generation(2, w.file("a", "new", reload(tt.reload)), w.file("b", "new"))
			g.Output.Env = []string{"A=1"}
			_, err := a.Apply(t.Context(), g, false)
			back, ok := errors.AsType[*RolledBack](err)
			if !ok {
				t.Fatalf("got %v, want RolledBack", err)
			}
			if diff := cmp.Diff([]string{tt.want}, back.Lines); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, w.tree()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.asked, w.control.requests()); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Stat(filepath.Join(w.run, "service.env")); err == nil {
				t.Error("the environment stays")
			}
			if left := w.leftovers(); left != nil {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// A fix for a service that is broken already is kept: it does not make anything worse.
func TestFixIsKept(t *testing.T) {
	w := newWorld(t)
	w.settle = 300 * time.Millisecond
	a := w.applier()
	if _, err := a.Apply(t.Context(), generation(1, w.file("a", "broken")), true); err != nil {
		t.Fatal(err)
	}
	w.control.exit(1, "")
	if _, err := a.Apply(t.Context(), generation(2, w.file("a", "no better", reload("signal:HUP"))), false); err != nil {
		t.Error(err)
	}
	if _, err := a.Apply(t.Context(), generation(3, w.file("a", "fixed", reload("restart"))), false); err != nil {
		t.Error(err)
	}
	if err := holds(w.path("a"), "fixed"); err != nil || w.control.service.State != initctl.ServiceRunning {
		t.Error(err, w.control.service.State)
	}
}

// An entrypoint that takes the file for itself before it dies on it does not make it somebody else's.
func TestRollbackAfterChmod(t *testing.T) {
	w := newWorld(t)
	w.settle = 300 * time.Millisecond
	w.write("a.conf", "old", 0o644)
	w.control.onRestart = func() {
		raw, err := os.ReadFile(w.path("a.conf"))
		if string(raw) == "bad" {
			err = errors.Join(err, os.Chmod(w.path("a.conf"), 0o600))
			w.control.exit(1, "")
		}
		if err != nil {
			t.Error(err)
		}
	}
	_, err := w.applier().Apply(t.Context(), generation(2, w.file("a.conf", "bad", reload("restart"))), false)
	if _, ok := errors.AsType[*RolledBack](err); !ok {
		t.Fatalf("got %v, want RolledBack", err)
	}
	if diff := cmp.Diff(map[string]string{"a.conf": "-rw-r--r-- old"}, w.tree()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"hold", "restart", "hold", "restart", "release"}, w.control.requests()); diff != "" {
		t.Error(diff)
	}
}

// healthhub answers questions about settling.
func (w *world) healthhub(answer string) {
	w.t.Helper()
	listener, err := net.Listen("unix", filepath.Join(w.run, "health.sock"))
	if err != nil {
		w.t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/settle" || r.URL.Query().Get("for") == "" {
			http.Error(rw, "unexpected", http.StatusBadRequest)
			return
		}
		fmt.Fprint(rw, answer)
	})}
	go server.Serve(listener)
	w.t.Cleanup(func() { server.Close() })
}

func TestSettleInPeace(t *testing.T) {
	w := newWorld(t)
	w.settle = 1200 * time.Millisecond
	w.healthhub(`{"verdict":"ok"}`)
	begin := time.Now()
	if _, err := w.applier().Apply(t.Context(), generation(1, w.file("a", "1", reload("restart"))), false); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < w.settle {
		t.Errorf("settled after %s", took)
	}
	if diff := cmp.Diff([]string{"hold", "restart", "release"}, w.control.requests()); diff != "" {
		t.Error(diff)
	}
}

// What a health check was answered may quote the new files.
func TestReasonsShowNoSecret(t *testing.T) {
	w := newWorld(t)
	w.settle = 1200 * time.Millisecond
	w.healthhub(`{"verdict":"worse","reasons":["db: access denied, using password s3cret"]}`)
	g := generation(1, w.file("a", "s3cret", reload("restart")))
	g.Output.Redact = []string{"s3cret"}
	_, err := w.applier().Apply(t.Context(), g, false)
	if back, ok := errors.AsType[*RolledBack](err); !ok || len(back.Lines) != 1 || !strings.Contains(back.Lines[0], "using password ***") {
		t.Errorf("got %v", err)
	}
}
