// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"os"
	"strings"
)

// mounts says what is mounted where, by mount point (proc(5), mountinfo): a file that is one is busy for rename.
// The value names the file system so that another container's differs, and that of the same one started again does
// not: it is what is mounted, and, of an overlay, the directory that takes its writes.
type mounts map[string]string

func readMounts() mounts {
	m := mounts{}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(info)) {
		mount, super, _ := strings.Cut(line, " - ")
		fields, rest := strings.Fields(mount), strings.Fields(super)
		if len(fields) < 5 || len(rest) < 3 {
			continue
		}
		id := fields[3] + "\x00" + rest[0] + "\x00" + rest[1]
		for option := range strings.SplitSeq(rest[2], ",") {
			if strings.HasPrefix(option, "upperdir=") {
				id += "\x00" + option
			}
		}
		m[unescapeMount.Replace(fields[4])] = sum([]byte(id))[:16]
	}
	return m
}

// is reports whether the path is a mount point.
func (m mounts) is(name string) bool { _, ok := m[name]; return ok }

// place names the file system that a path is in.
func (m mounts) place(name string) string {
	for {
		if id, ok := m[name]; ok {
			return id
		}
		if name == "/" || name == "." || name == "" {
			return ""
		}
		if name = name[:strings.LastIndexByte(name, '/')]; name == "" {
			name = "/"
		}
	}
}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
