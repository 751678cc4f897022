// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"
)

// Timings and bounds of files.
const (
	pollEvery    = 250 * time.Millisecond
	globEvery    = time.Second
	fileQuiet    = time.Second      // after which a line without an end is taken as it stands
	deletedQuiet = 5 * time.Second  // after which a deleted file is let go
	renamedQuiet = 60 * time.Second // after which a renamed file is let go
	maxFiles     = 1024
	turnBytes    = 4 << 20 // of one file before the next has its turn
	readBytes    = 128 << 10
)

// FileSet is one entry of the setting log.files.
type FileSet struct {
	Name    string // the entry's key
	Pattern string // absolute path with doublestar's wildcards
	Exclude []string
}

// Files follows the files of all sets. Run is its only goroutine.
type Files struct {
	sh    *Shared
	sets  []FileSet
	tails map[fileID]*tail
	paths map[string]fileID // path → what stands there, of matching paths
	known map[string]bool   // what was said already
	buf   []byte

	globbed  time.Time
	restored bool // what the spool remembered has been looked for

	mu    sync.Mutex
	stats []Stat // of the last round
}

// fileID is what a file is, whatever its name.
type fileID struct{ dev, ino uint64 }

func (id fileID) String() string { return fmt.Sprintf("%x-%x", id.dev, id.ino) }

// OpenFiles checks the patterns.
func OpenFiles(sh *Shared, sets []FileSet) (*Files, error) {
	for _, s := range sets {
		for _, p := range append([]string{s.Pattern}, s.Exclude...) {
			if !doublestar.ValidatePathPattern(p) {
				return nil, fmt.Errorf("log.files.%s: %q is no pattern", s.Name, p)
			}
		}
	}
	return &Files{
		sh: sh, sets: sets, tails: make(map[fileID]*tail), paths: make(map[string]fileID),
		known: make(map[string]bool), buf: make([]byte, readBytes),
	}, nil
}

// Run follows the files until ctx is done, then reads them to their ends once more.
func (f *Files) Run(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		for f.round(ctx, false) && ctx.Err() == nil {
		}
		select {
		case <-ctx.Done():
			f.globbed = time.Time{}
			f.round(ctx, true)
			for _, t := range f.tails {
				t.close()
			}
			return nil
		case <-tick.C:
		}
	}
}

// round looks at everything once. It says whether some file has more to read.
func (f *Files) round(ctx context.Context, last bool) (more bool) {
	now := time.Now()
	if now.Sub(f.globbed) >= globEvery {
		f.globbed = now
		f.expand()
	}
	f.rotations()
	named := make(map[fileID]bool, len(f.paths))
	for _, id := range f.paths {
		named[id] = true
	}
	full := f.sh.Spool != nil && f.sh.Spool.Fill() >= filesStop
	for _, t := range f.ordered() {
		if !full {
			again, err := t.read(now, last)
			if err != nil {
				f.say(t.path+err.Error(), func() { f.sh.Log.Warn().Err(err).Str("path", t.path).Msg("reading a log file") })
			}
			more = more || again
		}
		if t.over(now, named[t.id]) {
			t.forget()
			delete(f.tails, t.id)
		}
		if ctx.Err() != nil && !last {
			break
		}
	}
	if full {
		f.say("full", func() {
			f.sh.Log.Warn().Msg("log files are not read further: the spool is nearly full; they go on when it is sent")
		})
	} else {
		delete(f.known, "full")
	}
	f.publish()
	return more && !full
}

// ordered gives the tails in a fixed order, so that each has its turn.
func (f *Files) ordered() []*tail {
	out := make([]*tail, 0, len(f.tails))
	for _, t := range f.tails {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *tail) int { return strings.Compare(a.path, b.path) })
	return out
}

func (f *Files) publish() {
	stats := make([]Stat, 0, len(f.tails))
	for _, t := range f.ordered() {
		stats = append(stats, t.n.stat(t.path))
	}
	f.mu.Lock()
	f.stats = stats
	f.mu.Unlock()
}

// Stats returns the figures of the files that are followed now.
func (f *Files) Stats() []Stat {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

// say runs log once per key.
func (f *Files) say(key string, log func()) {
	if f.known[key] {
		return
	}
	if len(f.known) > 10*maxFiles {
		clear(f.known)
	}
	f.known[key] = true
	log()
}

// expand looks for files that match.
func (f *Files) expand() {
	for _, set := range f.sets {
		matches, err := doublestar.FilepathGlob(set.Pattern, doublestar.WithNoFollow())
		if err != nil {
			f.say(set.Name+err.Error(), func() { f.sh.Log.Warn().Err(err).Str("files", set.Name).Msg("looking for log files") })
			continue
		}
		for _, path := range matches {
			if !set.excludes(path) {
				f.look(path, set.Name)
			}
		}
	}
	if !f.restored {
		f.restored = true
		f.findRestored()
	}
}

func (s *FileSet) excludes(path string) bool {
	for _, e := range s.Exclude {
		if ok, err := doublestar.PathMatch(e, path); err == nil && ok {
			return true
		}
	}
	return false
}

// rotations looks at the known paths for new files under an old name.
func (f *Files) rotations() {
	for path, id := range f.paths {
		now, ok := lstatID(path)
		if ok && now == id {
			continue
		}
		name := ""
		if t := f.tails[id]; t != nil {
			name = t.set
		}
		delete(f.paths, path)
		if ok {
			f.look(path, name)
		}
	}
}

// look takes up the file at path if it is a new one.
func (f *Files) look(path, set string) {
	id, ok := lstatID(path)
	if !ok {
		return
	}
	if _, open := f.tails[id]; open {
		f.paths[path] = id
		return
	}
	if why := forbidden(path); why != "" {
		f.say(path, func() { f.sh.Log.Warn().Str("path", path).Msg("log file is not read: " + why) })
		return
	}
	if len(f.tails) >= maxFiles {
		f.say("many", func() {
			f.sh.Log.Warn().Int("limit", maxFiles).Msg("too many log files: narrow the patterns of log.files")
		})
		return
	}
	t, err := f.open(path, set)
	if err != nil {
		f.say(path+err.Error(), func() { f.sh.Log.Warn().Str("path", path).Msg("log file is not read: " + err.Error()) })
		return
	}
	f.tails[t.id] = t
	f.paths[path] = t.id
}

func (f *Files) open(path, set string) (*tail, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			return nil, errors.New("it is a link; name the file itself")
		}
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("it is no regular file"), file.Close())
	}
	t := &tail{sh: f.sh, files: f, f: file, id: infoID(info), path: path, set: set, grown: time.Now()}
	if err := t.resume(info.Size()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return t, nil
}

// findRestored takes up files that the spool remembers and no pattern matches
// any more: they were renamed while nobody looked.
func (f *Files) findRestored() {
	if f.sh.Spool == nil {
		return
	}
	for key, st := range f.sh.Spool.Restored() {
		if !strings.HasPrefix(key, filePrefix) {
			continue
		}
		aux, ok := parseFileAux(st.Aux)
		if !ok || !f.findMoved(key, aux) {
			f.sh.Spool.ForgetRestored(key)
		}
	}
}

// findMoved looks for the file beside where it was.
func (f *Files) findMoved(key string, aux fileAux) bool {
	dir := filepath.Dir(aux.Path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		id, ok := lstatID(path)
		if !ok || filePrefix+id.String() != key {
			continue
		}
		t, err := f.open(path, aux.Set)
		if err != nil {
			return false
		}
		t.path = aux.Path // the name its lines are known by
		f.tails[t.id] = t
		return true
	}
	f.sh.Log.Warn().Str("path", aux.Path).Msg("log file is gone: what was not read of it is lost")
	return false
}

// forbidden says why a path is never read.
func forbidden(path string) string {
	path = filepath.Clean(path)
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run/secrets", "/var/lib/hub"} {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return "files below " + dir + " are no logs"
		}
	}
	return ""
}

func lstatID(path string) (fileID, bool) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeType&^fs.ModeSymlink != 0 {
		return fileID{}, false
	}
	return infoID(info), true
}

func infoID(info fs.FileInfo) fileID {
	dev, ino := statID(info)
	return fileID{dev, ino}
}
