// SPDX-License-Identifier: AGPL-3.0-or-later

package mute

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/health"
)

// fileSchema is the version of the file. A reader takes its own and those above it.
const fileSchema = 1

// maxFileBytes bounds what is read: more than MaxMutes with long reasons.
const maxFileBytes = 2 << 20

type file struct {
	Schema int    `json:"schema"`
	Mutes  []Mute `json:"mutes"`
}

// Open makes the list that the file holds, an empty one if there is none; path "" is a list in memory alone. failed is called when a
// change cannot be written: it counts none the less, until a restart.
//
// An error says that the file is not as it was written. The list, never nil, is then without the mutes that could not
// be read, and can be used: that something counts which was muted is the safe side.
func Open(path string, failed func(error)) (*List, error) {
	l := &List{file: path, failed: failed}
	if path == "" {
		return l, nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, nil
	case err != nil:
		return l, fmt.Errorf("reading mutes: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxFileBytes:
		return l, fmt.Errorf("reading mutes: %s: must be a regular file of at most %d bytes", path, maxFileBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return l, fmt.Errorf("reading mutes: %w", err)
	}
	var in file
	if err := json.Unmarshal(data, &in); err != nil {
		return l, fmt.Errorf("reading mutes: %s: %w", path, err)
	}
	if in.Schema < fileSchema || len(in.Mutes) > MaxMutes {
		return l, fmt.Errorf("reading mutes: %s: schema %d with %d mutes, want schema %d or above and at most %d",
			path, in.Schema, len(in.Mutes), fileSchema, MaxMutes)
	}
	return l, l.take(in.Mutes)
}

// take puts mutes from a file on the list, those that can be.
func (l *List) take(mutes []Mute) error {
	latest := time.Now().Add(MaxFor) // a clock that was set back must not make a mute longer
	var bad []string
	for _, m := range mutes {
		if m.Path == "" || len(m.Path) > health.MaxPath || m.Until.IsZero() || m.Reason == "" || m.By == "" {
			bad = append(bad, fmt.Sprintf("%.80q", m.Path))
			continue
		}
		m.Reason, m.By = health.CleanText(m.Reason), health.CleanText(m.By)
		if m.Until.After(latest) {
			m.Until = latest
		}
		l.mutes = append(l.mutes, m)
	}
	slices.SortStableFunc(l.mutes, func(a, b Mute) int { return strings.Compare(a.Path, b.Path) })
	l.mutes = slices.CompactFunc(l.mutes, func(a, b Mute) bool { return a.Path == b.Path })
	if len(bad) > 0 {
		return fmt.Errorf("reading mutes: %s: left out %s: path, until, reason or by is missing", l.file, strings.Join(bad[:min(len(bad), 3)], ", "))
	}
	return nil
}

// kept is the list as it was after one of its changes, as the file is to hold it.
type kept struct {
	change uint64
	data   []byte // nil: there is no file
}

// kept notes a change. The caller holds mu, and writes it after letting go of that: who evaluates does not wait for a disk.
func (l *List) kept() kept {
	l.changes++
	if l.file == "" {
		return kept{}
	}
	out := file{Schema: fileSchema, Mutes: make([]Mute, len(l.mutes))}
	for i, m := range l.mutes {
		out.Mutes[i] = m.shown()
	}
	data, err := json.Marshal(out)
	if err != nil {
		panic(err) // a list of our making can be encoded
	}
	return kept{l.changes, append(data, '\n')}
}

// Wait waits until the file has what Look ended.
func (l *List) Wait() { l.writing.Wait() }

// write replaces the file, unless a later change was faster.
func (l *List) write(k kept) {
	l.disk.Lock()
	defer l.disk.Unlock()
	if k.data == nil || k.change < l.written {
		return
	}
	l.written = k.change
	if err := atomicfile.Write(l.file, k.data, 0o600); err != nil && l.failed != nil {
		l.failed(fmt.Errorf("keeping mutes, which count until a restart: %w", err))
	}
}
