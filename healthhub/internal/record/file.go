// SPDX-License-Identifier: AGPL-3.0-or-later

package record

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/health"
)

const (
	fileName = "history.jsonl"

	// gather is how long more transitions are waited for before they are written: a crash of the program costs what came
	// within it. rest is how long the disk is left alone after it was made to keep them: a crash of the machine costs that. retry is the
	// pause after it failed.
	gather = time.Second
	rest   = 10 * time.Second
	retry  = time.Minute

	slackBytes = 64 << 10 // that the file may have besides twice of what is kept
	maxRead    = 8 << 20  // of a file, from its end: more than any that was written here has
)

// file is what is known of the file.
type file struct {
	upTo   uint64 // the number of the last event that stands in it
	bytes  int64
	good   bool      // it can be appended to: it was written whole or read without a fault
	loose  bool      // the disk may not have all of it yet
	synced time.Time // when the disk was made to keep all of it
}

// Run writes the transitions to the disk as they come, until ctx is done; then what is left. Only who runs it writes.
func (r *Recorder) Run(ctx context.Context, log zerolog.Logger) error {
	if r.dir == "" {
		<-ctx.Done()
		return nil
	}
	failed := false
	for {
		var sync time.Duration // 0: there is nothing to make the disk keep
		if r.file.loose {
			sync = max(rest-time.Since(r.file.synced), time.Millisecond)
		}
		if !pause(ctx, r.wake, sync) || !pause(ctx, nil, gather) {
			return r.spill(true)
		}
		err := r.spill(time.Since(r.file.synced) >= rest)
		switch {
		case err != nil && !failed:
			log.Warn().Err(err).Msg("the history of health is kept in memory alone until this can be written")
		case err == nil && failed:
			log.Info().Msg("the history of health is on the disk again")
		}
		if failed = err != nil; failed {
			r.poke()
			if !pause(ctx, nil, retry) {
				return r.spill(true)
			}
		}
	}
}

// pause waits for a signal, or for d if that is not 0; false: ctx is done.
func pause(ctx context.Context, signal <-chan struct{}, d time.Duration) bool {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-signal:
	case <-over:
	}
	return true
}

// spill writes what the file has not; with sync the disk has it afterwards.
func (r *Recorder) spill(sync bool) error {
	r.mu.Lock()
	last, first := r.next-1, r.first
	all, f := r.copy(first), r.file
	r.mu.Unlock()
	if len(all) == 0 || last == f.upTo && !f.loose {
		return nil
	}
	fresh := all
	if f.upTo >= first {
		fresh = all[f.upTo+1-first:]
	}
	err := f.write(filepath.Join(r.dir, fileName), bytes.Join(all, nil), bytes.Join(fresh, nil), sync)
	if err != nil {
		err = fmt.Errorf("writing the history: %w", err)
	} else {
		f.upTo = last
	}
	r.mu.Lock()
	r.file = f
	r.mu.Unlock()
	return err
}

// write appends fresh where that will do, else replaces the file by all.
func (f *file) write(path string, all, fresh []byte, sync bool) error {
	if f.good && f.bytes+int64(len(fresh)) <= 2*int64(len(all))+slackBytes {
		err := f.append(path, fresh, sync)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := atomicfile.Write(path, all, 0o600); err != nil {
		return err
	}
	f.good, f.bytes = true, int64(len(all))
	f.loose, f.synced = false, time.Now()
	return nil
}

// append adds whole lines: what a full disk took only a part of is taken back.
func (f *file) append(path string, data []byte, sync bool) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	_, err = out.Write(data)
	f.loose = true
	if err == nil && sync {
		err = out.Sync()
		f.loose, f.synced = err != nil, time.Now()
	}
	if err != nil {
		f.good = out.Truncate(f.bytes) == nil
		return err
	}
	f.bytes += int64(len(data))
	return nil
}

// read gives the events of the file in dir, in order. The file is good if there was nothing to leave out.
func (f *file) read(dir string) []Event {
	data, whole := tail(filepath.Join(dir, fileName))
	f.good, f.bytes = whole && (len(data) == 0 || data[len(data)-1] == '\n'), int64(len(data))
	var events []Event
	var seq uint64
	for l := range bytes.Lines(data) {
		var e Event
		if json.Unmarshal(l, &e) != nil || e.Seq <= seq || e.Seq == ^uint64(0) || e.Kind == "" {
			f.good = false
			continue
		}
		seq = e.Seq
		e.Text, e.Action = cut(health.CleanText(e.Text), maxText), cut(health.CleanText(e.Action), maxAction)
		events = append(events, e)
	}
	return events
}

// tail reads a file, or the end of one that is too large; whole says that it was all of it.
func tail(path string) (data []byte, whole bool) {
	in, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Is(err, fs.ErrNotExist)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, false
	}
	from := max(0, info.Size()-maxRead)
	data, err = io.ReadAll(io.NewSectionReader(in, from, maxRead))
	return data, err == nil && from == 0
}
