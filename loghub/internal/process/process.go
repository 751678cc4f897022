// SPDX-License-Identifier: AGPL-3.0-or-later

// Package process says what the system knows of a process (proc(5)), and whether one that was there once still is.
package process

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Stat is what /proc/<pid>/stat says.
type Stat struct {
	Name  string // of the program, at most 15 bytes
	State string // R, S, D, Z …
	Start string // in clock ticks since the machine booted: with the number it names a process for good
}

// Read reads it; false if the process is gone, or not to be seen.
func Read(pid int) (s Stat, ok bool) {
	if pid <= 0 {
		return s, false
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return s, false
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')') // the name may hold both
	if open < 0 || end < open {
		return s, false
	}
	const state, start = 0, 22 - 3 // behind the name stands field 3, the state
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) <= start {
		return s, false
	}
	return Stat{Name: string(text[open+1 : end]), State: fields[state], Start: fields[start]}, true
}

// Mark tells a process, besides its number, from any other that has the number in another container or at another time.
type Mark struct {
	Namespace string `json:"namespace"` // in which the number counts (pid_namespaces(7))
	Start     string `json:"start"`
}

// Self is the mark of this process; what cannot be told is empty.
func Self() Mark {
	s, _ := Read(os.Getpid())
	return Mark{namespace(), s.Start}
}

func namespace() string {
	name, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return name
}

// Gone says whether the process with that number and mark has ended; false also where that cannot be told, as from another
// container.
func (m Mark) Gone(pid int) bool {
	if pid <= 0 || m.Namespace == "" || m.Start == "" || m.Namespace != namespace() {
		return false
	}
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	s, ok := Read(pid)
	return ok && (s.Start != m.Start || s.State == "Z" || s.State == "X")
}
