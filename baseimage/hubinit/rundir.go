// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// errRunDirTaken: emptying the directory would blind a living hubinit.
var errRunDirTaken = errors.New("another hubinit uses it")

// runDir is the directory of the volatile state files. Its flock, held for
// hubinit's life, keeps a second hubinit (docker exec) from emptying it.
type runDir struct {
	path     string
	lock     *os.File
	writable bool
	failing  bool // the last write of init.json did not succeed
}

// openRunDir makes, tightens and empties the directory. The error says why it is
// not writable, which the service can live with, or wraps errRunDirTaken.
func openRunDir(path string) (runDir, error) {
	d := runDir{path: path}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return d, err
	}
	tighten(path)
	lock, err := os.Open(path)
	if err != nil {
		return d, err
	}
	d.lock = lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return d, fmt.Errorf("%s: %w", path, errRunDirTaken)
	}
	probe, err := os.CreateTemp(path, ".hubinit.*.tmp")
	if err != nil {
		return d, err
	}
	probe.Close()
	entries, err := os.ReadDir(path)
	if err != nil {
		return d, err
	}
	mounts := mountsBelow(path)
	for _, e := range entries {
		if mounts[e.Name()] {
			continue // what is mounted here is somebody's, on the host or in a volume
		}
		// Another uid's file in a sticky directory stays; ours are written over.
		if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil && !errors.Is(err, os.ErrPermission) {
			return d, err
		}
	}
	d.writable = true
	return d, nil
}

// mountsBelow names the entries of a directory that are mount points (proc(5),
// mountinfo) or have one below them.
func mountsBelow(dir string) map[string]bool {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	names := map[string]bool{}
	info, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if below, ok := strings.CutPrefix(point, dir+"/"); ok {
			name, _, _ := strings.Cut(below, "/")
			names[name] = true
		}
	}
	return names
}
