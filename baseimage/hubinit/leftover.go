// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"strconv"
	"strings"
)

// process is a line of /proc/<pid>/stat as far as it matters here (proc_pid_stat(5)).
type process struct {
	parent, session int
	dead            bool // a zombie, or on its way out
}

// leftovers are our descendants that are not a hub and not a hub's: workers the
// service did not wait for, daemons that left its process group, hooks. They are
// found by descent and signalled one by one, never with kill(-1): that would hit
// the hubs, and where hubinit is not process 1 the whole machine.
func (s *supervisor) leftovers() (pids []int) {
	hubs := map[int]bool{}
	for _, h := range s.hubs {
		if h.running() {
			hubs[h.state.PID] = true
		}
	}
	all := processes()
	for pid, p := range all {
		if !p.dead && !hubs[p.session] && descends(all, pid, os.Getpid()) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// descends follows the parents; a bound keeps a torn snapshot from looping.
func descends(all map[int]process, pid, from int) bool {
	if pid == from {
		return false
	}
	for range 1000 {
		p, ok := all[pid]
		if !ok {
			return false
		}
		if p.parent == from {
			return true
		}
		pid = p.parent
	}
	return false
}

// processes reads all of /proc; empty where that is not mounted.
func processes() map[int]process {
	all := map[int]process{}
	dir, err := os.Open("/proc")
	if err != nil {
		return all
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		if p, ok := parseStat(string(data)); ok {
			all[pid] = p
		}
	}
	return all
}

// parseStat reads "pid (comm) state ppid pgrp session …"; comm may hold anything.
func parseStat(line string) (p process, ok bool) {
	_, rest, ok := cutLast(line, ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 4 {
		return p, false
	}
	parent, err1 := strconv.Atoi(fields[1])
	session, err2 := strconv.Atoi(fields[3])
	return process{parent: parent, session: session, dead: fields[0] == "Z" || fields[0] == "X"}, err1 == nil && err2 == nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// commandOf names a process for the report.
func commandOf(pid int) string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return strconv.Itoa(pid)
	}
	return strings.TrimSpace(string(data))
}
