// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// defaultPath is what a C library's execvp searches when PATH is unset, with the
// directories that Debian's login gives in addition.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// startError is why a program could not be started, with the exit code that
// shells and Docker have for it.
type startError struct {
	code int // 126 or 127
	text string
}

func (e *startError) Error() string { return e.text }

// findProgram resolves a command's name as execvp(3) does: a name with a slash is
// taken as it is, relative to cwd; another is looked for in path.
func findProgram(name, path, cwd string) (string, error) {
	if name == "" {
		return "", &startError{exitNotFound, "the program's name is empty"}
	}
	if strings.Contains(name, "/") {
		return name, nil
	}
	if path == "" {
		path = defaultPath
	}
	refused := ""
	for dir := range strings.SplitSeq(path, ":") {
		file := filepath.Join(or(dir, "."), name)
		info, err := os.Stat(inDir(file, cwd))
		if err != nil || info.IsDir() {
			continue
		}
		if info.Mode()&0o111 != 0 {
			return file, nil
		}
		refused = file
	}
	if refused != "" {
		return "", &startError{exitNotExec, fmt.Sprintf("%s is not executable: chmod +x it in the Dockerfile", refused)}
	}
	return "", &startError{exitNotFound, fmt.Sprintf("program %q not found in PATH=%s", name, path)}
}

func inDir(path, dir string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// explainExec says in words for people why execve(2) of file failed.
func explainExec(file, path, cwd string, err error) error {
	full := inDir(file, cwd)
	info, statErr := os.Stat(full)
	switch {
	case errors.Is(err, syscall.ENOENT) && statErr != nil, errors.Is(err, syscall.ENOTDIR):
		return &startError{exitNotFound, fmt.Sprintf("program %s not found (PATH=%s)", full, path)}
	case statErr == nil && info.IsDir():
		return &startError{exitNotExec, fmt.Sprintf("%s is a directory", full)}
	case errors.Is(err, syscall.ENOENT):
		return &startError{exitNotExec, fmt.Sprintf("%s needs %s, which is not there", full, interpreter(full))}
	case errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.ELIBBAD):
		return &startError{exitNotExec, fmt.Sprintf("%s cannot be executed here: %s", full, wrongFormat(full))}
	case errors.Is(err, syscall.EACCES):
		return &startError{exitNotExec, fmt.Sprintf("%s is not executable for this user, or its file system is mounted noexec", full)}
	}
	return &startError{exitNotExec, fmt.Sprintf("starting %s: %v", full, err)}
}

// ELF header (elf(5)): magic, class, data encoding; e_machine at 18. Program
// headers are read to find PT_INTERP.
const (
	elfMagic  = "\x7fELF"
	ptInterp  = 3
	headBytes = 4096
)

func head(file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, headBytes))
	return data
}

// interpreter names what a program needs to run: after #!, or the dynamic loader.
func interpreter(file string) string {
	data := head(file)
	if line, ok := bytes.CutPrefix(data, []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		if bytes.HasSuffix(line, []byte("\r")) {
			return fmt.Sprintf("the interpreter %q (the file has Windows line ends)", strings.TrimSpace(string(line)))
		}
		return "the interpreter " + strings.TrimSpace(string(line))
	}
	if loader := elfLoader(data); loader != "" {
		return "the dynamic loader " + loader + " (built for another C library or architecture?)"
	}
	return "an interpreter"
}

// elfLoader finds PT_INTERP in the first bytes of an ELF file.
func elfLoader(data []byte) string {
	order, wide, ok := elfLayout(data)
	if !ok || len(data) < 64 {
		return ""
	}
	// Where the program headers stand, and in them offset and size in the file.
	phoff, size, num, offAt, lenAt := uint64(order.Uint32(data[28:])), order.Uint16(data[42:]), order.Uint16(data[44:]), 4, 16
	if wide {
		phoff, size, num, offAt, lenAt = order.Uint64(data[32:]), order.Uint16(data[54:]), order.Uint16(data[56:]), 8, 32
	}
	for i := range uint64(num) {
		at := phoff + i*uint64(size)
		if size < 32 || at > headBytes || at+uint64(size) > uint64(len(data)) || wide && size < 56 {
			return ""
		}
		ph := data[at:]
		if order.Uint32(ph) != ptInterp {
			continue
		}
		off, length := uint64(order.Uint32(ph[offAt:])), uint64(order.Uint32(ph[lenAt:]))
		if wide {
			off, length = order.Uint64(ph[offAt:]), order.Uint64(ph[lenAt:])
		}
		if off > headBytes || length > headBytes || off+length > uint64(len(data)) {
			return ""
		}
		return string(bytes.TrimRight(data[off:off+length], "\x00"))
	}
	return ""
}

func elfLayout(data []byte) (order binary.ByteOrder, wide, ok bool) {
	if len(data) < 20 || string(data[:4]) != elfMagic {
		return nil, false, false
	}
	order = binary.LittleEndian
	if data[5] == 2 {
		order = binary.BigEndian
	}
	return order, data[4] == 2, true
}

// wrongFormat says what a file is that the kernel does not take as a program.
func wrongFormat(file string) string {
	data := head(file)
	order, wide, ok := elfLayout(data)
	if !ok {
		return "it is neither a program nor a script that begins with #! and its interpreter"
	}
	return fmt.Sprintf("it is built for %s, this container is %s", machineName(order.Uint16(data[18:]), wide), runtime.GOARCH)
}

// machineName gives e_machine Docker's platform names (ELF specification, e_machine).
func machineName(machine uint16, wide bool) string {
	switch machine {
	case 3:
		return "386"
	case 40:
		return "arm"
	case 62:
		return "amd64"
	case 183:
		return "arm64"
	case 8:
		return "mips"
	case 21:
		return "ppc64le"
	case 22:
		return "s390x"
	case 243:
		if wide {
			return "riscv64"
		}
		return "riscv32"
	}
	return fmt.Sprintf("machine %d", machine)
}
