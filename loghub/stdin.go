// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

var errTerminal = errors.New("stdin is a terminal: pipe something into it (command 2>&1 | loghub run), or name files in log.files")

// stdin makes what stands on standard input a pipe: `command | loghub run`, `loghub run < file`, or a socket that a
// supervisor left there. nil: there is nothing to read.
func stdin(f *os.File) (*os.File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, nil // it is closed
	}
	switch mode := info.Mode(); {
	case mode&fs.ModeNamedPipe != 0:
		if err := unix.SetNonblock(int(f.Fd()), true); err != nil {
			return nil, fmt.Errorf("reading stdin: %w", err)
		}
		return os.NewFile(f.Fd(), "stdin"), nil
	case mode.IsRegular(), mode&fs.ModeSocket != 0:
		return pump(f)
	case isTerminal(f):
		return nil, errTerminal
	}
	return nil, nil // such as /dev/null
}

// pump copies what tee(2) cannot look into to a pipe.
func pump(f *os.File) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("reading stdin: %w", err)
	}
	go func() {
		defer w.Close()
		// An error of reading is the end, as it is for every filter; writing fails only when nobody reads any more.
		_, _ = io.Copy(w, f)
	}()
	return r, nil
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
