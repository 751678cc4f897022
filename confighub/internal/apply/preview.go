// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
)

// Preview is one target that a transaction would change.
type Preview struct {
	// Path of the target, or of the file that holds the service's environment.
	Path string
	Env  bool
	// Secret: a secret is in the old file or in the new one.
	Secret   bool
	Old, New File
}

// File is a file as it is or is to be. The zero File is none.
type File struct {
	Exists   bool
	Bytes    []byte
	Mode     fs.FileMode
	UID, GID uint32
}

// Preview says what Apply would change, and which actions it would run then. It changes nothing and follows no link.
// What the settings do not allow is Rejected, as it would be by Apply.
func (a *Applier) Preview(out *render.Output) ([]Preview, []bundle.Action, error) {
	if lines := a.opts.Policy.judge(out); len(lines) > 0 {
		return nil, nil, &Rejected{lines}
	}
	p, err := a.plan(Generation{Output: out}, a.targets)
	if err != nil {
		return nil, nil, err
	}
	defer p.close()
	var previews []Preview
	for _, c := range p.changes {
		previews = append(previews, Preview{Path: c.Path, Env: c.Env, Secret: c.Secret, Old: c.Old.file(c.oldBytes), New: c.New.file(c.bytes)})
	}
	return previews, p.journal.Reloads, nil
}

func (m meta) file(bytes []byte) File {
	if !m.Exists {
		return File{}
	}
	return File{Exists: true, Bytes: bytes, Mode: fs.FileMode(m.Mode), UID: m.UID, GID: m.GID}
}

// Try runs the checks of all targets on copies of them in a directory of its own, away from their places. What is wrong,
// with the targets, the actions or the files, is Rejected; any other error is the machine's.
func (p Policy) Try(ctx context.Context, out *render.Output) error {
	lines := p.judge(out)
	base := ""
	if slices.ContainsFunc(out.Files, func(f render.File) bool { return f.Secret }) && onMemory(sharedMemory) {
		base = sharedMemory
	}
	root, err := os.MkdirTemp(base, checkPrefix)
	if err != nil {
		return fmt.Errorf("making the directory of all targets: %w", err)
	}
	defer os.RemoveAll(root)
	for _, f := range out.Files {
		if err := (disk{}).place(filepath.Join(root, f.Path), f); err != nil {
			return fmt.Errorf("making the directory of all targets: %w", err)
		}
	}
	done := map[string]bool{}
	for _, f := range out.Files {
		argv, err := p.resolve(f.Check)
		if err != nil || argv == nil {
			continue // judge has said what is wrong
		}
		argv = expand(argv, filepath.Join(root, f.Path), root)
		if key := strings.Join(argv, "\x00"); !done[key] {
			done[key] = true
			if err := run(ctx, checkTimeout, argv, out.Redact); err != nil {
				lines = append(lines, fmt.Sprintf("%s: check %s: %s", f.Path, f.Check, strings.ReplaceAll(err.Error(), root+"/", "/")))
			}
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(lines) > 0 {
		return &Rejected{lines}
	}
	return nil
}

// Allows says why a bundle may not write the target; "" when it may.
func (p Policy) Allows(target string) string { return p.allows(target) }

// Knows says why an action that a bundle names cannot be run; nil when it can.
func (p Policy) Knows(a bundle.Action) error {
	_, err := p.resolve(a)
	return err
}
