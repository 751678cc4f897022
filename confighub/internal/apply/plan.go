// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

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
	// Staged is the name of the new file beside the target; for one written in place, its file in undo/.
	Staged string `json:"staged,omitempty"`
	// Undo is the name in undo/ of the old bytes.
	Undo string `json:"undo,omitempty"`
	// InPlace: the target is a mount point and is overwritten.
	InPlace bool `json:"in_place,omitempty"`
	// Env: the target is the service's environment.
	Env bool `json:"env,omitempty"`

	bytes, oldBytes []byte
	dir             *dir
}

// plan is everything that one transaction does.
type plan struct {
	changes []change
	journal *journal
	// records as they are after the transaction.
	records records
	files   []render.File
	redact  []string
	version bundle.Version
	// mayLose: it may go on bare, with nothing kept of the way back.
	mayLose, bare bool
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

// plan compares the generation with what is there.
func (a *Applier) plan(g Generation) (*plan, error) {
	p := &plan{records: records{}, files: g.Output.Files, redact: g.Output.Redact, version: g.Version, journal: &journal{Version: g.Version}}
	var reloads []bundle.Action
	mounts := mountPoints()
	fail := func(err error) (*plan, error) {
		p.close()
		a.removeMade(p.journal.Made)
		return nil, err
	}
	for _, f := range g.Output.Files {
		c, err := a.planFile(p, f, mounts[f.Path])
		if err != nil {
			return fail(err)
		}
		if c == nil {
			continue
		}
		p.changes = append(p.changes, *c)
		reloads = append(reloads, f.Reload)
	}
	for _, name := range slices.Sorted(maps.Keys(a.targets)) {
		if _, stays := p.records[name]; stays || slices.ContainsFunc(p.files, func(f render.File) bool { return f.Path == name }) {
			continue
		}
		c, err := a.planLeaving(name, a.targets[name])
		if err != nil {
			a.opts.Log.Warn().Err(err).Str("target", name).Msg("a target left the bundle and is left as it is")
			continue
		}
		if c != nil {
			c.InPlace = mounts[c.Path]
			p.changes = append(p.changes, *c)
			reloads = append(reloads, a.targets[name].Reload)
		}
	}
	if c := a.planEnv(g.Output.Env); c != nil {
		p.changes = append(p.changes, *c)
		reloads = append(reloads, g.Output.EnvReloads...)
	}
	p.journal.Reloads = distinct(reloads)
	return p, nil
}

// planFile returns the change of one file, nil when it is as it is to be.
func (a *Applier) planFile(p *plan, f render.File, mounted bool) (*change, error) {
	d, err := openDir(path.Dir(f.Path), true, &p.journal.Made)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", f.Path, err)
	}
	old, oldBytes, err := d.read(path.Base(f.Path))
	if err != nil {
		d.close()
		return nil, fmt.Errorf("target %s: %w", f.Path, err)
	}
	if f.Once && old.Exists {
		if known, ok := a.targets[f.Path]; ok {
			p.records[f.Path] = known
		}
		d.close()
		return nil, nil
	}
	want := meta{Exists: true, Sum: sum(f.Bytes), Mode: uint32(f.Mode.Perm()), UID: d.ownerUID(), GID: d.ownerGID()}
	if old.Exists && (mounted || os.Geteuid() == 0) {
		// Another uid than root cannot give a new file away; its files become its own.
		want.UID, want.GID = old.UID, old.GID
	}
	if f.Owner != "" {
		if want.UID, want.GID, err = lookupOwner(f.Owner, want.GID); err != nil {
			d.close()
			return nil, &Rejected{[]string{"bundle.json: targets." + f.Path + ".owner: " + err.Error()}}
		}
	}
	p.records[f.Path] = a.record(f, want, old, oldBytes)
	if old == want {
		d.close()
		return nil, nil
	}
	return &change{Path: f.Path, Old: old, New: want, InPlace: old.Exists && mounted, bytes: f.Bytes, oldBytes: oldBytes, dir: d}, nil
}

// ownerUID is who a new file in d belongs to: who makes it.
func (d *dir) ownerUID() uint32 {
	if euid := os.Geteuid(); euid != 0 {
		return uint32(euid)
	}
	return d.uid
}

func (d *dir) ownerGID() uint32 {
	if os.Geteuid() != 0 {
		return uint32(os.Getegid())
	}
	return d.gid
}

// lookupOwner reads "user" or "user:group", names or numbers. Without a group it is the user's own, or, for
// a number that no user has, the one given.
func lookupOwner(owner string, gid uint32) (uint32, uint32, error) {
	name, group, hasGroup := strings.Cut(owner, ":")
	uid, err := strconv.ParseUint(name, 10, 32)
	if u, lookupErr := user.Lookup(name); err != nil {
		if lookupErr != nil {
			return 0, 0, fmt.Errorf("no user %s in this container", name)
		}
		uid, _ = strconv.ParseUint(u.Uid, 10, 32)
		own, _ := strconv.ParseUint(u.Gid, 10, 32)
		gid = uint32(own)
	}
	if !hasGroup {
		return uint32(uid), gid, nil
	}
	number, err := strconv.ParseUint(group, 10, 32)
	if err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return 0, 0, fmt.Errorf("no group %s in this container", group)
		}
		number, _ = strconv.ParseUint(g.Gid, 10, 32)
	}
	return uint32(uid), uint32(number), nil
}

// planLeaving is the change of a target that the bundle no longer has: what was there before comes back, or
// the file goes. One that is not what was written is somebody else's by now.
func (a *Applier) planLeaving(name string, r record) (*change, error) {
	d, err := openDir(path.Dir(name), false, nil)
	if err != nil {
		if _, statErr := os.Lstat(path.Dir(name)); os.IsNotExist(statErr) {
			return nil, nil
		}
		return nil, err
	}
	old, oldBytes, err := d.read(path.Base(name))
	if err != nil || !old.Exists || r.Original.Exists && old.Sum == r.Original.Sum {
		d.close()
		return nil, err
	}
	if old.Sum != r.Written.Sum {
		d.close()
		return nil, fmt.Errorf("%s is not what was written there", name)
	}
	c := &change{Path: name, Old: old, oldBytes: oldBytes, dir: d}
	if r.Original.Exists {
		if c.bytes, err = os.ReadFile(a.file("originals", r.Original.Sum)); err != nil {
			d.close()
			return nil, fmt.Errorf("the file before: %w", err)
		}
		c.New = r.Original
	}
	return c, nil
}

// planEnv is the change of the service's environment.
func (a *Applier) planEnv(env []string) *change {
	name := filepath.Join(a.opts.RunDir, envFile)
	old, err := os.ReadFile(name)
	c := &change{Path: name, Env: true, oldBytes: old}
	if err == nil {
		c.Old = meta{Exists: true, Sum: sum(old)}
	}
	var b bytes.Buffer
	for _, line := range env {
		b.WriteString(line)
		b.WriteByte(0)
	}
	if b.Len() > 0 {
		c.New = meta{Exists: true, Sum: sum(b.Bytes())}
	}
	c.bytes = b.Bytes()
	if c.Old == c.New {
		return nil
	}
	return c
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

// mountPoints lists the places that something is mounted on (proc(5), mountinfo): a file there is busy for rename.
func mountPoints() map[string]bool {
	points := map[string]bool{}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return points
	}
	for line := range strings.Lines(string(info)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points[unescapeMount.Replace(fields[4])] = true
		}
	}
	return points
}

var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
