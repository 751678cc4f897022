// SPDX-License-Identifier: AGPL-3.0-or-later

package scaffold

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/internal/atomicfile"
)

// Placement is what becomes of hosts/<host>/host.json in the tree. The zero value changes nothing.
type Placement struct {
	file     string
	old, new []byte // old is nil where there is none yet, new where nothing is written
	mode     fs.FileMode
	// missing says what people have to do.
	missing string
}

// Placement reads the tree, which must be whole, and plans what to do. Without place the host is left alone, as nobody
// chose it, and String says the line to add.
func (s *Service) Placement(place bool) (p Placement, err error) {
	t, err := tree.Read(s.Tree)
	if err != nil {
		return p, err
	}
	if t.Hosts[s.Host].Has(s.Stack, s.Name) {
		return p, nil
	}
	if !place {
		return Placement{missing: t.Missing(s.Host, s.Stack, s.Name)}, nil
	}
	p.file, p.mode = filepath.Join(s.Tree, "hosts", s.Host, "host.json"), 0o644
	if info, err := os.Stat(p.file); err == nil {
		p.mode = info.Mode().Perm()
		if p.old, err = os.ReadFile(p.file); err != nil {
			return p, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	p.new, err = Place(p.file, p.old, s.Stack, s.Name)
	return p, err
}

// Files is the host.json as it is to be; none where it stays.
func (p Placement) Files() []File {
	if p.new == nil {
		return nil
	}
	return []File{{Path: p.file, Mode: p.mode, Text: p.new}}
}

// Write makes the host.json, or replaces it whole.
func (p Placement) Write() error {
	if p.old == nil {
		return Write(p.Files())
	}
	return atomicfile.Write(p.file, p.new, p.mode)
}

// String says what Write does, or what people have to; "" where there is nothing to do.
func (p Placement) String() string {
	switch {
	case p.missing != "":
		return "to place it: " + p.missing
	case p.new == nil:
		return ""
	case p.old == nil:
		return "wrote " + p.file
	}
	return "added to " + p.file
}
