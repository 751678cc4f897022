// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
)

// envFile is the service's environment: NUL-separated KEY=VALUE, read by hubinit at each start of the service.
const envFile = "service.env"

// change is one target that is not yet what it is to be.
type change struct {
	Path string `json:"path"`
	Old  meta   `json:"old"`
	New  meta   `json:"new"`
	// Staged is the name of the new file beside the target, and Aside the one that the old file has there once it is
	// swapped. For a target written in place Staged is the path of the copy that its check reads.
	Staged string `json:"staged,omitempty"`
	Aside  string `json:"aside,omitempty"`
	// Undo is the path of a copy of the old bytes, of a target written in place and of the environment.
	Undo string `json:"undo,omitempty"`
	// InPlace: the target is a mount point and is overwritten.
	InPlace bool `json:"in_place,omitempty"`
	// Env: the target is the service's environment.
	Env bool `json:"env,omitempty"`
	// Secret: a copy of it is kept on a tmpfs alone.
	Secret bool `json:"secret,omitempty"`

	bytes, oldBytes []byte
	dir             *dir
}

// drifted is a file that somebody else wrote over a target.
type drifted struct {
	path, sum string
	bytes     []byte
	secret    bool
}

// plan is everything that one transaction does.
type plan struct {
	changes []change
	journal *journal
	// base are the records before the transaction, records those after it.
	base, records records
	files         []render.File
	version       bundle.Version
	mounts        mounts
	// drifted are files to be kept before they are written over.
	drifted []drifted
	// first: there is no service yet, and it may go on bare, with nothing kept of the way back.
	first, bare bool
}

func (p *plan) close() {
	for _, c := range p.changes {
		if c.dir != nil {
			c.dir.close()
		}
	}
}

func (p *plan) paths() []string {
	var paths []string
	for _, c := range p.changes {
		paths = append(paths, c.Path)
	}
	return paths
}

// plan compares the generation with what is there, and with what was written there last. It changes nothing.
func (a *Applier) plan(g Generation, base records) (*plan, error) {
	p := &plan{
		base: base, records: records{}, files: slices.Clone(g.Output.Files), version: g.Version, mounts: readMounts(),
		journal: &journal{ID: rand.Text(), Version: g.Version, Boot: a.boot()},
	}
	var reloads []bundle.Action
	for i := range p.files {
		c, err := a.planFile(p, &p.files[i])
		if err != nil {
			p.close()
			return nil, err
		}
		if c == nil {
			continue
		}
		p.changes = append(p.changes, *c)
		reloads = append(reloads, p.files[i].Reload)
	}
	for _, name := range slices.Sorted(maps.Keys(base)) {
		if _, stays := p.records[name]; stays || slices.ContainsFunc(p.files, func(f render.File) bool { return f.Path == name }) {
			continue
		}
		c, err := a.planLeaving(p, name, base[name])
		if err != nil {
			a.opts.Log.Warn().Err(err).Str("target", name).Msg("a target left the bundle and is left as it is")
			continue
		}
		if c != nil {
			p.changes = append(p.changes, *c)
			reloads = append(reloads, base[name].Reload)
		}
	}
	if c, err := a.planEnv(g.Output.Env); err != nil {
		p.close()
		return nil, err
	} else if c != nil {
		p.changes = append(p.changes, *c)
		reloads = append(reloads, g.Output.EnvReloads...)
	}
	p.journal.Reloads = distinct(reloads)
	p.journal.Records = p.records
	return p, nil
}

// planFile returns the change of one file, nil when it is as it is to be, or is to stay as it is.
func (a *Applier) planFile(p *plan, f *render.File) (*change, error) {
	parent, missing, err := a.disk.reach(path.Dir(f.Path))
	if err != nil {
		return nil, targetError("target", f.Path, err)
	}
	var old meta
	var oldBytes []byte
	if len(missing) == 0 {
		old, oldBytes, err = parent.read(path.Base(f.Path))
	}
	var c *change
	switch {
	case errors.Is(err, errType) && a.keeps(p, f.Path):
		p.records[f.Path], err = p.base[f.Path], nil
	case err != nil:
		err = targetError("target", f.Path, err)
	default:
		c, err = a.compare(p, f, parent, old, oldBytes)
	}
	if c == nil || len(missing) > 0 {
		parent.close()
	}
	if c == nil || err != nil {
		return nil, err
	}
	if len(missing) == 0 {
		c.dir = parent
		return c, nil
	}
	at := parent.path
	for _, part := range missing {
		if at = path.Join(at, part); !slices.Contains(p.journal.Made, at) {
			p.journal.Made = append(p.journal.Made, at)
		}
	}
	return c, nil
}

// ours returns what was written to a target in this file system.
func (p *plan) ours(target string) (record, bool) {
	r, known := p.base[target]
	return r, known && r.Place == p.mounts.place(path.Dir(target))
}

// keeps reports whether what is done to a target by hand stays.
func (a *Applier) keeps(p *plan, target string) bool {
	_, ours := p.ours(target)
	return ours && a.opts.DriftPolicy == DriftKeep
}

// compare returns the change that makes old what f says.
func (a *Applier) compare(p *plan, f *render.File, parent *dir, old meta, oldBytes []byte) (*change, error) {
	known, ours := p.ours(f.Path)
	if f.Once && old.Exists {
		if r, ok := p.base[f.Path]; ok {
			p.records[f.Path] = r
		}
		return nil, nil
	}
	inPlace := old.Exists && p.mounts.is(f.Path)
	want, err := wanted(f, parent, old, inPlace)
	if err != nil {
		return nil, err
	}
	if ours && f.Owner == "" && os.Geteuid() == 0 {
		// Not the owner that somebody gave it since, nor, when it was removed, that of its directory.
		want.UID, want.GID = known.Written.UID, known.Written.GID
	}
	written := want
	if foreign := ours && old.Exists && old.Sum != known.Written.Sum && old.Sum != want.Sum; foreign && a.keeps(p, f.Path) {
		p.records[f.Path] = known
		f.Bytes = oldBytes // for the checks of others
		return nil, nil
	} else if foreign && !old.sameBytes(known.Original) {
		p.drifted = append(p.drifted, drifted{f.Path, old.Sum, oldBytes, f.Secret || known.Secret})
	}
	if old.Exists && a.keeps(p, f.Path) {
		want = want.dressed(old, known.Written)
	}
	r := p.record(*f, p.mounts.place(path.Dir(f.Path)), written, old, oldBytes)
	p.records[f.Path] = r
	if old == want {
		return nil, nil
	}
	return &change{
		Path: f.Path, Old: old, New: want, InPlace: inPlace, Secret: r.Secret || known.Secret,
		bytes: f.Bytes, oldBytes: oldBytes,
	}, nil
}

// dressed is m with the mode and owner that now has, where they are not those that were written.
func (m meta) dressed(now, written meta) meta {
	if now.Mode != written.Mode {
		m.Mode = now.Mode
	}
	if now.UID != written.UID || now.GID != written.GID {
		m.UID, m.GID = now.UID, now.GID
	}
	return m
}

// wanted is what a target is to be.
func wanted(f *render.File, parent *dir, old meta, inPlace bool) (meta, error) {
	want := meta{Exists: true, Sum: sum(f.Bytes), Mode: uint32(f.Mode.Perm()), UID: parent.ownerUID(), GID: parent.ownerGID()}
	if old.Exists && (inPlace || os.Geteuid() == 0) {
		// Another uid than root cannot give a new file away; its files become its own.
		want.UID, want.GID = old.UID, old.GID
	}
	if f.Owner == "" {
		return want, nil
	}
	var err error
	if want.UID, want.GID, err = lookupOwner(f.Owner, want.GID); err != nil {
		return want, &Rejected{[]string{"bundle.json: targets." + f.Path + ".owner: " + err.Error()}}
	}
	return want, nil
}

// planLeaving is the change of a target that the bundle no longer has: what was there before comes back, or
// the file goes. One that is not what was written is somebody else's by now.
func (a *Applier) planLeaving(p *plan, name string, r record) (*change, error) {
	d, missing, err := a.disk.reach(path.Dir(name))
	if err != nil {
		return nil, err
	}
	c, err := a.leave(d, missing, name, r, p.mounts.is(name))
	if c == nil {
		d.close()
	}
	return c, err
}

func (a *Applier) leave(d *dir, missing []string, name string, r record, mounted bool) (*change, error) {
	if len(missing) > 0 {
		return nil, nil
	}
	old, oldBytes, err := d.read(path.Base(name))
	switch {
	case err != nil, !old.Exists, r.Original.Exists && old.Sum == r.Original.Sum:
		return nil, err
	case old.Sum != r.Written.Sum:
		return nil, fmt.Errorf("%s is not what was written there", name)
	case mounted && !r.Original.Exists:
		return nil, fmt.Errorf("%s is mounted into the container and cannot be removed", name)
	}
	c := &change{Path: name, Old: old, InPlace: mounted, Secret: r.Secret, oldBytes: oldBytes, dir: d}
	if r.Original.Exists {
		if c.bytes, err = a.original(r); err != nil {
			return nil, err
		}
		c.New = r.Original
	}
	return c, nil
}

// planEnv is the change of the service's environment, nil when it is as it is to be.
func (a *Applier) planEnv(env []string) (*change, error) {
	c := &change{Path: filepath.Join(a.opts.RunDir, envFile), Env: true, Secret: true}
	var err error
	if c.oldBytes, err = os.ReadFile(c.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the service's environment: %w", err)
	}
	if err == nil {
		c.Old = envMeta(c.oldBytes)
	}
	var b bytes.Buffer
	for _, line := range env {
		b.WriteString(line)
		b.WriteByte(0)
	}
	if c.bytes = b.Bytes(); len(c.bytes) > 0 {
		c.New = envMeta(c.bytes)
	}
	if c.Old == c.New {
		return nil, nil
	}
	return c, nil
}

func envMeta(data []byte) meta { return meta{Exists: true, Sum: sum(data)} }

// readEnv is what the environment's file is.
func readEnv(name string) (meta, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return meta{}, nil
	}
	if err != nil {
		return meta{}, err
	}
	return envMeta(data), nil
}

// distinct keeps the first of equal actions. A restart makes every other one needless.
func distinct(actions []bundle.Action) []bundle.Action {
	var kept []bundle.Action
	seen := map[string]bool{}
	for _, action := range actions {
		switch {
		case action.Name == actionRestart:
			return []bundle.Action{action}
		case !action.IsZero() && !seen[action.Key()]:
			seen[action.Key()] = true
			kept = append(kept, action)
		}
	}
	return kept
}
