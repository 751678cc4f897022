// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/jsonline"
)

// deadName is the file of dead letters; the one before it has ".1" behind it.
const deadName = "dead.jsonl"

// maxDeadBytes bounds the file of dead letters; the one before it is kept too.
const maxDeadBytes = 4 << 20

// Attributes of a dead letter, before those of the record.
const (
	deadTime   = "hub.dead.time"  // when it was refused
	deadError  = "hub.dead.error" // what the receiver said
	deadRecord = "hub.dead.otlp"  // the record as sent, base64 of the log_records field
)

// lettersWait is how long a letter waits for a replay that is putting the files in order, which takes it an instant. Who was
// stopped in that instant must not keep logs from being sent.
const lettersWait = 30 * time.Second

// DeadLetters keeps records that a receiver refuses for good, one a line in <dir>/dead.jsonl, in the form of package
// jsonline, so that people and `loghub tail` can read them. What the receiver was sent stands in it too, as it was.
type DeadLetters struct {
	dir string // "" keeps none, and counts

	mu   sync.Mutex
	n    int64
	lost int64
}

// Letter is a record that was refused.
type Letter struct {
	Time   time.Time // of the refusal
	Error  string
	Record []byte // log_records field
}

// NewDeadLetters keeps them in dir, or nowhere if dir is "".
func NewDeadLetters(dir string) *DeadLetters { return &DeadLetters{dir: dir} }

// Counts returns how many there were since the start, and how many were not kept.
func (d *DeadLetters) Counts() (n, lost int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n, d.lost
}

// Add keeps a record.
func (d *DeadLetters) Add(l Letter) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	if d.dir == "" {
		d.lost++
		return errors.New("a spool in memory keeps no dead letters")
	}
	if err := d.write(l); err != nil {
		d.lost++
		return fmt.Errorf("keeping a dead letter: %w", err)
	}
	return nil
}

func (d *DeadLetters) write(l Letter) error {
	line := l.line()
	unlock, err := lockLetters(d.dir, lettersWait)
	if errors.Is(err, errLocked) {
		return err
	}
	defer unlock() // where locks cannot be had, no replay is at work either
	path := filepath.Join(d.dir, deadName)
	info, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && info.Size() > 0 && info.Size()+int64(len(line)) > maxDeadBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		if _, err = f.Write(line); err != nil { // half a line would spoil the next one
			err = errors.Join(err, f.Truncate(end))
		}
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// line is the letter as a line of the file.
func (l Letter) line() []byte {
	first := []otlp.KeyValue{
		{Key: deadTime, Value: otlp.String(l.Time.UTC().Format(time.RFC3339Nano))},
		{Key: deadError, Value: otlp.String(l.Error)},
	}
	if len(l.Record) <= maxDeadBytes/4 { // a giant stands there once only
		first = append(first, otlp.KeyValue{Key: deadRecord, Value: otlp.String(base64.StdEncoding.EncodeToString(l.Record))})
	}
	var rec otlp.Record
	if err := otlp.DecodeRecord(l.Record, &rec); err != nil {
		rec = otlp.Record{Body: otlp.String("what stood in the spool is no record: " + err.Error())}
	}
	return jsonline.Append(nil, first, nil, &rec)
}
