// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

const (
	// hostInterval is between looks at a machine: nothing of it is worth less than half a minute's notice.
	hostInterval = 30 * time.Second
	// maxDisks bounds how many file systems are watched unasked.
	maxDisks = 8
)

// HostChecks gives the checks that a machine has without settings, by name, as `healthhub serve` on a host wants
// them: memory, pressure, temperature, clock, readonly, scheduler (whether the checks themselves are taken in time), and for each disk in use disk<mount point> and inode<mount point>, without the point for /. Each is
// made into a look by [New] with the same place; the caller's settings may replace one by its name. None is critical, so that a
// host with a full disk warns and does not fail, and a look that is not supported here says so by itself.
//
// The disks are those mounted now: call it at the start.
func HostChecks(place Place) map[string]setting.Check {
	checks := map[string]setting.Check{}
	add := func(name, kind string, change func(*setting.Check)) {
		s := setting.DefaultCheck(kind)
		s.Interval, s.Fall = hostInterval, 2
		if change != nil {
			change(&s)
		}
		checks[name] = s
	}
	host := func(s *setting.Check) { s.Scope = setting.ScopeHost }
	add("memory", setting.KindMemory, host)
	add("pressure", setting.KindPressure, func(s *setting.Check) { host(s); s.Window = 5 * time.Minute }) // a build may take a minute
	add("temperature", setting.KindTemperature, nil)
	add("clock", setting.KindClock, nil)
	add("readonly", setting.KindReadonly, nil)
	add("scheduler", setting.KindScheduler, func(s *setting.Check) { s.Fall = 1 }) // a late look says so only once
	for _, point := range disks(tree(place.Root)) {
		at := func(s *setting.Check) { s.Path = point }
		name := strings.TrimSuffix(strings.ToLower(point), "/")
		if health.CheckName(health.KindCheck, "inode"+name) == nil {
			add("disk"+name, setting.KindDisk, at)
			add("inode"+name, setting.KindInode, at)
		}
	}
	return checks
}

// mounts reads the table of mounts. Below another root it is that of process 1, since this process sees others; where there
// is none, its own.
func (t tree) mounts() (string, error) {
	if t != "" {
		if text, err := t.read("/proc/1/mountinfo"); err == nil {
			return text, nil
		}
	}
	return t.read("/proc/self/mountinfo")
}

// disks gives where disks are mounted, / first, and each disk once.
func disks(root tree) []string {
	text, _ := root.mounts()
	points := map[string]string{} // device → the shortest of its mount points
	for line := range strings.Lines(text) {
		m, ok := parseMount(line)
		if !ok || !onDisk(m) || m.readonly() {
			continue
		}
		if info, err := os.Lstat(root.path(m.point)); err == nil && !info.IsDir() {
			continue // in a container /etc/hosts is a mount
		}
		if point, seen := points[m.device]; !seen || len(m.point) < len(point) {
			points[m.device] = m.point
		}
	}
	found := slices.SortedFunc(maps.Values(points), func(a, b string) int { return len(a) - len(b) })
	if !slices.Contains(found, "/") { // in a container / is a layer of images, on a disk that its volumes may be on too
		found = slices.DeleteFunc(found, func(point string) bool { return root.asLargeAs(point, "/") })
		found = append([]string{"/"}, found...)
	}
	return found[:min(len(found), maxDisks)]
}

// asLargeAs reports whether two places have as many blocks and inodes: a layer of images has those of the disk below it
// (Documentation/filesystems/overlayfs.rst).
func (t tree) asLargeAs(a, b string) bool {
	var of [2]syscall.Statfs_t
	for i, path := range [2]string{a, b} {
		if err := syscall.Statfs(t.path(path), &of[i]); err != nil {
			return false
		}
	}
	return of[0].Blocks == of[1].Blocks && of[0].Files == of[1].Files && of[0].Bsize == of[1].Bsize
}

// madeOnce are file systems that are made once and never written.
var madeOnce = []string{"squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs"}

// onDisk reports whether a mount is of a file system on a disk of this machine, which is written to.
func onDisk(m mount) bool {
	return (m.fstype == "zfs" || strings.HasPrefix(m.source, "/dev/")) && !slices.Contains(madeOnce, m.fstype) && m.source != "/dev/fuse"
}

// readonly reports whether the mount or the file system behind it takes no writes.
func (m mount) readonly() bool {
	return hasOption(m.options, "ro") || m.sealed() || m.stopped()
}

// sealed reports whether the file system itself, and not only a mount of it, is read-only.
func (m mount) sealed() bool { return hasOption(m.super, "ro") }

// stopped reports whether the kernel took a file system's writes away after errors. ext4 says so in words of its own since
// Linux 6.15, and shows itself as writable.
func (m mount) stopped() bool {
	return hasOption(m.super, "emergency_ro") || hasOption(m.super, "shutdown")
}

func hasOption(options, name string) bool { return slices.Contains(strings.Split(options, ","), name) }
