// SPDX-License-Identifier: AGPL-3.0-or-later

package medium

import (
	"os"
	"path/filepath"
	"testing"
)

// machine builds /proc and /sys of a machine with an SD card, an SSD, a stick and
// what lies on them.
func machine(t *testing.T, mountinfo string) root {
	t.Helper()
	r := t.TempDir()
	file := func(path, text string) {
		path = filepath.Join(r, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(path, to string) {
		path = filepath.Join(r, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(r, to), path); err != nil {
			t.Fatal(err)
		}
	}
	card, ssd, stick := "sys/devices/platform/mmc0/block/mmcblk0", "sys/devices/pci/nvme/nvme0n1", "sys/devices/usb/block/sdb"
	mapped, loop := "sys/devices/virtual/block/dm-0", "sys/devices/virtual/block/loop0"
	file(card+"/removable", "0\n")
	file(card+"/mmcblk0p2/partition", "2\n")
	file(ssd+"/removable", "0\n")
	file(ssd+"/nvme0n1p1/partition", "1\n")
	file(stick+"/removable", "1\n")
	link(mapped+"/slaves/mmcblk0p2", card+"/mmcblk0p2")
	file(loop+"/loop/backing_file", "/on/card/image\n")
	link("sys/dev/block/179:2", card+"/mmcblk0p2")
	link("sys/dev/block/259:1", ssd+"/nvme0n1p1")
	link("sys/dev/block/8:16", stick)
	link("sys/dev/block/253:0", mapped)
	link("sys/dev/block/7:0", loop)
	link("sys/class/block/mmcblk0p2", card+"/mmcblk0p2")
	file("proc/self/mountinfo", mountinfo)
	return root(r)
}

func TestOf(t *testing.T) {
	dir := t.TempDir()
	state := "1 0 179:2 / " + dir
	overlay := "9 0 0:55 / / rw - overlay overlay rw,upperdir=/u\n"
	for _, tt := range []struct {
		name, mountinfo string
		want            Medium
	}{
		{"SD card", state + " rw - ext4 /dev/mmcblk0p2 rw\n", Medium{Flash, "mmcblk0", false}},
		{"SSD", "1 0 259:1 / " + dir + " rw shared:1 - ext4 /dev/nvme0n1p1 rw\n", Medium{Disk, "nvme0n1", false}},
		{"stick", "1 0 8:16 / " + dir + " rw - vfat /dev/sdb rw\n", Medium{Flash, "sdb", false}},
		{"mapper on a card", "1 0 253:0 / " + dir + " rw - ext4 /dev/mapper/root rw\n", Medium{Flash, "mmcblk0", false}},
		{"loop on a card", "1 0 7:0 / " + dir + " rw - ext4 /dev/loop0 rw\n2 0 179:2 / /on/card rw - ext4 /dev/mmcblk0p2 rw\n", Medium{Flash, "mmcblk0", false}},
		{"btrfs on a card", "1 0 0:31 /v " + dir + " rw - btrfs /dev/mmcblk0p2 rw\n", Medium{Flash, "mmcblk0", false}},
		{"tmpfs", "1 0 0:40 / " + dir + " rw - tmpfs tmpfs rw\n", Medium{Memory, "tmpfs", false}},
		{"raw flash", "1 0 0:41 / " + dir + " rw - ubifs ubi0:data rw\n", Medium{Flash, "ubifs", false}},
		{"the container's layer on a card", overlay + "2 9 179:2 /c/hosts /etc/hosts rw - ext4 /dev/mmcblk0p2 rw\n", Medium{Flash, "mmcblk0", true}},
		{"the container's layer, hidden", overlay, Medium{Disk, "overlay", true}},
		{"a volume in a container", overlay + state + " rw - ext4 /dev/mmcblk0p2 rw\n", Medium{Flash, "mmcblk0", false}},
		{"no such device", "1 0 99:9 / " + dir + " rw - nfs4 server:/x rw\n", Medium{Disk, "nfs4", false}},
		{"nothing known", "", Medium{Kind: Disk}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := machine(t, tt.mountinfo).of(filepath.Join(dir, "to", "come")); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestHere: the machine this runs on has some answer, and /dev/shm or /proc no device.
func TestHere(t *testing.T) {
	if got := Of(t.TempDir()); got.Name == "" {
		t.Errorf("of the temporary directory nothing is known: %+v", got)
	}
}
