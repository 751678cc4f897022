// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// volume mounts a file system at dir, as another device each time.
func volume(t *testing.T, fstype, dir, options string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	do(t, unix.Mount("none", dir, fstype, 0, options))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

func idOf(t *testing.T, path string) fileID {
	t.Helper()
	id, ok := idAt(path)
	if !ok {
		t.Fatalf("there is no %s", path)
	}
	return id
}

// moveAway copies dir's files in the given order to a new tmpfs mounted in
// place of it.
func moveAway(t *testing.T, dir string, order ...string) {
	t.Helper()
	other := t.TempDir()
	volume(t, "tmpfs", other, "")
	before := map[string]fileID{}
	for _, name := range order {
		before[name] = idOf(t, filepath.Join(dir, name))
		copyFile(t, filepath.Join(dir, name), filepath.Join(other, name))
	}
	do(t, unix.Mount(other, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	for name, id := range before {
		if now := idOf(t, filepath.Join(dir, name)); now.dev == id.dev {
			t.Fatalf("%s is %s, as before", name, now)
		}
	}
}

// TestFilesDeviceAlone: an overlay that is mounted anew has another device, as
// that of a container has after a restart.
func TestFilesDeviceAlone(t *testing.T) {
	first := lines("a", 1, 100)
	tests := []struct {
		name    string
		old     bool // the state has no proof, as earlier versions left it
		rotated bool // to a file that begins equally, so that only the inode tells
		files   int
	}{{"with proof", false, false, 1}, {"without", true, false, 1}, {"rotated", false, true, 2}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			dir, remount := overlay(t)
			path := filepath.Join(dir, "a.log")
			write(t, path, first)
			f := b.files(path)
			f.lookNow(false)
			if tt.old {
				b.forgetProof(f)
			}
			f.closeAll()
			want := first + lines("a", 101, 200)
			if tt.rotated {
				do(t, os.Rename(path, path+".1"))
				write(t, path+".1", "the last of the old\n")
				write(t, path, first)
				want += first + "the last of the old\n"
			}
			remount()
			write(t, path, lines("a", 101, 200))
			b.reopen()
			f = b.files(path)
			f.lookNow(false)
			b.conserved(tt.files, want)
			f.closeAll()
		})
	}
}

func (f *Files) closeAll() {
	for _, t := range f.tails {
		t.close()
	}
}

// overlay mounts one at dir. remount gives it another device, and its files
// their inodes.
func overlay(t *testing.T) (dir string, remount func()) {
	t.Helper()
	base := t.TempDir()
	volume(t, "tmpfs", base, "")
	for _, d := range []string{"lower", "upper", "work", "merged", "other"} {
		do(t, os.Mkdir(filepath.Join(base, d), 0o700))
	}
	dir = filepath.Join(base, "merged")
	options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", base)
	volume(t, "overlay", dir, options)
	return dir, func() {
		t.Helper()
		was := idOf(t, filepath.Join(dir, "a.log"))
		do(t, unix.Unmount(dir, 0))
		volume(t, "tmpfs", filepath.Join(base, "other"), "") // takes the number of the device
		volume(t, "overlay", dir, options)
		if is := idOf(t, filepath.Join(dir, "a.log")); is.dev == was.dev || is.ino != was.ino {
			t.Fatalf("%s became %s", was, is)
		}
	}
}

// TestFilesSameHeads: files that begin alike keep their own places, whatever
// inodes the copies get.
func TestFilesSameHeads(t *testing.T) {
	banner := strings.Repeat("the same banner\n", 100)
	tests := []struct {
		name string
		a, b string // read before
		same bool   // nothing but the path tells them apart
	}{
		{"different marks", banner + lines("a", 1, 50), banner + lines("b", 1, 80), false},
		{"one only has the head", banner, banner + lines("b", 1, 80), false},
		{"equal", banner, banner, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			dir := t.TempDir()
			volume(t, "tmpfs", dir, "") // whose inodes count from 2
			pa, pb := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
			write(t, pa, tt.a)
			write(t, pb, tt.b)
			b.files(filepath.Join(dir, "*.log")).lookNow(false)
			was := idOf(t, pa)
			moveAway(t, dir, "b.log", "a.log")
			if is := idOf(t, pb); is.ino != was.ino {
				t.Fatalf("%s has not the inode of %s", is, was)
			}
			write(t, pa, lines("a", 51, 100))
			write(t, pb, lines("b", 81, 120))
			b.reopen()
			b.files(filepath.Join(dir, "*.log")).lookNow(false)
			b.conserved(2, tt.a, tt.b, lines("a", 51, 100), lines("b", 81, 120))
			paths := map[string]string{}
			for _, r := range b.records() {
				if name, _, ok := strings.Cut(r.Body, " "); ok && len(name) == 1 && r.Path != filepath.Join(dir, name+".log") {
					t.Errorf("%q came from %s", r.Body, r.Path)
				}
				name, _, _ := strings.Cut(r.UID, "@")
				if paths[name] == "" {
					paths[name] = r.Path
				}
				if paths[name] != r.Path {
					t.Errorf("%s is of %s and %s", name, paths[name], r.Path)
				}
			}
		})
	}
}
