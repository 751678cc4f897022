// SPDX-License-Identifier: AGPL-3.0-or-later

// Package medium tells what a directory lies on: flash that wears, memory, or a
// disk; and whether it outlives the container.
//
// The device is that of /proc/self/mountinfo (proc_pid_mountinfo(5)) for the mount
// with the directory: field 3, or where that is a number of the file system's own
// (btrfs, overlay) its source. Of an overlay, which is what a container's own layer
// mostly is, the device is not to be seen; there the mount of /etc/hosts stands for
// it: container engines keep that file and the layers in one place. From the device
// sysfs leads to the disk, through partitions, device mapper and loops.
//
// Flash without wear levelling to speak of: SD cards and eMMC (mmcblk*), raw flash
// (mtd, ubi, UBIFS, JFFS2), and what is removable (USB sticks). SSDs are disks.
//
// Left out: network file systems and what lies under a virtual machine's disk,
// which are disks, too.
package medium

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kind is what a directory lies on.
type Kind string

// Kinds; what cannot be told is a disk.
const (
	Disk   Kind = "disk"
	Flash  Kind = "flash"
	Memory Kind = "memory"
)

// Medium is what is known of a directory's place.
type Medium struct {
	Kind Kind
	Name string // of the device or file system: mmcblk0, tmpfs; "": not known
	// Layer says that the directory is in the container's own layer, and is removed
	// together with it.
	Layer bool
}

// maxDepth bounds the way from a partition through mapper and loop to a disk.
const maxDepth = 6

// Of looks at a directory, or at the nearest one above it that is there.
func Of(dir string) Medium { return root("/").of(dir) }

// root is where /proc and /sys are: "/", but for tests.
type root string

func (r root) of(dir string) Medium {
	mounts := r.mounts()
	m, ok := find(mounts, existing(dir))
	if !ok {
		return Medium{Kind: Disk}
	}
	out := Medium{Kind: Disk, Name: m.fs}
	out.Layer = m.at == "/" && m.fs == "overlay"
	switch m.fs {
	case "tmpfs", "ramfs":
		out.Kind = Memory
		return out
	case "ubifs", "jffs2":
		out.Kind = Flash
		return out
	case "overlay":
		if m, ok = find(mounts, "/etc/hosts"); !ok || m.at != "/etc/hosts" {
			return out
		}
	}
	disk := r.disk(m)
	if disk == "" {
		return out
	}
	out.Name = filepath.Base(disk)
	out.Kind = r.kind(disk)
	return out
}

// existing is the nearest directory that is there, without links.
func existing(dir string) string {
	for {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return real
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}

// mount is a line of mountinfo.
type mount struct {
	device string // major:minor
	at     string
	fs     string
	source string
}

func (r root) mounts() []mount {
	text, err := os.ReadFile(filepath.Join(string(r), "proc/self/mountinfo"))
	if err != nil {
		return nil
	}
	var out []mount
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 6 || len(f) < dash+3 {
			continue
		}
		out = append(out, mount{device: f[2], at: unescape.Replace(f[4]), fs: f[dash+1], source: unescape.Replace(f[dash+2])})
	}
	return out
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// find returns the mount that path is on: the last of those with the longest way.
func find(mounts []mount, path string) (found mount, ok bool) {
	for _, m := range mounts {
		below := m.at == "/" || path == m.at || strings.HasPrefix(path, m.at+"/")
		if below && len(m.at) >= len(found.at) {
			found, ok = m, true
		}
	}
	return found, ok
}

// disk returns the directory of the disk below /sys/devices; "" if there is none.
func (r root) disk(m mount) string {
	at := filepath.Join(string(r), "sys/dev/block", m.device)
	for range maxDepth {
		real, err := filepath.EvalSymlinks(at)
		if err != nil {
			if !strings.HasPrefix(m.source, "/dev/") {
				return ""
			}
			at, m.source = filepath.Join(string(r), "sys/class/block", filepath.Base(m.source)), ""
			continue
		}
		if _, err := os.Stat(filepath.Join(real, "partition")); err == nil {
			real = filepath.Dir(real)
		}
		next := r.below(real)
		if next == "" {
			return real
		}
		at = next
	}
	return ""
}

// below returns what a mapped device or a loop lies on; "" if it is a disk itself.
func (r root) below(disk string) string {
	if slaves, err := os.ReadDir(filepath.Join(disk, "slaves")); err == nil && len(slaves) > 0 {
		return filepath.Join(disk, "slaves", slaves[0].Name())
	}
	backing, err := os.ReadFile(filepath.Join(disk, "loop/backing_file"))
	if err != nil {
		return ""
	}
	m, ok := find(r.mounts(), strings.TrimSpace(string(backing)))
	if !ok {
		return ""
	}
	return filepath.Join(string(r), "sys/dev/block", m.device)
}

// kind judges a disk by its directory in sysfs.
func (r root) kind(disk string) Kind {
	name := filepath.Base(disk)
	for _, prefix := range []string{"mmcblk", "mtd", "ubi"} {
		if strings.HasPrefix(name, prefix) {
			return Flash
		}
	}
	if strings.HasPrefix(name, "zram") || strings.HasPrefix(name, "ram") {
		return Memory
	}
	if text, err := os.ReadFile(filepath.Join(disk, "removable")); err == nil && strings.TrimSpace(string(text)) == "1" {
		return Flash
	}
	return Disk
}
