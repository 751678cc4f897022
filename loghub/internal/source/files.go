// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/loghub/internal/parse"
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
	awayWait     = 60 * time.Second // for a known file to come back after the start, such as by a late mount
	maxFiles     = 1024
	turnBytes    = 4 << 20   // of one file before the next has its turn
	readBytes    = 128 << 10 // at once; more for longer lines, up to a record and a line of the longest
)

// FileSet is one entry of the setting log.files.
type FileSet struct {
	Name    string // the entry's key
	Pattern string // absolute path with doublestar's wildcards
	Exclude []string
	Parse   parse.Options
	Apart   bool // each line is a record: traces are not joined
}

// Files follows the files of all sets. Run is its only goroutine.
type Files struct {
	sh    *Shared
	sets  []FileSet
	tails map[fileID]*tail
	paths map[string]fileID // path → what stands there, of matching paths
	known map[string]bool   // what was said already
	buf   []byte

	vacant map[string]vacancy // paths from which a file went, and no other came so far

	globbed time.Time
	began   time.Time // first look
	first   bool      // it is under way
	away    []*known  // files that an earlier life read and nobody found yet

	mu    sync.Mutex
	stats []Stat // of the last round
}

// vacancy is a path between a rename and the next file of that name.
type vacancy struct {
	set   string
	since time.Time
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
		known: make(map[string]bool), vacant: make(map[string]vacancy), buf: make([]byte, readBytes),
	}, nil
}

// parse says how the lines of a set are read. Of a set that is no more, a file is still read to its end.
func (f *Files) parse(set string) parse.Options {
	for _, s := range f.sets {
		if s.Name == set {
			return s.Parse
		}
	}
	return parse.Options{}
}

// apart says whether the lines of a set stay apart.
func (f *Files) apart(set string) bool {
	return slices.ContainsFunc(f.sets, func(s FileSet) bool { return s.Name == set && s.Apart })
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
	first := f.began.IsZero()
	f.first = first
	if first {
		f.began = time.Now()
		if f.sh.Spool != nil {
			f.remember()
		}
	}
	var found []*candidate
	seen := make(map[fileID]bool)
	for _, set := range f.sets {
		matches, err := doublestar.FilepathGlob(set.Pattern, doublestar.WithNoFollow())
		if err != nil {
			f.say(set.Name+err.Error(), func() { f.sh.Log.Warn().Err(err).Str("files", set.Name).Msg("looking for log files") })
			continue
		}
		for _, path := range matches {
			if set.excludes(path) || len(f.tails)+len(found) >= maxFiles && f.tooMany(path) {
				continue
			}
			if c := f.look(path, set.Name); c != nil && !seen[c.id] {
				seen[c.id] = true
				found = append(found, c)
			} else if c != nil { // another name of the same file
				c.close(f.sh.Log)
			}
		}
	}
	if first {
		found = append(found, f.beside(found)...)
	}
	f.take(found)
	if first {
		f.dropUnwanted()
	}
	f.away = slices.DeleteFunc(f.away, f.replaced)
	if len(f.away) > 0 && time.Since(f.began) >= awayWait {
		f.giveUp()
	}
}

// tooMany says whether path would be one file more than are followed.
func (f *Files) tooMany(path string) bool {
	if id, ok := lstatID(path); !ok || f.tails[id] != nil {
		return false
	}
	f.say("many", func() {
		f.sh.Log.Warn().Int("limit", maxFiles).Msg("too many log files: narrow the patterns of log.files")
	})
	return true
}

func (s *FileSet) matches(path string) bool {
	ok, err := doublestar.PathMatch(s.Pattern, path)
	return err == nil && ok
}

func (s *FileSet) excludes(path string) bool {
	for _, e := range s.Exclude {
		if ok, err := doublestar.PathMatch(e, path); err == nil && ok {
			return true
		}
	}
	return false
}

// rotations looks at the known paths for new files under an old name. Where none came so far it goes on looking: by
// the time that globs are expanded again, a file may have come there and been renamed too.
func (f *Files) rotations() {
	for path, id := range f.paths {
		if now, ok := lstatID(path); ok && now == id {
			continue
		}
		delete(f.paths, path)
		if t := f.tails[id]; t != nil && len(f.vacant) < maxFiles {
			f.vacant[path] = vacancy{t.set, time.Now()}
		}
	}
	for path, v := range f.vacant {
		if _, ok := lstatID(path); !ok {
			if time.Since(v.since) >= renamedQuiet {
				delete(f.vacant, path)
			}
			continue
		}
		delete(f.vacant, path)
		if len(f.tails) >= maxFiles && f.tooMany(path) {
			continue
		}
		if c := f.look(path, v.set); c != nil {
			f.take([]*candidate{c})
		}
	}
}

// look opens the file at path if it is not followed yet; nil if it is, or is
// not to be read.
func (f *Files) look(path, set string) *candidate {
	id, ok := lstatID(path)
	if !ok {
		return nil
	}
	if _, open := f.tails[id]; open {
		f.paths[path] = id
		return nil
	}
	if why := forbidden(path); why != "" {
		f.say(path, func() { f.sh.Log.Warn().Str("path", path).Msg("log file is not read: " + why) })
		return nil
	}
	c, err := openCandidate(path, set)
	if err != nil {
		f.refuse(path, err)
		return nil
	}
	return c
}

func (f *Files) refuse(path string, err error) {
	f.say(path+err.Error(), func() { f.sh.Log.Warn().Str("path", path).Msg("log file is not read: " + err.Error()) })
}

func openCandidate(path, set string) (*candidate, error) {
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
	return &candidate{f: file, id: infoID(info), size: info.Size(), path: path, set: set}, nil
}

// take follows the candidates: those that are known from where they were read
// to, the others from their beginnings.
func (f *Files) take(found []*candidate) {
	pairs := match(f.away, found)
	for _, c := range found {
		k := pairs[c]
		// It only lies beside a known one, or was renamed under our hands.
		if k == nil && c.set == "" || f.tails[c.id] != nil {
			c.close(f.sh.Log)
			continue
		}
		t := &tail{sh: f.sh, files: f, f: c.f, id: c.id, path: c.path, set: c.set, size: c.size, grown: time.Now()}
		if c.err == nil {
			c.err = t.start(k)
		}
		if c.err != nil {
			f.refuse(c.path, c.err)
			c.close(f.sh.Log)
			continue
		}
		f.tails[t.id] = t
		if c.set != "" {
			f.paths[c.path] = t.id
		}
		if k != nil {
			f.found(k, t)
		}
	}
}

// found takes a known file off the list of those that are away.
func (f *Files) found(k *known, t *tail) {
	f.away = slices.DeleteFunc(f.away, func(o *known) bool { return o == k })
	if k.id != t.id {
		f.sh.Log.Info().Str("path", t.path).Str("was", k.id.String()).Str("is", t.id.String()).Int64("read", t.offset).
			Msg("log file is known by its content: it is read on from where it was")
	}
}

// replaced says whether a known file's inode holds something else now.
func (f *Files) replaced(k *known) bool {
	t := f.tails[k.id]
	if t == nil || t.aux.ID != t.id.String() { // or another known file came there
		return false
	}
	if k.pos > 0 {
		f.sh.Log.Info().Str("path", t.path).Int64("read", k.pos).Int64("size", t.size).
			Msg("log file was " + change(t.size < k.pos) + " while nobody looked: it is read anew from its beginning")
	}
	return true
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
