// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/setting"
)

// volume is a small file system of the test's own.
func volume(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("mounting needs root")
		}
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A run directory that is full, or became read-only, is told of by everything but the file, and is used again as soon as it can be.
func TestRunDirectoryFull(t *testing.T) {
	t.Parallel()
	full := func(t *testing.T, dir string) (undo func()) {
		f, err := os.Create(filepath.Join(dir, "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		return func() { os.Remove(f.Name()) }
	}
	readOnly := func(t *testing.T, dir string) (undo func()) {
		remount := func(flags uintptr) {
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, "size=64k"); err != nil {
				t.Error(err)
			}
		}
		remount(unix.MS_RDONLY)
		return func() { remount(0) }
	}
	for name, hurt := range map[string]func(*testing.T, string) func(){"full": full, "read-only": readOnly} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := volume(t)
			_, stop := launchIn(t, Config{RunDir: dir, Init: newHubinit(false), Settings: setting.Settings{}})
			defer stop() // before the volume goes
			waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass hub/health=pass" })
			mend := hurt(t, dir)
			report := func(state string) {
				t.Helper()
				if code, body := ask(t, dir, "POST", "/v1/report", `{"name": "backup", "state": "`+state+`"}`); code != 204 {
					t.Fatal(code, body)
				}
			}
			report("fail")
			waitFor(t, 5*time.Second, func() bool {
				_, body := ask(t, dir, "GET", "/v1/snapshot", "")
				return strings.Contains(body, "probe is not told of this container")
			})
			if got := states(t, dir); got != "pass hub/health=pass" {
				t.Errorf("the file was written: %s", got)
			}
			mend()
			waitFor(t, 10*time.Second, func() bool { return states(t, dir) == "warn backup=fail hub/health=pass" })
		})
	}
}
