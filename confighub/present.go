// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"cloud4.internal/hub/confighub/internal/changes"
	"cloud4.internal/hub/internal/initctl"
)

// maxPresent bounds a file that is compared.
const maxPresent = 64 << 20

// presentFile reads a regular file; the zero File where there is none.
func presentFile(name string) (changes.File, error) {
	// Opening a pipe would wait for its writer.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return changes.File{}, nil
	}
	if err != nil {
		return changes.File{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return changes.File{}, err
	case !info.Mode().IsRegular():
		return changes.File{}, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > maxPresent:
		return changes.File{}, fmt.Errorf("%s is larger than %d bytes", name, maxPresent)
	}
	raw, err := io.ReadAll(f)
	return changes.File{Exists: true, Bytes: raw, Mode: info.Mode().Perm()}, err
}

// serviceEnv in the run directory holds the environment that bundles give to the service, each variable with a zero
// byte at its end.
const serviceEnv = "service.env"

// presentEnvironment reads it, as a text with a variable a line.
func presentEnvironment() (changes.File, error) {
	file, err := presentFile(filepath.Join(initctl.RunDir(), serviceEnv))
	file.Bytes = variables(file.Bytes)
	return file, err
}

// variables makes lines of variables with zero bytes at their ends.
func variables(raw []byte) []byte {
	if len(raw) == 0 {
		return nil
	}
	return changes.Variables(strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"))
}

// printJSON writes what --json prints: indented, with < and > as they are.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
