// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cloud4.internal/hub/healthhub/internal/webhook"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
)

const (
	storeFile   = "notify.json"
	storeSchema = 1
	maxStore    = 64 << 20 // twenty receivers with maxCauses each
	maxStored   = 120      // bytes of a text that are kept
)

// stored is the file: what each receiver was told and has not been told to be over.
type stored struct {
	Schema    int                   `json:"schema"`
	Receivers map[string]storedBook `json:"receivers"`
}

type storedBook struct {
	Causes []storedEntry `json:"causes"`
}

type storedEntry struct {
	Key    string       `json:"key"`
	State  health.State `json:"state"`
	Counts health.State `json:"counts"`
	Text   string       `json:"text,omitempty"`
	Began  time.Time    `json:"began,omitzero"`
	Told   *storedTold  `json:"told,omitempty"`
	Times  int          `json:"times,omitempty"`
	Closed time.Time    `json:"closed,omitzero"`
}

type storedTold struct {
	At     time.Time `json:"at"`
	Bad    bool      `json:"bad,omitempty"`
	Forced bool      `json:"forced,omitempty"`
	Muted  bool      `json:"muted,omitempty"`
}

// readBooks reads the books of before; none where there is no directory or no file.
func readBooks(dir string) (map[string]storedBook, error) {
	if dir == "" {
		return nil, nil
	}
	path := filepath.Join(dir, storeFile)
	data, err := hubfile.ReadFile(path, maxStore)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var in stored
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if in.Schema < storeSchema {
		return nil, fmt.Errorf("%s: schema %d, want %d or above", path, in.Schema, storeSchema)
	}
	return in.Receivers, nil
}

func writeBooks(dir string, books map[string]storedBook) error {
	if dir == "" {
		return nil
	}
	for _, book := range books {
		for i := range book.Causes {
			book.Causes[i].Text = webhook.Cut(book.Causes[i].Text, maxStored)
		}
	}
	data, err := json.Marshal(stored{storeSchema, books})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, storeFile), append(data, '\n'), 0o600)
}
