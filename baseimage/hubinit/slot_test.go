// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/proctest"
)

// TestForeignSlot: a slot that another uid prepared is not taken, however open it is.
func TestForeignSlot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("being two uids needs root")
	}
	w := newWorld(t, "none")
	for dir := w.dir; dir != "/tmp" && dir != "/"; dir = filepath.Dir(dir) {
		os.Chmod(dir, 0o755)
	}
	slot := w.path("var/0")
	err := errors.Join(os.Chmod(w.run, 0o777), os.Chmod(w.path("var"), 0o777|os.ModeSticky),
		os.MkdirAll(filepath.Join(slot, "config"), 0o777), os.WriteFile(filepath.Join(slot, "lock"), nil, 0o666))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "config", "lock"} {
		file := filepath.Join(slot, name)
		if err := errors.Join(os.Chmod(file, 0o777), os.Chown(file, 54321, 54321)); err != nil {
			t.Fatal(err)
		}
	}
	w.cmd = proctest.Init(t, "setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", w.path("bin/hubinit"),
		"sh", "-c", "echo $HUB_SLOT")
	w.launch().wantExit(0)
	if got := w.out.String(); got != "1\n" {
		t.Errorf("slot %s", got)
	}
	if says := "belongs to another uid (54321, this is 12345)"; !strings.Contains(w.err.String(), says) {
		t.Errorf("nothing says %q:\n%s", says, w.err)
	}
}

// TestForeignSlotOfRoot: neither does root take what a volume kept for another user; an empty
// directory it makes its own.
func TestForeignSlotOfRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("being two uids needs root")
	}
	w := newWorld(t, "none")
	kept := w.path("var/0/identity/id.pem")
	err := errors.Join(os.MkdirAll(filepath.Dir(kept), 0o700), os.WriteFile(kept, nil, 0o600), os.Mkdir(w.path("var/1"), 0o777),
		os.Chown(w.path("var/0"), 54321, 54321), os.Chown(w.path("var/1"), 54321, 54321))
	if err != nil {
		t.Fatal(err)
	}
	w.start("sh", "-c", "echo $HUB_SLOT; stat -c %u:%g:%a $HUB_STATE_DIR").wantExit(0)
	if got := w.out.String(); got != "1\n0:0:700\n" {
		t.Errorf("slot, owner and mode %s", got)
	}
	if n := strings.Count(w.err.String(), "belongs to another uid (54321, this is 0)"); n != 1 {
		t.Errorf("said %d times:\n%s", n, w.err)
	}
}
