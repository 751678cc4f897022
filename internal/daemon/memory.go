// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// started is when the work of a start is over: settings, enrolment, first connections. From then on, releaseEvery is how
// often what nobody uses is given back.
const (
	started      = 10 * time.Second
	releaseEvery = time.Minute
)

// Small is for hubs, of which every container has some: it trades CPU time, of which they need next to none, for memory.
// Go code runs on at most procs threads at a time; each has its own store of half-used pages. Garbage is collected when
// the heap has grown by gcPercent since the last time. What starting took and nobody uses goes back to the machine once it
// is over, and again and again what has become free since, and the program's own pages, until done is called: some milliseconds
// a minute, for a tenth of what a hub holds.
func Small(procs, gcPercent int) (done func()) {
	runtime.GOMAXPROCS(min(procs, runtime.GOMAXPROCS(0)))
	debug.SetGCPercent(gcPercent)
	quit := make(chan struct{})
	go func() {
		for wait := started; ; wait = releaseEvery {
			select {
			case <-quit:
				return
			case <-time.After(wait):
			}
			debug.FreeOSMemory()
			releaseProgram()
		}
	}()
	return func() { close(quit) }
}

// releaseProgram unmaps the pages of this program's file: its instructions and constants. Starting reads most of them,
// and what runs afterwards little; that little comes back from the page cache as it is used (madvise(2), MADV_DONTNEED
// on a private mapping of a file). A position-independent program is left alone: its constants were relocated, in pages of
// our own. What cannot be read or released stays as it is.
func releaseProgram() {
	buf := make([]byte, 4096) // the program's mappings come first
	n, err := readStart("/proc/self/exe", buf)
	if err != nil || n < elfType+2 || binary.NativeEndian.Uint16(buf[elfType:]) != elfExecutable {
		return
	}
	if n, err = readStart("/proc/self/maps", buf); err != nil {
		return
	}
	for _, m := range programMappings(buf[:n]) {
		// There is no Go slice behind this memory to hand to unix.Madvise.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED)
	}
}

// elfType is where an ELF file says of which type it is (e_type, elf(5)); elfExecutable is one with fixed addresses.
const (
	elfType       = 16
	elfExecutable = 2
)

// readStart fills buf from the beginning of a file; n is less where the file is shorter.
func readStart(name string, buf []byte) (n int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err = io.ReadFull(f, buf)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// programMappings finds in the beginning of maps (proc_pid_maps(5): "start-end perms offset device inode path") the
// mappings of the first file, which is the program, that cannot be written.
func programMappings(maps []byte) (found []mapping) {
	program := ""
	for line := range bytes.Lines(maps) {
		fields := strings.Fields(string(line))
		if len(fields) < 6 || fields[4] == "0" || !bytes.HasSuffix(line, []byte{'\n'}) {
			break // no file, or a line that was cut off
		}
		if program == "" {
			program = fields[5]
		}
		start, end, _ := strings.Cut(fields[0], "-")
		from, err1 := strconv.ParseUint(start, 16, 64)
		to, err2 := strconv.ParseUint(end, 16, 64)
		if fields[5] == program && strings.HasPrefix(fields[1], "r-") && err1 == nil && err2 == nil {
			found = append(found, mapping{uintptr(from), uintptr(to)})
		}
	}
	return found
}
