// SPDX-License-Identifier: AGPL-3.0-or-later

package scaffold

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Write writes all files, or none: each must be new. Directories are made where there is none. The error names every file
// that is in the way.
func Write(files []File) error {
	if err := inTheWay(files); err != nil {
		return err
	}
	var made []string
	for _, f := range files {
		if err := writeNew(f, &made); err != nil {
			for _, name := range slices.Backward(made) {
				os.Remove(name) // a directory that others use by now stays
			}
			return fmt.Errorf("nothing is written: %w", err)
		}
	}
	return nil
}

func inTheWay(files []File) error {
	var found []error
	for _, f := range files {
		if _, err := os.Lstat(f.Path); err == nil {
			found = append(found, fmt.Errorf("%s is in the way", f.Path))
		} else if !errors.Is(err, fs.ErrNotExist) {
			found = append(found, err)
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("nothing is overwritten, so nothing is written:\n%w", errors.Join(found...))
	}
	return nil
}

// writeNew writes one file, and notes what it made, in order.
func writeNew(f File, made *[]string) error {
	if err := makeDir(filepath.Dir(f.Path), made); err != nil {
		return err
	}
	file, err := os.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.Mode)
	if err != nil {
		return err
	}
	*made = append(*made, f.Path)
	_, err = file.Write(f.Text)
	return errors.Join(err, file.Close())
}

func makeDir(dir string, made *[]string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(dir); parent != dir {
		if err := makeDir(parent, made); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	*made = append(*made, dir)
	return nil
}
