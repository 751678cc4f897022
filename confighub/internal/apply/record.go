// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/internal/atomicfile"
)

// record is what confighub knows of a target it wrote.
type record struct {
	// Written is the file as it was written last.
	Written meta `json:"written"`
	// Original is the file that was there before; it lies in originals/ by its sum. Not existing: confighub made
	// the target.
	Original meta `json:"original"`
	// Reload is run when the target leaves.
	Reload bundle.Action `json:"reload,omitzero"`
	// Once: it was written because it was missing, and is its user's from then on.
	Once bool `json:"once,omitempty"`

	originalBytes []byte
}

// records by path.
type records map[string]record

func readRecords(name string) (records, error) {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return records{}, nil
	}
	if err != nil {
		return records{}, err
	}
	r := records{}
	if err := json.Unmarshal(raw, &r); err != nil {
		return records{}, fmt.Errorf("reading %s: %w", name, err)
	}
	return r, nil
}

// record says what will be known of a target once f is in place.
func (a *Applier) record(f render.File, want, old meta, oldBytes []byte) record {
	r, known := a.targets[f.Path]
	if !known {
		r = record{Original: old, originalBytes: oldBytes}
	}
	r.Written, r.Reload, r.Once = want, f.Reload, f.Once
	return r
}

// keepOriginals stores the files that stand where confighub writes for the first time.
func (a *Applier) keepOriginals(p *plan) error {
	for name, r := range p.records {
		if r.originalBytes == nil || !r.Original.Exists {
			continue
		}
		if err := os.MkdirAll(a.file("originals"), 0o700); err != nil {
			return fmt.Errorf("keeping the file before %s: %w", name, err)
		}
		if err := atomicfile.Write(a.file("originals", r.Original.Sum), r.originalBytes, 0o600); err != nil {
			return fmt.Errorf("keeping the file before %s: %w", name, err)
		}
		r.originalBytes = nil
		p.records[name] = r
	}
	return nil
}

// remember makes the records of a finished transaction the current ones.
func (a *Applier) remember(new records) error {
	old, err := json.Marshal(a.targets)
	if err != nil {
		return fmt.Errorf("recording the targets: %w", err)
	}
	raw, err := json.Marshal(new)
	if err != nil {
		return fmt.Errorf("recording the targets: %w", err)
	}
	a.targets = new
	if string(old) == string(raw) && !a.unsaved {
		return nil
	}
	a.unsaved = true
	if err := atomicfile.Write(a.file("targets.json"), raw, 0o600); err != nil {
		return fmt.Errorf("recording the targets: %w", err)
	}
	a.unsaved = false
	return nil
}
