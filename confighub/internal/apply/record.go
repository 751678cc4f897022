// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
)

// record is what confighub knows of a target it wrote.
type record struct {
	// Written is the file as it was written last.
	Written meta `json:"written"`
	// Original is the file that was there before; it lies in originals/ by its sum. Not existing: confighub made
	// the target.
	Original meta `json:"original"`
	// Place names the file system it was written in: another container's file is not this one's, changed by hand.
	Place string `json:"place,omitempty"`
	// Reload is run when the target leaves.
	Reload bundle.Action `json:"reload,omitzero"`
	// Once: it was written because it was missing, and is its user's from then on.
	Once bool `json:"once,omitempty"`
	// Secret: what was written is kept on a tmpfs alone, and so is, with SecretOriginal, the file before.
	Secret         bool `json:"secret,omitempty"`
	SecretOriginal bool `json:"secret_original,omitempty"`

	originalBytes []byte
}

// records by path.
type records map[string]record

// ledger is targets.json: the records, and the transaction that they are of.
type ledger struct {
	Transaction string  `json:"transaction,omitempty"`
	Targets     records `json:"targets"`
}

func readLedger(name string) (ledger, error) {
	l := ledger{}
	raw, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(raw, &l)
	}
	if err != nil || l.Targets == nil {
		l = ledger{Targets: records{}}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("reading %s: %w", name, err)
	}
	return l, nil
}

// record says what will be known of a target once f is in place.
func (p *plan) record(f render.File, place string, want, old meta, oldBytes []byte) record {
	r, known := p.base[f.Path]
	if !known || r.Place != place && !old.sameBytes(r.Written) {
		r = record{Original: old, originalBytes: oldBytes, SecretOriginal: f.Secret}
	}
	r.Written, r.Place, r.Reload, r.Once = want, place, f.Reload, f.Once
	r.Secret = f.Secret
	return r
}

// keepOriginals stores the files that stand where confighub writes for the first time, and those that were changed
// by hand since it did.
func (a *Applier) keepOriginals(p *plan) error {
	for name, r := range p.records {
		if r.originalBytes == nil || !r.Original.Exists {
			continue
		}
		if err := a.keep(r.SecretOriginal, originalsDir, r.Original.Sum, r.originalBytes); err != nil {
			return fmt.Errorf("keeping the file before %s: %w", name, err)
		}
		r.originalBytes = nil
		p.records[name] = r
	}
	for _, d := range p.drifted {
		if err := a.keepDrifted(d); err != nil {
			return fmt.Errorf("keeping what %s was changed to by hand: %w", d.path, err)
		}
	}
	p.drifted = nil
	return nil
}

func (a *Applier) keep(secret bool, kind, name string, data []byte) error {
	dir, err := a.keepDir(secret, kind)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = a.disk.store(filepath.Join(dir, name), data)
	}
	a.opts.fault(pointKept)
	return err
}

// maxDrifted is how many files that were changed by hand are kept.
const maxDrifted = 10

func (a *Applier) keepDrifted(d drifted) error {
	if err := a.keep(d.secret, driftedDir, d.sum, d.bytes); err != nil {
		return err
	}
	dir, err := a.keepDir(d.secret, driftedDir)
	if err != nil {
		return err
	}
	a.opts.Log.Warn().Str("target", d.path).Str("kept", filepath.Join(dir, d.sum)).
		Msg("the target was changed by hand and is written over; what stood there is kept")
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	age := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(names, func(one, other string) int { return cmp.Compare(age(other), age(one)) })
	for _, name := range names[min(len(names), maxDrifted):] {
		os.Remove(name)
	}
	return nil
}

// original reads the file that was there before a target.
func (a *Applier) original(r record) ([]byte, error) {
	dir, err := a.keepDir(r.SecretOriginal, originalsDir)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, r.Original.Sum))
	if err != nil {
		return nil, fmt.Errorf("the file before: %w", err)
	}
	return data, nil
}

// remember makes the records of a finished transaction the current ones.
func (a *Applier) remember(new records, transaction string) error {
	old, err := json.Marshal(a.targets)
	if err != nil {
		return fmt.Errorf("recording the targets: %w", err)
	}
	now, err := json.Marshal(new)
	if err != nil {
		return fmt.Errorf("recording the targets: %w", err)
	}
	same := string(old) == string(now) && transaction == a.last
	a.targets, a.last = new, transaction
	if same && !a.unsaved {
		return nil
	}
	a.unsaved = true
	raw, err := json.Marshal(ledger{Transaction: transaction, Targets: new})
	if err == nil {
		err = a.disk.store(a.file(targetsFile), raw)
	}
	if err != nil {
		return fmt.Errorf("recording the targets: %w", err)
	}
	a.unsaved = false
	a.pruneOriginals()
	return nil
}

// pruneOriginals removes the files of targets that left.
func (a *Applier) pruneOriginals() {
	wanted := map[string]bool{}
	for _, r := range a.written() {
		wanted[r.Original.Sum] = true
	}
	for _, r := range a.targets {
		wanted[r.Original.Sum] = true
	}
	dirs := []string{a.file(originalsDir)}
	if dir := a.knownSecretDir(); dir != "" {
		dirs = append(dirs, filepath.Join(dir, originalsDir))
	}
	for _, dir := range dirs {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, name := range names {
			if !wanted[filepath.Base(name)] {
				os.Remove(name)
			}
		}
		os.Remove(dir) // if it is empty
	}
	a.leaveSecretDir()
}

// written is what the targets are, be it on trial.
func (a *Applier) written() records {
	if a.trial != nil {
		return a.trial.Records
	}
	return a.targets
}
