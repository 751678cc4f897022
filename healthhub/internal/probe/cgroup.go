// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// noLimit is a limit that is none.
const noLimit = 1<<64 - 1

// cgroup is where this process's control group is seen: the container's own, since healthhub runs in it.
type cgroup struct {
	dir string // of the group
	top string // of the uppermost group that is seen, dir or above it
	v2  bool
}

// errNoCgroup wraps fs.ErrNotExist: it will not be there at the next look.
var errNoCgroup = fmt.Errorf("no control group is mounted: %w", fs.ErrNotExist)

// findCgroup finds the group of a controller of version 1, where that is mounted, else of version 2. An empty
// controller is version 2 itself, which may be mounted beside version 1 (cgroups(7)).
func (t tree) findCgroup(controller string) (cgroup, error) {
	own, err := t.read("/proc/self/cgroup")
	if err != nil {
		return cgroup{}, err
	}
	mounts, err := t.read("/proc/self/mountinfo")
	if err != nil {
		return cgroup{}, err
	}
	if controller != "" {
		if path, ok := ownGroup(own, controller); ok {
			return mounted(mounts, path, func(m mount) bool {
				return m.fstype == "cgroup" && slices.Contains(strings.Split(m.super, ","), controller)
			})
		}
	}
	path, ok := ownGroup(own, "")
	if !ok {
		return cgroup{}, errNoCgroup
	}
	c, err := mounted(mounts, path, func(m mount) bool { return m.fstype == "cgroup2" })
	c.v2 = true
	return c, err
}

// ownGroup finds the line of a controller in /proc/self/cgroup: "4:memory:/path", "0::/path".
func ownGroup(text, controller string) (path string, ok bool) {
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && slices.Contains(strings.Split(parts[1], ","), controller) {
			return parts[2], true
		}
	}
	return "", false
}

// mounted finds where a group of that path is seen. The mount may show only a part of the hierarchy, from its root on.
func mounted(mounts, path string, is func(mount) bool) (cgroup, error) {
	for line := range strings.Lines(mounts) {
		m, ok := parseMount(line)
		if !ok || !is(m) {
			continue
		}
		below, err := filepath.Rel(m.root, path)
		if err != nil || below == ".." || strings.HasPrefix(below, "../") {
			below = "." // the path is that of another namespace: the mount's root is the nearest there is
		}
		return cgroup{dir: filepath.Join(m.point, below), top: m.point}, nil
	}
	return cgroup{}, errNoCgroup
}

// mount is a line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	device         string // major:minor
	root, point    string
	options        string // of this mount
	fstype, source string
	super          string // options of the file system
}

func parseMount(line string) (m mount, ok bool) {
	before, after, ok := strings.Cut(line, " - ")
	if !ok {
		return m, false
	}
	left, right := strings.Fields(before), strings.Fields(after)
	if len(left) < 6 || len(right) < 2 {
		return m, false
	}
	m = mount{device: left[2], root: unescape(left[3]), point: unescape(left[4]), options: left[5], fstype: right[0], source: unescape(right[1])}
	if len(right) > 2 {
		m.super = right[2]
	}
	return m, true
}

// unescape undoes what the kernel does to space, tab, newline and backslash in the tables of mounts.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
