// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
)

const hostMounts = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 0:25 / /run rw,nosuid - tmpfs tmpfs rw,size=4k
40 27 8:1 / /srv/Data rw,relatime - xfs /dev/sda1 rw
41 27 8:17 / /srv/data\0402 rw,relatime - xfs /dev/sdb1 rw
42 27 254:0 /var/lib/docker /var/lib/docker rw,relatime - ext4 /dev/vda rw,discard
43 27 8:33 / /var/lib/postgres rw - btrfs /dev/sdc1 rw
44 27 7:1 / /snap/core ro,nodev - squashfs /dev/loop1 ro
45 27 8:49 / /mnt/old ro - ext4 /dev/sdd1 ro
46 27 8:65 /containers/1/hosts /etc/hosts rw - ext4 /dev/sde1 rw
`

// Each disk that is written to once, at its shortest mount point, if that makes a name.
func TestHostChecks(t *testing.T) {
	root := files{"/proc/self/mountinfo": hostMounts, "/etc/hosts": ""}.plant(t)
	checks := HostChecks(Place{Root: root})
	got := map[string]string{}
	for name, s := range checks {
		if err := health.CheckName(health.KindCheck, name); err != nil {
			t.Error(err)
		}
		if _, err := New(s, Place{Root: root}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s.Kind == "disk" || s.Kind == "inode" {
			got[name] = s.Path
		}
	}
	want := map[string]string{
		"disk": "/", "disk/srv/data": "/srv/Data", "disk/var/lib/postgres": "/var/lib/postgres",
		"inode": "/", "inode/srv/data": "/srv/Data", "inode/var/lib/postgres": "/var/lib/postgres",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// In a container / is a layer, as large as the disk below it, which is a volume's too: one disk, watched once.
func TestHostChecksOfAContainer(t *testing.T) {
	root := files{
		"/proc/self/mountinfo": "1 0 0:50 / / rw - overlay overlay rw\n2 1 8:1 /v /var/lib/hub rw - ext4 /dev/sda1 rw\n3 1 8:1 /h /etc/hosts rw - ext4 /dev/sda1 rw\n",
		"/etc/hosts":           "", "/var/lib/hub/0/lock": "",
	}.plant(t)
	if diff := cmp.Diff([]string{"/"}, disks(tree(root))); diff != "" {
		t.Error(diff)
	}
}

// Every look of this machine measures something, or says that it cannot.
func TestHostChecksOfThisMachine(t *testing.T) {
	checks := HostChecks(Place{})
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		look, err := New(checks[name], Place{})
		if err != nil {
			t.Fatal(err)
		}
		r := look(t.Context())
		t.Logf("%-14s %v %s", name, r.State, r.Text)
		acceptable(t, r)
		if r.Blind != r.Unsupported {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
