// SPDX-License-Identifier: AGPL-3.0-or-later

package docroot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cloud4.internal/hub/internal/atomicfile"
)

const (
	stateFile   = ".publish.json"
	stateSchema = 1
)

// state is what pointers alone do not tell, once the container with the highest serial is no longer placed.
type state struct {
	Schema int `json:"schema"`
	// Serial is the highest ever given.
	Serial uint64 `json:"serial"`
}

func readState(dir string) (state, error) {
	s, file := state{Schema: stateSchema}, filepath.Join(dir, stateFile)
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err == nil && s.Schema != stateSchema {
		err = fmt.Errorf("schema is %d, this program knows %d", s.Schema, stateSchema)
	}
	if err != nil {
		return state{}, fmt.Errorf("reading %s: %w; without it serials could go backwards: restore it, or remove it if the clock is right", file, err)
	}
	return s, nil
}

func (s state) write(dir string) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("keeping the serial: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(dir, stateFile), append(raw, '\n'), fileMode); err != nil {
		return fmt.Errorf("keeping the serial: %w", err)
	}
	return nil
}
