// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/initctl"
)

var (
	oneFile = map[string]string{"a": "-rw-r--r-- one"}
	twoFile = map[string]string{"a": "-rw-r--r-- two"}
)

// withOne is a world with generation one in place.
func withOne(t *testing.T) *world {
	w := newWorld(t)
	if _, err := w.applier().Apply(t.Context(), generation(1, w.file("a", "one")), true); err != nil {
		t.Fatal(err)
	}
	return w
}

// expect compares what is below etc, and whether anything is owed.
func (w *world) expect(a *Applier, tree map[string]string, owed bool) {
	w.t.Helper()
	files := w.tree()
	maps.DeleteFunc(files, func(name, _ string) bool { return owed && strings.HasSuffix(name, "-old") }) // kept for the way back
	if diff := cmp.Diff(tree, files); diff != "" {
		w.t.Error(diff)
	}
	if a.Owed() != owed || (a.OwedReason() != "") != owed {
		w.t.Errorf("owed %v: %q, want %v", a.Owed(), a.OwedReason(), owed)
	}
}

// whole expects that no transaction is under way, and that the record is true.
func (w *world) whole(a *Applier) {
	w.t.Helper()
	if left := w.leftovers(); left != nil {
		w.t.Errorf("left: %v", left)
	}
	if drifts := a.Drift(); drifts != nil {
		w.t.Errorf("the record is not true: %+v", drifts)
	}
}

// unable are the ways in which a reload cannot take place, with what mends them.
func unable(t *testing.T, w *world) map[string]struct {
	action, why string
	mend        func()
} {
	program := filepath.Join(t.TempDir(), "reload")
	w.actions = map[string][]string{"program": {program}}
	w.control.fail = map[string]error{"signal": errors.New("no answer"), "restart": errors.New("no answer")}
	mend := func() { w.control.fail = nil }
	return map[string]struct {
		action, why string
		mend        func()
	}{
		"signal":  {"signal:HUP", "reload signal:HUP: no answer", mend},
		"restart": {"restart", "reload restart: no answer", mend},
		"command": {"program", "reload program: fork/exec " + program + ": no such file or directory", func() {
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

// A reload that the machine cannot do is no reason to go back: it stays owed until it is done, whoever asks for it.
func TestOwed(t *testing.T) {
	for _, name := range []string{"signal", "restart", "command"} {
		for _, way := range []string{"retried", "applied again", "after a restart of confighub"} {
			t.Run(name+", "+way, func(t *testing.T) {
				w := withOne(t)
				kind := unable(t, w)[name]
				a := w.applier()
				g := generation(2, w.file("a", "two", reload(kind.action)))
				_, err := a.Apply(t.Context(), g, false)
				if want := "the service has yet to take its files up: " + kind.why; !errors.Is(err, ErrOwed) || err.Error() != want {
					t.Fatalf("got %v, want %s", err, want)
				}
				w.expect(a, twoFile, true)
				if a.OwedReason() != kind.why {
					t.Errorf("owed because of %q", a.OwedReason())
				}
				again := a.RetryOwed
				switch way {
				case "applied again":
					again = func(ctx context.Context) error { _, err := a.Apply(ctx, g, false); return err }
				case "after a restart of confighub":
					a = w.applier()
					found, err := a.Recover()
					if err != nil || !found.Owed || !found.Finished {
						t.Fatalf("recovered %+v, %v", found, err)
					}
					again = a.Resume
				}
				if err := again(t.Context()); !errors.Is(err, ErrOwed) {
					t.Errorf("got %v, want it owed", err)
				}
				w.expect(a, twoFile, true)
				kind.mend()
				if err := again(t.Context()); err != nil {
					t.Error(err)
				}
				w.expect(a, twoFile, false)
				w.whole(a)
				if asked := w.control.requests(); asked[len(asked)-1] != "release" {
					t.Errorf("the service stays held: %v", asked)
				}
			})
		}
	}
}

// A reload that takes place at last and fails takes the generation back.
func TestOwedFails(t *testing.T) {
	w := withOne(t)
	w.control.fail = map[string]error{"signal": errors.New("no answer")}
	a := w.applier()
	if _, err := a.Apply(t.Context(), generation(2, w.file("a", "two", reload("signal:HUP"))), false); !errors.Is(err, ErrOwed) {
		t.Fatal(err)
	}
	w.control.fail = nil
	w.control.onSignal = func() { w.control.exit(1, "") }
	w.settle = 300 * time.Millisecond
	a.opts.Settle = w.settle
	if _, ok := errors.AsType[*RolledBack](a.RetryOwed(t.Context())); !ok {
		t.Error("not taken back")
	}
	w.expect(a, oneFile, false)
	w.whole(a)
}

// A service that starts anew reads what is in place: nothing is owed to it.
func TestOwedEndsWithTheService(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		w := withOne(t)
		w.control.fail = map[string]error{"signal": errors.New("no answer")}
		a := w.applier()
		if _, err := a.Apply(t.Context(), generation(2, w.file("a", "two", reload("signal:HUP"))), false); !errors.Is(err, ErrOwed) {
			t.Fatal(err)
		}
		w.control.start()
		if restarted {
			a = w.applier()
			if found, err := a.Recover(); err != nil || found.Owed || !found.Finished {
				t.Errorf("recovered %+v, %v", found, err)
			}
		} else if err := a.RetryOwed(t.Context()); err != nil {
			t.Error(err)
		}
		w.expect(a, twoFile, false)
		w.whole(a)
	}
}

// A generation that the service was never told of is taken back before the next one.
func TestOwedThenAnother(t *testing.T) {
	w := withOne(t)
	w.control.fail = map[string]error{"signal": errors.New("no answer")}
	a := w.applier()
	g := generation(2, w.file("a", "two", reload("signal:HUP")), w.file("only/here", "two"))
	if _, err := a.Apply(t.Context(), g, false); !errors.Is(err, ErrOwed) {
		t.Fatal(err)
	}
	w.actions = map[string][]string{"no": {"false"}}
	a.opts.Policy.Actions = w.actions
	_, err := a.Apply(t.Context(), generation(3, w.file("a", "three", check("no"))), false)
	if _, ok := errors.AsType[*Rejected](err); !ok {
		t.Errorf("got %v, want it rejected", err)
	}
	// Its reload was tried: whether the service has its files nobody knows.
	w.expect(a, oneFile, true)
	w.control.fail = nil
	outcome, err := a.Apply(t.Context(), generation(4, w.file("a", "four", reload("signal:USR1"))), false)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"signal:USR1"}, outcome.Reloads); diff != "" {
		t.Error(diff)
	}
	w.expect(a, map[string]string{"a": "-rw-r--r-- four"}, true)
	w.whole(a)
	if err := a.RetryOwed(t.Context()); err != nil {
		t.Error(err)
	}
	w.expect(a, map[string]string{"a": "-rw-r--r-- four"}, false)
	if _, err := os.Stat(w.path("only")); err == nil {
		t.Error("a directory of the generation that was taken back stays")
	}
}

// A reload that fails on the way back is owed to the old files.
func TestOwedOnTheWayBack(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		w := withOne(t)
		broken := filepath.Join(t.TempDir(), "broken")
		told := filepath.Join(t.TempDir(), "told")
		w.actions = map[string][]string{"take": {"sh", "-c", `grep -q two "$0" && touch "$1"; test -e "$1" && echo broken && exit 1; cat "$0" >"$2"`, w.path("a"), broken, told}}
		a := w.applier()
		_, err := a.Apply(t.Context(), generation(2, w.file("a", "two", reload("take"))), false)
		back, ok := errors.AsType[*RolledBack](err)
		want := []string{"reload take: exit status 1: broken", "on the way back: reload take: exit status 1: broken"}
		if !ok || cmp.Diff(want, back.Lines) != "" {
			t.Fatalf("got %v, want %q", err, want)
		}
		w.expect(a, oneFile, true)
		w.whole(a)
		if restarted {
			a = w.applier()
			if found, err := a.Recover(); err != nil || !found.Version.IsZero() {
				t.Errorf("recovered %+v, %v", found, err)
			}
		}
		if err := a.RetryOwed(t.Context()); !errors.Is(err, ErrOwed) {
			t.Errorf("got %v, want it owed", err)
		}
		w.expect(a, oneFile, true)
		if err := os.Remove(broken); err != nil {
			t.Fatal(err)
		}
		if err := a.RetryOwed(t.Context()); err != nil {
			t.Error(err)
		}
		w.expect(a, oneFile, false)
		if raw, err := os.ReadFile(told); string(raw) != "one" {
			t.Errorf("the service was told of %q, %v", raw, err)
		}
		if _, err := os.Stat(filepath.Join(w.state, owedFile)); err == nil {
			t.Error("what was paid is kept")
		}
		if a := w.applier(); a.Owed() {
			t.Error("it is owed again after a restart")
		}
	}
}

// What is owed on the way back ends with the service, too, and with a generation that does the same.
func TestOwedOnTheWayBackEnds(t *testing.T) {
	for _, how := range []string{"start of the service", "start of the container", "another action", "same action", "restart", "same generation"} {
		t.Run(how, func(t *testing.T) {
			w := withOne(t)
			w.actions = map[string][]string{"bad": {"false"}}
			a := w.applier()
			_, err := a.Apply(t.Context(), generation(2, w.file("a", "two", reload("bad"))), false)
			if _, ok := errors.AsType[*RolledBack](err); !ok {
				t.Fatal(err)
			}
			w.expect(a, oneFile, true)
			switch how {
			case "start of the service":
				w.control.start()
				w.expect(a, oneFile, false)
			case "start of the container":
				w.control.service = initctl.ServiceState{State: initctl.ServiceWaiting}
				w.control.store()
				a = w.applier()
				if _, err := a.Recover(); err != nil {
					t.Error(err)
				}
				w.expect(a, oneFile, false)
			case "another action", "same action", "restart":
				// Another generation is not taken back because of what is owed of this one.
				a.opts.Policy.Actions = map[string][]string{"bad": {"true"}, "fine": {"true"}}
				action := map[string]string{"another action": "fine", "same action": "bad", "restart": "restart"}[how]
				outcome, err := a.Apply(t.Context(), generation(3, w.file("a", "three", reload(action))), false)
				if diff := cmp.Diff([]string{action}, outcome.Reloads); err != nil || diff != "" {
					t.Error(err, diff)
				}
				w.expect(a, map[string]string{"a": "-rw-r--r-- three"}, action == "fine")
			case "same generation":
				if outcome, err := a.Apply(t.Context(), generation(1, w.file("a", "one")), false); err != nil || outcome.Reloads != nil {
					t.Errorf("got %+v, %v", outcome, err)
				}
				w.expect(a, oneFile, true)
			}
			if _, err := os.Stat(filepath.Join(w.state, owedFile)); (err == nil) != a.Owed() {
				t.Errorf("owed.json: %v", err)
			}
		})
	}
}

// What is owed is not paid by the way back of another generation, which does something else.
func TestOwedOutlastsAnotherWayBack(t *testing.T) {
	w := withOne(t)
	broken := filepath.Join(t.TempDir(), "broken")
	w.actions = map[string][]string{"bad": {"test", "!", "-e", broken}, "picky": {"sh", "-c", "! grep three " + w.path("a")}}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := w.applier()
	for n, g := range []Generation{generation(2, w.file("a", "two", reload("bad"))), generation(3, w.file("a", "three", reload("picky")))} {
		_, err := a.Apply(t.Context(), g, false)
		if _, ok := errors.AsType[*RolledBack](err); !ok {
			t.Fatalf("%d: got %v, want it rolled back", n, err)
		}
		w.expect(a, oneFile, true)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := a.RetryOwed(t.Context()); err != nil {
		t.Error(err)
	}
	w.expect(a, oneFile, false)
}

// A service that died, and that hubinit did not start again, is to be started.
func TestOwedRestart(t *testing.T) {
	w := withOne(t)
	w.settle = 300 * time.Millisecond
	w.control.onSignal = func() { w.control.exit(1, "") }
	w.control.fail = map[string]error{"restart": errors.New("no answer")}
	a := w.applier()
	_, err := a.Apply(t.Context(), generation(2, w.file("a", "two", reload("signal:HUP"))), false)
	if back, ok := errors.AsType[*RolledBack](err); !ok || len(back.Lines) != 2 || back.Lines[1] != "on the way back: no answer" {
		t.Fatal(err)
	}
	w.expect(a, oneFile, true)
	w.control.fail = nil
	if err := a.RetryOwed(t.Context()); err != nil {
		t.Error(err)
	}
	w.expect(a, oneFile, false)
	if asked := strings.Join(w.control.requests(), ","); !strings.HasSuffix(asked, "restart,release,hold,restart,release") {
		t.Errorf("asked %s", asked)
	}
}

// Where there is no hubinit nobody will ever be able to signal: that is the generation's fault.
func TestNothingIsOwedWithoutHubinit(t *testing.T) {
	w := withOne(t)
	w.control.fail = map[string]error{"signal": initctl.ErrUnsupervised}
	a := w.applier()
	_, err := a.Apply(t.Context(), generation(2, w.file("a", "two", reload("signal:HUP"))), false)
	if _, ok := errors.AsType[*RolledBack](err); !ok {
		t.Errorf("got %v, want it rolled back", err)
	}
	w.expect(a, oneFile, false)
}

// A service that was restarted on new files and died of them while confighub was gone is brought back.
func TestDiedMeanwhile(t *testing.T) {
	w := withOne(t)
	w.until("acted", func(a *Applier) {
		a.Apply(t.Context(), generation(2, w.file("a", "two", reload("restart"))), false)
	})
	w.control.exit(1, "")
	a := w.applier()
	found, err := a.Recover()
	if err != nil || !found.Owed {
		t.Fatalf("recovered %+v, %v, want it owed", found, err)
	}
	back, ok := errors.AsType[*RolledBack](a.Resume(t.Context()))
	if !ok || len(back.Lines) != 1 || back.Lines[0] != "the service exited with code 1 on the new configuration" {
		t.Errorf("got %v, want it rolled back", back)
	}
	w.expect(a, oneFile, false)
	if diff := cmp.Diff([]string{"hold", "restart", "hold", "hold", "restart", "release"}, w.control.requests()); diff != "" {
		t.Error(diff)
	}
}
