// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// punchEvery is after how many bytes the counting file gives its pages back.
const punchEvery = 1 << 20

// drain takes bytes out of a pipe in two steps: peek shows them, take removes
// them. One goroutine uses it.
type drain struct {
	pipe    *os.File
	scratch [2]int   // pipe that tee fills; -1: none, so bytes are read at once
	taken   *os.File // its size is the number of bytes taken; nil: not counted
	size    int64    // of taken
	fresh   bool     // taken was not there
	punched int64
	limit   int // capacity of the pipe in bytes
}

// newDrain prepares a pipe; counter is the path of the counting file, "" for none.
// keep says that the counter goes on from where it is.
func newDrain(pipe *os.File, counter string, keep bool) (*drain, error) {
	d := &drain{pipe: pipe, scratch: [2]int{-1, -1}, limit: 64 << 10}
	err := d.control(func(fd int) error {
		if n, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err == nil {
			d.limit = n
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("preparing pipe: %w", err)
	}
	if err := unix.Pipe2(d.scratch[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("making a scratch pipe: %w", err)
	}
	if n, err := unix.FcntlInt(uintptr(d.scratch[1]), unix.F_SETPIPE_SZ, d.limit); err != nil || n < d.limit {
		d.limit = 64 << 10 // tee takes what fits
	}
	if counter != "" {
		flags := os.O_RDWR | os.O_CREATE
		if !keep {
			flags |= os.O_TRUNC
		}
		_, err := os.Lstat(counter)
		d.fresh = err != nil
		if f, err := os.OpenFile(counter, flags, 0o600); err == nil {
			d.taken = f
			if d.size, err = f.Seek(0, io.SeekEnd); err != nil {
				return nil, errors.Join(err, d.close())
			}
		}
	}
	return d, nil
}

func (d *drain) close() error {
	var errs []error
	for _, fd := range d.scratch {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	if d.taken != nil {
		errs = append(errs, d.taken.Close())
	}
	return errors.Join(errs...)
}

func (d *drain) control(f func(fd int) error) error {
	rc, err := d.pipe.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// peek returns the bytes at the front of the pipe without taking them. With wait
// it waits for some until the pipe's read deadline; else errEmpty says there are
// none. io.EOF: all writers are gone and everything was taken.
func (d *drain) peek(buf []byte, wait bool) ([]byte, error) {
	rc, err := d.pipe.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int64
	var teeErr error
	err = rc.Read(func(fd uintptr) bool {
		for {
			n, teeErr = unix.Tee(int(fd), d.scratch[1], len(buf), unix.SPLICE_F_NONBLOCK)
			if teeErr != unix.EINTR {
				break
			}
		}
		return teeErr != unix.EAGAIN || !wait
	})
	// Where an int has 32 bits, package unix joins the count and a register that means nothing.
	count := int(uint32(n))
	switch {
	case err != nil:
		return nil, err
	case teeErr == unix.EAGAIN:
		return nil, errEmpty
	case teeErr != nil:
		return nil, os.NewSyscallError("tee", teeErr)
	case count == 0:
		return nil, io.EOF
	}
	got := 0
	for got < count {
		m, err := unix.Read(d.scratch[0], buf[got:count])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			return nil, fmt.Errorf("reading the scratch pipe: %w", err)
		}
		got += m
	}
	return buf[:count], nil
}

var errEmpty = errors.New("nothing in the pipe")

// take removes n bytes that stand at the front of the pipe.
func (d *drain) take(n int) error {
	for n > 0 {
		if d.taken == nil {
			m, err := d.discard(n)
			if err != nil {
				return err
			}
			n -= m
			continue
		}
		m, err := d.splice(n)
		if err != nil {
			// Not countable here: the file system cannot, or is full. The bytes must
			// go all the same, and the count would be wrong from now on.
			if err := d.stopCounting(); err != nil {
				return err
			}
			continue
		}
		n -= m
		d.size += int64(m)
	}
	if d.taken != nil && d.size-d.punched >= punchEvery {
		if err := unix.Fallocate(int(d.taken.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, d.size-1); err != nil {
			return d.stopCounting()
		}
		d.punched = d.size
	}
	return nil
}

func (d *drain) stopCounting() error {
	name := d.taken.Name()
	err := errors.Join(d.taken.Close(), os.Remove(name))
	d.taken = nil
	if err != nil {
		return fmt.Errorf("giving up counting: %w", err)
	}
	return nil
}

// count sets the counter, which was found to know nothing.
func (d *drain) count(n int64) error {
	d.size = n
	return d.taken.Truncate(n)
}

func (d *drain) splice(n int) (int, error) {
	var m int64
	var err error
	cerr := d.control(func(fd int) error {
		for {
			off := d.size
			got, serr := unix.Splice(fd, nil, int(d.taken.Fd()), &off, n, unix.SPLICE_F_NONBLOCK)
			if m, err = int64(got), serr; err != unix.EINTR {
				return nil
			}
		}
	})
	if cerr != nil {
		return 0, cerr
	}
	if err == nil && m == 0 {
		err = io.ErrUnexpectedEOF
	}
	return int(m), err
}

func (d *drain) discard(n int) (int, error) {
	var m int
	var err error
	cerr := d.control(func(fd int) error {
		buf := make([]byte, min(n, 64<<10))
		for {
			m, err = unix.Read(fd, buf)
			if err != unix.EINTR {
				return nil
			}
		}
	})
	if cerr != nil {
		return 0, cerr
	}
	if err == nil && m == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("taking from the pipe: %w", err)
	}
	return m, nil
}

// inLine says whether the last byte taken ends no line, as far as the counting file knows it.
func (d *drain) inLine() bool {
	var last [1]byte
	if _, err := d.taken.ReadAt(last[:], d.size-1); err != nil {
		return false
	}
	return last[0] != '\n' && last[0] != 0 // a hole: somebody else took it
}

// advance counts n bytes that somebody else took from the pipe.
func (d *drain) advance(n int64) error {
	if d.taken == nil || n == 0 {
		return nil
	}
	return d.count(d.size + n)
}
