// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// oomScoreOffset makes a hub a likelier victim of the kernel than the service.
// Raising needs no capability (proc_pid_oom_score_adj(5)).
const oomScoreOffset = 500

// oomKills reads how often the kernel killed for memory in this container's
// control group; ok is false where no file says so.
func oomKills() (kills int, ok bool) {
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	return countOOM(oomFiles("/sys/fs/cgroup", string(membership)))
}

// countOOM reads the first of the files that has the count.
func countOOM(files []string) (kills int, ok bool) {
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(data) {
			fields := strings.Fields(string(line))
			if len(fields) == 2 && fields[0] == "oom_kill" {
				n, err := strconv.Atoi(fields[1])
				return n, err == nil
			}
		}
	}
	return 0, false
}

// oomFiles lists where the count may stand, best first: version 2 of cgroups,
// then version 1; each with the path of our group, which a container without a
// cgroup namespace needs, then without (cgroups(7)). membership is the content of
// /proc/self/cgroup.
func oomFiles(root, membership string) (files []string) {
	for line := range strings.Lines(membership) {
		// <hierarchy>:<controllers>:<path>; version 2 has no controllers.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		base, name := "", ""
		switch {
		case fields[1] == "":
			base, name = root, "memory.events"
		case strings.Contains(","+fields[1]+",", ",memory,"):
			base, name = filepath.Join(root, "memory"), "memory.oom_control"
		default:
			continue
		}
		files = append(files, filepath.Join(base, fields[2], name), filepath.Join(base, name))
	}
	return files
}

// oomScore is hubinit's own oom_score_adj, which a child inherits.
type oomScore struct {
	file *os.File // nil: cannot be changed
	base int
}

// openOOMScore must run before hubinit makes itself undumpable: afterwards the
// file belongs to root.
func openOOMScore() oomScore {
	f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return oomScore{}
	}
	buf := make([]byte, 16)
	n, _ := f.Read(buf)
	base, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		f.Close()
		return oomScore{}
	}
	return oomScore{file: f, base: base}
}

// raised runs fork with the raised score, so that the child has it from its first
// moment, and takes it back. Nothing else is forked meanwhile: the caller is the
// one goroutine that forks.
func (o oomScore) raised(fork func()) {
	if o.file == nil {
		fork()
		return
	}
	o.file.WriteAt([]byte(strconv.Itoa(min(o.base+oomScoreOffset, 1000))), 0)
	fork()
	o.file.WriteAt([]byte(strconv.Itoa(o.base)), 0)
}
