// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Bounds of a replay, which are those of its memory too, but for a giant letter.
const (
	replayRecords  = 256
	replayBytes    = 512 << 10
	replayOutcomes = 4096             // after so many the file is put in order, not only at the end
	replayWait     = time.Minute      // for who writes a letter
	staleAfter     = 10 * time.Minute // a file that a replay which was killed has left
)

// tempName is what a new file of letters is called while it is written.
const tempName = ".dead.*.tmp"

// Replay sends dead letters again and takes those that were acknowledged out of their files. A loghub that goes on adding letters
// meanwhile, and a kill at any moment, cost none: a file is replaced by a new one, whole, under the lock that who adds a letter
// takes too. What was acknowledged and not yet taken out is sent again by the next replay, under the same uid. Of two at a
// time one takes out what it has sent, the other nothing.
type Replay struct {
	Dir  string
	Want func(*Stored) bool // nil: all
	// Send is a Sender's Resend.
	Send func(ctx context.Context, records [][]byte, told func(i, j int, refused error)) error

	Acked, Refused int // letters
	Unsent         int // letters that are wanted and cannot be sent: nobody can read them
	LastReason     string

	files    []*letterFile
	outcomes []outcome // of the file that is being read, in its order
	reader   *letterReader
}

// outcome is what became of the letters of a stretch of a file.
type outcome struct {
	from, to int64
	refused  string // "": they were acknowledged
	at       time.Time
}

// piece is a letter that is to be sent.
type piece struct{ from, to int64 }

// Run sends the letters there are at its start. Its error says why it ended before all were tried; what was acknowledged
// until then is taken out.
func (r *Replay) Run(ctx context.Context) (err error) {
	r.reader = newLetterReader()
	unlock, err := lockLetters(r.Dir, replayWait)
	if unlock(); err != nil { // else nothing could be taken out at the end
		return err
	}
	r.sweep()
	defer func() {
		for _, f := range r.files {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, name := range deadNames {
		f, err := openLetters(filepath.Join(r.Dir, name))
		if err != nil {
			return err
		}
		if f != nil {
			r.files = append(r.files, f)
		}
	}
	for _, f := range r.files {
		err := r.send(ctx, f)
		if err := errors.Join(err, r.settle(f)); err != nil {
			return err
		}
	}
	return nil
}

// send sends the letters of a file.
func (r *Replay) send(ctx context.Context, f *letterFile) error {
	for ctx.Err() == nil {
		pieces, records, err := r.gather(f)
		if err != nil || len(records) == 0 {
			return err
		}
		err = r.Send(ctx, records, func(i, j int, refused error) { r.note(pieces[i:j], refused) })
		if err != nil {
			return err
		}
		if len(r.outcomes) >= replayOutcomes {
			if err := r.settle(f); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

// gather reads the next letters that are wanted.
func (r *Replay) gather(f *letterFile) (pieces []piece, records [][]byte, err error) {
	for size := 0; len(records) < replayRecords && size < replayBytes; {
		from := f.at
		line, err := f.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		s := r.reader.read(line)
		switch {
		case r.Want != nil && !r.Want(s):
		case s.Err != nil:
			r.Unsent++
			r.LastReason = s.Err.Error()
		default:
			pieces, records = append(pieces, piece{from, f.at}), append(records, s.Record)
			size += len(s.Record)
		}
	}
	return pieces, records, nil
}

// note remembers what became of letters.
func (r *Replay) note(pieces []piece, refused error) {
	for _, p := range pieces {
		o := outcome{from: p.from, to: p.to}
		if refused != nil {
			r.Refused++
			o.refused, o.at = refused.Error(), time.Now()
			r.LastReason = o.refused
			r.outcomes = append(r.outcomes, o)
			continue
		}
		r.Acked++
		if n := len(r.outcomes); n > 0 && r.outcomes[n-1].to == o.from && r.outcomes[n-1].refused == "" {
			r.outcomes[n-1].to = o.to
			continue
		}
		r.outcomes = append(r.outcomes, o)
	}
}

// settle replaces a file by one without what was acknowledged and with the new reasons of what was refused again; reading goes on
// in that. A file that loghub has thrown away meanwhile, as the oldest, needs nothing.
func (r *Replay) settle(f *letterFile) (err error) {
	if len(r.outcomes) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("taking what was acknowledged out of the files in %s, which the next replay sends again: %w", r.Dir, err)
		}
	}()
	fresh, err := os.CreateTemp(r.Dir, tempName)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh.Name()) }() // unless it has another name by then
	next, err := r.rewrite(f, fresh)
	if err == nil {
		err = r.replace(f, fresh)
	}
	if err != nil {
		return errors.Join(err, fresh.Close())
	}
	r.outcomes = r.outcomes[:0]
	limit := next + f.limit - f.at
	err = f.Close()
	f.File, f.limit = fresh, limit
	f.from(next)
	return err
}

// rewrite writes what stays of a file, and returns where in it the letters begin that were not read yet.
func (r *Replay) rewrite(f *letterFile, fresh *os.File) (next int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if owner := info.Sys().(*syscall.Stat_t); int(owner.Uid) != os.Geteuid() { // root, in a container of another uid
		if err := fresh.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return 0, fmt.Errorf("%w (run this as loghub's user)", err)
		}
	}
	w := bufio.NewWriterSize(fresh, 64<<10)
	keep := func(from, to int64) error {
		n, err := io.Copy(w, io.NewSectionReader(f, from, to-from))
		next += n
		if err == nil && n != to-from {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	at := int64(0)
	for _, o := range r.outcomes {
		if err := keep(at, o.from); err != nil {
			return 0, err
		}
		if at = o.to; o.refused == "" {
			continue
		}
		line := make([]byte, o.to-o.from)
		if _, err := f.ReadAt(line, o.from); err != nil {
			return 0, err
		}
		line = Letter{Time: o.at, Error: o.refused, Record: r.reader.read(line).Record}.line()
		if _, err := w.Write(line); err != nil {
			return 0, err
		}
		next += int64(len(line))
	}
	if err := keep(at, f.at); err != nil {
		return 0, err
	}
	begin := next
	return begin, errors.Join(keep(f.at, f.limit), w.Flush(), fresh.Sync())
}

// replace puts the new file in the place of the old one, with the letters that came since the old one was opened.
func (r *Replay) replace(f *letterFile, fresh *os.File) error {
	unlock, err := lockLetters(r.Dir, replayWait)
	defer unlock()
	if err != nil {
		return err
	}
	path, info, err := r.find(f)
	if err != nil || path == "" {
		return err
	}
	if _, err := io.Copy(fresh, io.NewSectionReader(f, f.limit, info.Size()-f.limit)); err != nil {
		return err
	}
	if err := fresh.Sync(); err != nil {
		return err
	}
	end, err := fresh.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if end == 0 {
		err = os.Remove(path)
	} else {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(r.Dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// find says under which name a file of letters is now; "": under none.
func (r *Replay) find(f *letterFile) (path string, info fs.FileInfo, err error) {
	own, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	for _, name := range deadNames {
		path := filepath.Join(r.Dir, name)
		if info, err := os.Lstat(path); err == nil && os.SameFile(own, info) {
			return path, info, nil
		}
	}
	return "", nil, nil
}

// sweep removes what a replay has left that was killed.
func (r *Replay) sweep() {
	left, _ := filepath.Glob(filepath.Join(r.Dir, strings.ReplaceAll(tempName, "*", "[0-9]*"))) // the pattern is good
	for _, path := range left {
		if info, err := os.Lstat(path); err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(path) // the next one tries again
		}
	}
}
