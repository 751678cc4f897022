// SPDX-License-Identifier: AGPL-3.0-or-later

// Package atomicfile replaces a file whole: a reader sees the old content or the new one, never a part,
// whatever happens to the writer, the machine or the disk in between.
//
// The new content goes to a temporary file in the same directory (so that rename(2) stays within one
// file system), gets its mode, and is renamed over the old name. [Write] also forces it to the disk: first the file, since
// a rename may reach the disk before the data it names, then the directory, which holds the rename
// (fsync(2), notes). [WriteVolatile] leaves the forcing out; it is for /run, which no power failure survives.
//
// After an error the old file stands untouched and the temporary one is gone, also when the disk is full.
// Only a writer that is killed in the middle leaves a file behind, named ".<name>.<random>.tmp".
//
// Left out: creating directories, keeping owner or mode of the old file, following a link (the link is
// replaced, not what it points to), and locking (of two writers the last one wins, whole).
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write replaces path with data, on the disk when it returns. The file has exactly the permission bits
// of mode, whatever the umask, from before the moment it can be seen under its name. Errors name the step and the path.
func Write(path string, data []byte, mode fs.FileMode) error {
	if err := replace(path, data, mode, (*os.File).Sync); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// WriteVolatile replaces path with data like [Write], without waiting for the disk.
func WriteVolatile(path string, data []byte, mode fs.FileMode) error {
	return replace(path, data, mode, func(*os.File) error { return nil })
}

// replace does the work of both; flush is called on the complete temporary file before the rename.
func replace(path string, data []byte, mode fs.FileMode, flush func(*os.File) error) (err error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "." // os.CreateTemp takes "" for the directory of temporary files
	}
	// CreateTemp makes the file 0600: a secret is never readable by others, not even before its mode is set.
	f, err := os.CreateTemp(dir, "."+name+".*.tmp")
	if err != nil {
		return fmt.Errorf("creating a temporary file for %q: %w", path, cause(err))
	}
	defer func() {
		if err != nil {
			f.Close() // a second close of a closed file is harmless
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("writing %q: %w", path, cause(err))
	}
	if err := f.Chmod(mode.Perm()); err != nil {
		return fmt.Errorf("setting the mode of %q: %w", path, cause(err))
	}
	if err := flush(f); err != nil {
		return fmt.Errorf("syncing %q: %w", path, cause(err))
	}
	// Close before the rename: network file systems tell of a full disk only here.
	if err := f.Close(); err != nil {
		return fmt.Errorf("closing %q: %w", path, cause(err))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("replacing %q: %w", path, cause(err))
	}
	return nil
}

// cause takes the path off an error of package os: ours have it, and that of the temporary file is another one each time.
func cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// syncDir forces the entries of dir to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening the directory %q: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing the directory %q: %w", dir, err)
	}
	return nil
}
