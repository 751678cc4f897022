// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

func TestReadonly(t *testing.T) {
	const root = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
	for name, test := range map[string]struct {
		mounts, fstab string
		more          files
		state         health.State
		text          string
	}{
		"all is well":          {root, "", nil, health.Pass, "1 disk is in use"},
		"after errors":         {"27 1 254:0 / / rw,relatime - ext4 /dev/vda ro,errors=remount-ro\n", "", nil, health.Fail, "read-only: / (/dev/vda)"},
		"ext4, Linux 6.15":     {"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,emergency_ro\n", "", nil, health.Fail, "read-only: / (/dev/vda)"},
		"meant so":             {root + "40 27 8:1 / /srv ro - ext4 /dev/sda1 ro\n", "", nil, health.Pass, "2 disks are in use"},
		"not so by fstab":      {root + "40 27 8:1 / /srv ro - ext4 /dev/sda1 ro\n", "UUID=1 /srv ext4 defaults 0 2\n", nil, health.Fail, "/srv (/dev/sda1)"},
		"so by fstab":          {root + "40 27 8:1 / /srv ro - ext4 /dev/sda1 ro\n", "# x\nUUID=1 /srv ext4 ro,nodev 0 2\n", nil, health.Pass, ""},
		"a read-only view":     {root + "40 27 254:0 /x /srv/x ro - ext4 /dev/vda rw\n", "", nil, health.Pass, "1 disk"},
		"an image":             {root + "40 27 7:0 / /snap/x rw - squashfs /dev/loop0 ro\n", "", nil, health.Pass, "1 disk"},
		"the engine's storage": {root + "40 27 8:1 / /var/lib/docker ro - ext4 /dev/sda1 ro\n", "", files{"/var/lib/docker/x": ""}, health.Fail, "/var/lib/docker"},
		"no engine":            {"27 1 254:0 / / ro - ext4 /dev/vda ro\n", "", nil, health.Pass, ""},
		"errors kept by ext4":  {root, "", files{"/sys/fs/ext4/vda/errors_count": "3\n", "/sys/fs/ext4/sda/errors_count": "0\n"}, health.Warn, "errors were recorded on vda (3)"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := files{"/proc/self/mountinfo": test.mounts, "/etc/fstab": test.fstab}.plant(t)
			test.more.add(t, tree)
			r := newLook(t, setting.Check{Kind: setting.KindReadonly}, tree)(t.Context())
			expect(t, r, test.state, test.text)
			acceptable(t, r)
			if (r.State == health.Pass) != (r.Action == "") {
				t.Errorf("action %q", r.Action)
			}
		})
	}
	wantUnsupported(t, newLook(t, setting.Check{Kind: setting.KindReadonly}, files{"/proc/self/mountinfo": "1 2 0:9 / / rw - overlay overlay rw\n"}.plant(t))(t.Context()), "no disk")
	wantUnsupported(t, newLook(t, setting.Check{Kind: setting.KindReadonly}, t.TempDir())(t.Context()), "mounts")
}

// What was writable at an earlier look and is remounted read-only, as people do, is told too.
func TestReadonlySince(t *testing.T) {
	mounts := files{"/proc/self/mountinfo": "27 1 254:0 / / rw - ext4 /dev/vda rw\n"}
	root := mounts.plant(t)
	look := newLook(t, setting.Check{Kind: setting.KindReadonly}, root)
	expect(t, look(t.Context()), health.Pass, "")
	files{"/proc/self/mountinfo": "27 1 254:0 / / ro - ext4 /dev/vda ro\n"}.add(t, root)
	expect(t, look(t.Context()), health.Fail, "read-only: / (/dev/vda)")
	mounts.add(t, root)
	expect(t, look(t.Context()), health.Pass, "")
}

func TestReadonlyPath(t *testing.T) {
	root := files{"/proc/self/mountinfo": "27 1 0:50 / / ro - overlay overlay rw\n" +
		"28 27 8:1 / /data rw - ext4 /dev/sda1 rw\n29 27 0:60 / /data/nas ro - nfs4 nas:/x rw\n30 27 0:61 / /database rw - tmpfs x rw\n"}.plant(t)
	for path, want := range map[string]health.State{
		"/": health.Fail, "/etc": health.Fail, "/data": health.Pass, "/data/x": health.Pass, "/data/nas/x": health.Fail, "/database/x": health.Pass,
	} {
		r := newLook(t, setting.Check{Kind: setting.KindReadonly, Path: path}, root)(t.Context())
		expect(t, r, want, path)
		acceptable(t, r)
	}
}

// A real disk, and a real error of its file system: the kernel has a switch for that.
func TestReadonlyAfterAnError(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	image, point := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "truncate", "-s", "8M", image)
	run(t, "mkfs.ext4", "-q", image)
	run(t, "mount", "-o", "loop,errors=remount-ro", image, point)
	t.Cleanup(func() { run(t, "umount", point) })
	look := newLook(t, setting.Check{Kind: setting.KindReadonly}, "")
	path := newLook(t, setting.Check{Kind: setting.KindReadonly, Path: point + "/x"}, "")
	expect(t, look(t.Context()), health.Pass, "")
	expect(t, path(t.Context()), health.Pass, "takes writes")
	device := filepath.Base(run(t, "findmnt", "-no", "SOURCE", point))
	if err := os.WriteFile("/sys/fs/ext4/"+device+"/trigger_fs_error", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(point+"/x", nil, 0o600); err == nil {
		t.Fatal("the disk still takes writes")
	}
	expect(t, look(t.Context()), health.Fail, point+" (/dev/"+device+")")
	expect(t, path(t.Context()), health.Fail, "takes no writes")
}

// run runs a command and gives what it says.
func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Where the file system of a machine is mounted in a container, its mounts are those of its process 1: this process has others.
func TestReadonlyOfAnotherRoot(t *testing.T) {
	root := files{
		"/proc/self/mountinfo": "27 1 0:50 / / rw - overlay overlay rw\n",
		"/proc/1/mountinfo":    "27 1 254:0 / / rw - ext4 /dev/vda ro\n",
	}.plant(t)
	expect(t, newLook(t, setting.Check{Kind: setting.KindReadonly}, root)(t.Context()), health.Fail, "read-only: / (/dev/vda)")
}

func BenchmarkReadonly(b *testing.B) { benchLook(b, setting.Check{Kind: setting.KindReadonly}, "") }
