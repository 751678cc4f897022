// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxDeadBytes bounds the file of dead letters; the one before it is kept too.
const maxDeadBytes = 4 << 20

// DeadLetters keeps records that a receiver refuses for good, one JSON object a
// line in <dir>/dead.jsonl: time, error, and the record as base64 of the OTLP
// log_records field, so that nothing of it is lost.
type DeadLetters struct {
	dir string // "" keeps none, and counts

	mu   sync.Mutex
	n    int64
	lost int64
}

// NewDeadLetters keeps them in dir, or nowhere if dir is "".
func NewDeadLetters(dir string) *DeadLetters { return &DeadLetters{dir: dir} }

// Counts returns how many there were since the start, and how many were not kept.
func (d *DeadLetters) Counts() (n, lost int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n, d.lost
}

// Add keeps one record.
func (d *DeadLetters) Add(record []byte, why string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	if d.dir == "" {
		d.lost++
		return errors.New("a spool in memory keeps no dead letters")
	}
	if err := d.write(record, why); err != nil {
		d.lost++
		return fmt.Errorf("keeping a dead letter: %w", err)
	}
	return nil
}

func (d *DeadLetters) write(record []byte, why string) error {
	line, err := json.Marshal(map[string]string{
		"time": time.Now().UTC().Format(time.RFC3339Nano), "error": why,
		"record": base64.StdEncoding.EncodeToString(record),
	})
	if err != nil {
		return err
	}
	path := filepath.Join(d.dir, "dead.jsonl")
	info, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && info.Size()+int64(len(line)) > maxDeadBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}
