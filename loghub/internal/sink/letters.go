// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/jsonline"
)

// deadNames are the files of dead letters, the oldest letters first.
var deadNames = []string{deadName + ".1", deadName}

// Stored is a dead letter as it is kept.
type Stored struct {
	Letter             // Record is what the receiver is to be sent
	UID    string      // log.record.uid; "": it has none
	Shown  otlp.Record // as people see it, with what was said of it as attributes
	Err    error       // why it cannot be sent; it is kept
}

// CountLetters says how many dead letters are kept in dir; "": none are.
func CountLetters(dir string) (n int, err error) {
	if dir == "" {
		return 0, nil
	}
	buf := make([]byte, 64<<10)
	for _, name := range deadNames {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return n, err
		}
		for err == nil {
			var got int
			got, err = f.Read(buf)
			n += bytes.Count(buf[:got], []byte{'\n'})
		}
		f.Close()
		if !errors.Is(err, io.EOF) {
			return n, err
		}
	}
	return n, nil
}

// ReadLetters gives the dead letters in dir, the oldest first, one at a time: each is valid until the next. It ends at the first
// error of each.
func ReadLetters(dir string, each func(*Stored) error) error {
	reader := newLetterReader()
	for _, name := range deadNames {
		f, err := openLetters(filepath.Join(dir, name))
		if f == nil || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		for err == nil {
			var line []byte
			if line, err = f.next(); err == nil {
				err = each(reader.read(line))
			}
		}
		if f.Close(); !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// letterFile is one file of dead letters, of which those are read that stood there when it was opened.
type letterFile struct {
	*os.File
	lines *bufio.Reader
	at    int64 // of the next line
	limit int64 // end of the last whole line
}

// openLetters opens a file of letters; nil: there is none.
func openLetters(path string) (*letterFile, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l := &letterFile{File: f, limit: info.Size()}
	l.from(0)
	return l, nil
}

// from goes on at an offset.
func (f *letterFile) from(at int64) {
	f.at = at
	f.lines = bufio.NewReaderSize(io.NewSectionReader(f, at, f.limit-at), 64<<10)
}

// next gives the next line with its end; io.EOF: there is no whole one.
func (f *letterFile) next() ([]byte, error) {
	line, err := f.lines.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	f.at += int64(len(line))
	return line, nil
}

// letterReader makes letters of lines.
type letterReader struct {
	lines  *jsonline.Reader
	stored Stored
}

func newLetterReader() *letterReader { return &letterReader{lines: jsonline.NewReader()} }

// read makes a letter of a line. The result is valid until the next call, or until the line changes.
func (r *letterReader) read(line []byte) *Stored {
	s := &r.stored
	*s = Stored{Shown: otlp.Record{Attributes: s.Shown.Attributes[:0]}}
	line = bytes.TrimRight(line, "\r\n")
	if jsonline.IsDeadLetter(line) {
		s.Err = r.old(line)
	} else {
		s.Err = r.present(line)
	}
	if s.Err != nil {
		s.Err = fmt.Errorf("it cannot be read: %w", s.Err)
		return s
	}
	var sent otlp.Record
	if s.Err = otlp.DecodeRecord(s.Record, &sent); s.Err == nil {
		s.UID = uidOf(&sent)
	}
	return s
}

// present reads a letter as it is written now. What it says of itself is no part of the record, which stands there whole unless
// it is a giant.
func (r *letterReader) present(line []byte) error {
	s := &r.stored
	if err := r.lines.Read(line, &s.Shown); err != nil {
		return err
	}
	packed := []byte(nil)
	own := make([]otlp.KeyValue, 0, len(s.Shown.Attributes))
	for _, kv := range s.Shown.Attributes {
		switch kv.Key {
		case deadTime:
			s.Time, _ = time.Parse(time.RFC3339Nano, string(kv.Value.Bytes)) // the zero time: it is not said
		case deadError:
			s.Error = string(kv.Value.Bytes)
		case deadRecord:
			packed = kv.Value.Bytes
		default:
			own = append(own, kv)
		}
	}
	if packed == nil && s.Error == "" {
		return errors.New("it is no dead letter")
	}
	if packed == nil {
		record := s.Shown
		record.Attributes = own
		s.Record = otlp.AppendRecord(nil, &record)
		return nil
	}
	var err error
	s.Record, err = base64.StdEncoding.AppendDecode(nil, packed)
	s.Shown.Attributes = slices.DeleteFunc(s.Shown.Attributes, func(kv otlp.KeyValue) bool { return kv.Key == deadRecord })
	return err
}

// old reads a letter of earlier versions.
func (r *letterReader) old(line []byte) error {
	s := &r.stored
	var was struct {
		Error, Time string
		Record      []byte
	}
	if err := json.Unmarshal(line, &was); err != nil {
		return err
	}
	s.Time, _ = time.Parse(time.RFC3339Nano, was.Time) // the zero time: it is not said
	s.Error, s.Record = was.Error, was.Record
	return r.lines.ReadDeadLetter(line, &s.Shown)
}

var errLocked = errors.New("a replay is putting the dead letters in order, and does not come to its end")

// lockLetters keeps the files of dead letters to one process at a time: flock(2) on their directory, so that no file is left. An
// error that is not errLocked says that there are no locks to be had; unlock may be called all the same.
func lockLetters(dir string, wait time.Duration) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return func() {}, err
	}
	for end := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { d.Close() }, nil
		case errors.Is(err, syscall.EINTR):
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return func() {}, errors.Join(os.NewSyscallError("flock", err), d.Close())
		case time.Now().After(end):
			return func() {}, errors.Join(errLocked, d.Close())
		}
	}
}
