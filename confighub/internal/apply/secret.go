// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sharedMemory is the tmpfs that every container has.
const sharedMemory = "/dev/shm"

// keepDir is where copies of files are kept: in the state, or, of secrets, on a tmpfs, so that they are on no disk
// but where their target is. A copy on a tmpfs does not outlive its container.
func (a *Applier) keepDir(secret bool, kind string) (string, error) {
	if !secret {
		return a.file(kind), nil
	}
	dir, err := a.secretDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, kind), nil
}

// secretDir is this state's own directory on a tmpfs, which is made if need be: in the run directory if that is one,
// else in /dev/shm. Its name is random, and kept in the state, since others may make directories there too.
func (a *Applier) secretDir() (string, error) {
	if dir := a.knownSecretDir(); dir != "" {
		return dir, nil
	}
	place := a.opts.RunDir
	switch {
	case onMemory(a.opts.RunDir):
	case onMemory(a.opts.shm):
		place = a.opts.shm
	case !a.warned:
		a.warned = true
		a.opts.Log.Warn().Str("run_dir", a.opts.RunDir).Str("tried", a.opts.shm).
			Msg("no tmpfs can be written to: copies of secrets are kept in the run directory until the container ends")
	}
	name := filepath.Join(place, "confighub-"+strings.ToLower(rand.Text()[:16]))
	if err := a.disk.store(a.file(tmpfsFile), []byte(name)); err != nil {
		return "", fmt.Errorf("keeping where copies of secrets are: %w", err)
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		return "", fmt.Errorf("making the directory of copies of secrets: %w", err)
	}
	return name, nil
}

// knownSecretDir returns the directory if it is there, and nobody else's.
func (a *Applier) knownSecretDir() string {
	raw, err := os.ReadFile(a.file(tmpfsFile))
	if name := string(raw); err == nil && filepath.IsAbs(name) && ours(name) {
		return name
	}
	return ""
}

// ours reports whether name is a directory that no other user can look into or put things in.
func ours(name string) bool {
	var stat unix.Stat_t
	err := unix.Lstat(name, &stat)
	return err == nil && stat.Mode == unix.S_IFDIR|0o700 && stat.Uid == uint32(os.Geteuid())
}

// onMemory reports whether dir is on a file system without a disk, and can be written to.
func onMemory(dir string) bool {
	var stat unix.Statfs_t
	if unix.Statfs(dir, &stat) != nil || unix.Access(dir, unix.W_OK) != nil {
		return false
	}
	kind := uint32(stat.Type) // of 32 or 64 bits, by architecture
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}

// leaveSecretDir removes the directory, and what points to it, when nothing is in it.
func (a *Applier) leaveSecretDir() {
	raw, err := os.ReadFile(a.file(tmpfsFile))
	if err != nil {
		return
	}
	name := string(raw)
	os.Remove(filepath.Join(name, driftedDir))
	if err := os.Remove(name); err == nil || errors.Is(err, fs.ErrNotExist) {
		os.Remove(a.file(tmpfsFile))
	}
}

// clearUndo removes the copies of a transaction that is over.
func (a *Applier) clearUndo() {
	os.RemoveAll(a.file(undoDir))
	if dir := a.knownSecretDir(); dir != "" {
		os.RemoveAll(filepath.Join(dir, undoDir))
		a.leaveSecretDir()
	}
}
