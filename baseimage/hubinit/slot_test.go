// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"os"
	"path/filepath"
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
}
