// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloud4.internal/hub/confighub/internal/render"
)

// Words in an argv that are replaced.
const (
	wordPath = "{{path}}"
	wordRoot = "{{root}}"
)

// checkAll runs each distinct check once and returns what failed. An error is the machine's.
func (a *Applier) checkAll(ctx context.Context, p *plan) (lines []string, err error) {
	root, done := "", map[string]bool{}
	defer func() {
		if root != "" {
			os.RemoveAll(root)
		}
	}()
	for _, f := range p.files {
		argv, err := a.opts.Policy.resolve(f.Check)
		staged, changed := p.staged(f.Path)
		needsRoot := slices.ContainsFunc(argv, func(w string) bool { return strings.Contains(w, wordRoot) })
		if err != nil || argv == nil || !changed && !needsRoot {
			continue
		}
		if needsRoot && root == "" {
			if root, err = a.makeRoot(p); err != nil {
				return nil, fmt.Errorf("checking %s: %w", f.Path, err)
			}
		}
		argv = expand(argv, staged, root)
		if key := strings.Join(argv, "\x00"); done[key] {
			continue
		} else {
			done[key] = true
		}
		if err := run(ctx, checkTimeout, argv, a.hidden.texts); err != nil {
			text := strings.NewReplacer(staged, f.Path, root+"/", "/").Replace(err.Error())
			if root == "" {
				text = strings.ReplaceAll(err.Error(), staged, f.Path)
			}
			lines = append(lines, fmt.Sprintf("%s: check %s: %s", f.Path, f.Check, a.hidden.redact(text)))
		}
	}
	return lines, nil
}

// staged returns where the new bytes of a target are, and whether they differ from the old ones.
func (p *plan) staged(target string) (string, bool) {
	for i := range p.changes {
		if c := &p.changes[i]; c.Path == target && !c.Env {
			return c.stagedPath(), true
		}
	}
	return target, false
}

// makeRoot makes a directory that holds every target at its full path, readable for this uid alone; on a tmpfs when
// there is a secret among them.
func (a *Applier) makeRoot(p *plan) (string, error) {
	base, err := a.opts.Dir, error(nil)
	switch {
	case p.bare:
		base = a.opts.RunDir
	case slices.ContainsFunc(p.files, func(f render.File) bool { return f.Secret }):
		base, err = a.secretDir()
	}
	root := ""
	if err == nil {
		root, err = os.MkdirTemp(base, checkPrefix)
	}
	for _, f := range p.files {
		if err != nil {
			break
		}
		err = a.disk.place(filepath.Join(root, f.Path), f)
	}
	if err != nil {
		return root, targetError("making", "the directory of all targets", err)
	}
	a.opts.fault(pointRooted)
	return root, nil
}

// place writes a copy of a target, with the directories around it.
func (k disk) place(name string, f render.File) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	if err := k.before(opWrite, name); err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	return os.WriteFile(name, f.Bytes, f.Mode.Perm()|0o400)
}

func expand(argv []string, path, root string) []string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = strings.NewReplacer(wordPath, path, wordRoot, root).Replace(w)
	}
	return words
}
