// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	for _, e := range entries {
		// Another uid's file in a sticky directory stays; ours are written over.
		if err := os.RemoveAll(filepath.Join(path, e.Name())); err != nil && !errors.Is(err, os.ErrPermission) {
			return d, err
		}
	}
	d.writable = true
	return d, nil
}
