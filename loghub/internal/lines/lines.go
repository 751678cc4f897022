// SPDX-License-Identifier: AGPL-3.0-or-later

// Package lines reads the lines of a file for a person who looks at it: once to its end, or on and on, also when the file is
// rotated by name or emptied in place. Nothing is remembered for the next time; package source is for what must not be lost.
//
//	r, err := lines.Open("web.jsonl")
//	for {
//		line, err := r.Next() // io.EOF: no whole line more
//	}
//
// A file that is packed with gzip is unpacked, and not followed. A line is at most 16 MiB; what is longer comes in pieces. A
// last line without an end is a line when a file is read once; who follows waits for its end.
package lines

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

const (
	readBytes = 256 << 10
	maxLine   = 16 << 20
)

// Reader reads one file. It is used by one goroutine.
type Reader struct {
	path   string // "" for a stream, which is not opened again
	src    io.Reader
	file   *os.File // nil for a stream
	follow bool
	blocks bool          // a read may wait for ever
	wait   func()        // before each read
	quiet  time.Duration // 0: for ever

	buf        []byte
	begin, end int   // of what is not given out yet, in buf
	read       int64 // bytes of the file read
	over       bool
}

// Open opens a regular file or a pipe by name.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = directory(path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r := Stream(f)
	if r.blocks = !info.Mode().IsRegular(); r.blocks {
		return r, nil
	}
	magic := make([]byte, len(gzipMagic))
	if n, _ := f.ReadAt(magic, 0); n == len(magic) && string(magic) == gzipMagic {
		return r, r.unpack(f)
	}
	r.path, r.file = path, f
	return r, nil
}

// shownNames is how many files of a directory an error names.
const shownNames = 5

// directory is the error of who names a directory: it says what to name instead.
func directory(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("%s is a directory, and cannot be read: %w", path, err)
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, strings.Trim(strconv.Quote(e.Name()), `"`)) // it may hold what steers a terminal
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%s is a directory, and holds no files", path)
	}
	all := "*"
	if strings.HasSuffix(names[0], ".jsonl") {
		all = "*.jsonl"
	}
	more := ""
	if n := len(names) - shownNames; n > 0 {
		names, more = names[:shownNames], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("%s is a directory: name files of it, or %s for all; it has %s%s", path, filepath.Join(path, all),
		strings.Join(names, ", "), more)
}

// gzipMagic begins a file of gzip that holds what deflate made (RFC 1952).
const gzipMagic = "\x1f\x8b\x08"

// unpack reads what is packed in f.
func (r *Reader) unpack(f *os.File) error {
	z, err := gzip.NewReader(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.src = struct {
		io.Reader
		io.Closer
	}{z, f}
	return nil
}

// Stream reads what cannot be opened again, such as stdin.
func Stream(src io.Reader) *Reader {
	return &Reader{src: src, blocks: true, wait: func() {}}
}

// Follow says that the file is read on: its end is only the end for now.
func (r *Reader) Follow() { r.follow = r.file != nil }

// BeforeRead sets what is called before each read, which may take its time: the moment to show what there is.
func (r *Reader) BeforeRead(f func()) { r.wait = f }

// ErrQuiet says that nothing came for as long as Patience allows.
var ErrQuiet = errors.New("nothing came")

// Patience bounds how long Next waits for a stream, if that is a file of the system: a pipe, a terminal. 0: for ever.
func (r *Reader) Patience(d time.Duration) { r.quiet = d }

// await waits for a stream to have something, within the patience.
func (r *Reader) await() error {
	f, ok := r.src.(*os.File)
	if r.quiet == 0 || r.file != nil || !ok {
		return nil
	}
	for end := time.Now().Add(r.quiet); ; {
		left := max(time.Until(end), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, int(left.Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return ErrQuiet
		default:
			return nil
		}
	}
}

// Next gives the next line without its end; it is valid until the next call. io.EOF: there is none now.
func (r *Reader) Next() ([]byte, error) {
	for scanned := 0; ; {
		rest := r.buf[r.begin:r.end]
		if i := bytes.IndexByte(rest[scanned:], '\n'); i >= 0 {
			r.begin += scanned + i + 1
			return trim(rest[:scanned+i]), nil
		}
		if len(rest) >= maxLine || r.over && len(rest) > 0 {
			r.begin = r.end
			return trim(rest), nil
		}
		scanned = len(rest)
		if err := r.fill(); err != nil {
			if errors.Is(err, io.EOF) && !r.follow && len(rest) > 0 {
				r.over = true
				continue
			}
			return nil, err
		}
	}
}

func trim(line []byte) []byte { return bytes.TrimSuffix(line, []byte{'\r'}) }

// fill reads more behind what is there.
func (r *Reader) fill() error {
	if r.begin > 0 {
		r.begin, r.end = 0, copy(r.buf, r.buf[r.begin:r.end])
	}
	if r.end == len(r.buf) {
		r.buf = append(r.buf, make([]byte, max(len(r.buf), readBytes))...)
	}
	r.wait()
	if err := r.await(); err != nil {
		return err
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	r.read += int64(n)
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// News says what became of a file that is followed.
type News string

// What Again finds.
const (
	Same     News = ""
	Replaced News = "replaced by another file"
	Emptied  News = "emptied"
)

// Again looks, at the end of a file that is followed, whether the path has another file by now, or the file was emptied, and
// goes on there. What stands in the old one is read before: it asks to be called again after the next io.EOF.
func (r *Reader) Again() (News, error) {
	if r.file == nil {
		return Same, nil
	}
	own, err := r.file.Stat()
	if err != nil {
		return Same, err
	}
	if own.Size() < r.read {
		_, err := r.file.Seek(0, io.SeekStart)
		r.read, r.begin, r.end = 0, 0, 0
		return Emptied, err
	}
	there, err := os.Stat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && os.SameFile(own, there):
		return Same, nil // the next one is on its way
	case err != nil:
		return Same, err
	case own.Size() > r.read:
		return Same, nil
	}
	f, err := os.Open(r.path)
	if err != nil {
		return Same, err
	}
	err = r.file.Close()
	r.file, r.src, r.read = f, f, 0
	if r.end > r.begin { // the last line of the old one has no end, and gets none
		r.buf[r.end], r.end = '\n', r.end+1
	}
	return Replaced, err
}

// Close closes the file.
func (r *Reader) Close() error {
	if c, ok := r.src.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Blocks says whether a read may wait for somebody: of a pipe or a terminal, not of a file.
func (r *Reader) Blocks() bool { return r.blocks }

// Last moves to where the last n lines of a regular file begin. A stream and a packed file are left as they are.
func (r *Reader) Last(n int) error {
	if r.file == nil {
		return nil
	}
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	at, err := lastLines(r.file, info.Size(), n)
	if err == nil {
		r.read, err = r.file.Seek(at, io.SeekStart)
	}
	return err
}

// lastLines is where the last n lines begin of so many bytes. A last line without an end counts.
func lastLines(f io.ReaderAt, size int64, n int) (int64, error) {
	buf := make([]byte, 64<<10)
	for end := size; end > 0; {
		begin := max(end-int64(len(buf)), 0)
		block := buf[:end-begin]
		if _, err := f.ReadAt(block, begin); err != nil {
			return 0, err
		}
		for i := len(block); ; {
			if i = bytes.LastIndexByte(block[:i], '\n'); i < 0 {
				break
			}
			if begin+int64(i)+1 == size {
				continue // the end of the last line
			}
			if n--; n <= 0 {
				return begin + int64(i) + 1, nil
			}
		}
		end = begin
	}
	return 0, nil
}
