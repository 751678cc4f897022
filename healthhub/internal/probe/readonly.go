// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// dockerStorage is where the engine keeps everything; read-only, nothing starts any more.
const dockerStorage = "/var/lib/docker"

// readonly looks for disks that take no more writes: after errors the kernel makes a file system read-only, and
// what only reads goes on as if nothing were. That is told from what is meant to be read-only by this: a file system is
// read-only though its mount is not, or was writable at an earlier look, or is to be writable by /etc/fstab, or holds
// the engine's storage. Errors that ext4 keeps count of are a warning before that.
type readonly struct {
	root     tree
	path     string          // what must be writable; "": every disk
	writable map[string]bool // devices that were
}

func readonlyLook(s setting.Check, root tree) Func {
	r := &readonly{root: root, path: s.Path, writable: map[string]bool{}}
	return func(context.Context) Result { return r.look() }
}

func (r *readonly) look() Result {
	text, err := r.root.mounts()
	if err != nil {
		return unreadable("mounts", err)
	}
	var mounts []mount
	for line := range strings.Lines(text) {
		if m, ok := parseMount(line); ok {
			mounts = append(mounts, m)
		}
	}
	if r.path != "" {
		return r.holding(mounts)
	}
	return r.disks(mounts)
}

// holding looks at the one mount that holds the path.
func (r *readonly) holding(mounts []mount) Result {
	m, ok := holder(mounts, r.path)
	if !ok {
		return blind("no mount holds %s", r.path)
	}
	if m.readonly() {
		res := fail("%s takes no writes: %s (%s) is read-only", r.path, m.point, m.source)
		if onDisk(m) {
			res = res.advise("see the kernel's log (dmesg) for errors of %s", m.source)
		} else {
			res = res.advise("see why it is mounted so; in a container, its volumes and read_only")
		}
		res.Values = []health.Value{value("readonly", "1", 1)}
		return res
	}
	res := pass("%s takes writes: %s (%s, %s)", r.path, m.point, m.source, m.fstype)
	res.Values = []health.Value{value("readonly", "1", 0)}
	return res
}

// holder finds the mount that a path is on: the longest point above it, and of those the last.
func holder(mounts []mount, path string) (best mount, ok bool) {
	path = filepath.Clean(path)
	for _, m := range mounts {
		if m.point != "/" && path != m.point && !strings.HasPrefix(path, m.point+"/") {
			continue
		}
		if !ok || len(m.point) >= len(best.point) {
			best, ok = m, true
		}
	}
	return best, ok
}

// disks looks at every disk that is written to.
func (r *readonly) disks(mounts []mount) Result {
	devices := map[string][]mount{}
	for _, m := range mounts {
		if onDisk(m) {
			devices[m.device] = append(devices[m.device], m)
		}
	}
	if len(devices) == 0 {
		return unsupported("read-only disks: no disk of the machine is seen here")
	}
	wanted := r.fstab()
	if m, ok := holder(mounts, dockerStorage); ok {
		if _, err := os.Stat(r.root.path(dockerStorage)); err == nil {
			wanted[m.point] = true
		}
	}
	var broken []string
	for device, mounts := range devices {
		if !slices.ContainsFunc(mounts, mount.readonly) {
			r.writable[device] = true
			continue
		}
		if m, lost := r.lost(device, mounts, wanted); lost {
			broken = append(broken, fmt.Sprintf("%s (%s)", m.point, m.source))
		}
	}
	slices.Sort(broken)
	errors := r.errors()
	var res Result
	switch {
	case len(broken) > 0:
		res = fail("read-only: %s", strings.Join(broken, ", ")).advise("see the kernel's log (dmesg) for errors of the disk, save what is on it, and check it with fsck")
	case len(errors) > 0:
		res = result(health.Warn, "errors were recorded on %s", strings.Join(errors, ", ")).advise("see the kernel's log (dmesg), and check the file system with fsck, which also clears this")
	default:
		res = pass("%s in use, and each takes writes as it is meant to", plural(uint64(len(devices)), "disk is", "disks are"))
	}
	res.Values = []health.Value{value("readonly", "1", float64(len(broken))), value("errors", "1", float64(len(errors)))}
	return res
}

// lost reports whether a device takes no writes that is meant to, and gives the mount to name.
func (r *readonly) lost(device string, mounts []mount, wanted map[string]bool) (m mount, lost bool) {
	for _, m := range mounts {
		if m.readonly() && wanted[m.point] || m.stopped() {
			return m, true
		}
	}
	if !mounts[0].sealed() {
		return m, false // single mounts of it are read-only: somebody wanted that
	}
	// The kernel sets the file system read-only and leaves the mounts; people set both.
	meant := slices.ContainsFunc(mounts, func(m mount) bool { return hasOption(m.options, "ro") })
	return mounts[0], !meant || r.writable[device]
}

// fstab gives the mount points that are to be writable.
func (r *readonly) fstab() map[string]bool {
	wanted := map[string]bool{}
	text, _ := r.root.read("/etc/fstab") // a container has none
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) >= 4 && !strings.HasPrefix(words[0], "#") && !hasOption(words[3], "ro") && !hasOption(words[3], "noauto") {
			wanted[unescape(words[1])] = true
		}
	}
	return wanted
}

// errors gives the disks on which ext4 has recorded errors.
func (r *readonly) errors() []string {
	var found []string
	for _, path := range r.root.glob("/sys/fs/ext4/*/errors_count") {
		if n, err := r.root.number(path); err == nil && n > 0 {
			found = append(found, fmt.Sprintf("%s (%d)", filepath.Base(filepath.Dir(path)), n))
		}
	}
	return found
}
