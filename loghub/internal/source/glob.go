// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// How often patterns are expanded.
const (
	globEvery = 30 * time.Second      // even where no directory seems to have changed
	globShare = 50                    // expanding takes at most one part in so many of the time
	dirsGrain = 50 * time.Millisecond // a directory that changed so shortly before it was read may have changed after it too
)

// dirs are the directories that patterns were looked up in, and when they had changed last; the zero time: they are to
// be read again.
type dirs map[string]time.Time

// dirTime is when the entries of a directory changed last; the zero time: it is not there.
func dirTime(path string) time.Time {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return time.Time{}
	}
	return time.Unix(st.Ctim.Unix())
}

// due says whether patterns are to be expanded: when something changed in the directories, and now and then.
func (f *Files) due(now time.Time) bool {
	since := now.Sub(f.globbed)
	switch {
	case since >= globEvery:
		return true
	case since < max(globShare*f.globbing, pollEvery-pollEvery/10), now.Sub(f.checked) < globShare*f.checking:
		return false
	case f.partial:
		return true
	}
	changed := false
	for dir, was := range f.dirs {
		if changed = !dirTime(dir).Equal(was); changed {
			break
		}
	}
	f.checked = time.Now()
	f.checking = f.checked.Sub(now)
	return changed
}

// listing is a directory tree as doublestar reads it, which notes what its answer depends on.
type listing struct {
	root string
	dirs dirs
	now  time.Time
}

func (l listing) path(name string) string { return filepath.Join(l.root, name) }

// note remembers a directory before it is read.
func (l listing) note(dir string) {
	if _, ok := l.dirs[dir]; ok || len(l.dirs) >= maxFiles {
		return
	}
	at := dirTime(dir)
	if l.now.Sub(at) < dirsGrain {
		at = time.Time{}.Add(1)
	}
	l.dirs[dir] = at
}

func (l listing) Open(name string) (fs.File, error) { return os.Open(l.path(name)) }

func (l listing) Stat(name string) (fs.FileInfo, error) {
	l.note(filepath.Dir(l.path(name)))
	return os.Stat(l.path(name))
}

func (l listing) ReadDir(name string) ([]fs.DirEntry, error) {
	if forbidden(l.path(name)) != "" {
		return nil, fs.ErrNotExist
	}
	l.note(l.path(name))
	return os.ReadDir(l.path(name))
}

// glob gives the paths that match a pattern.
func (f *Files) glob(pattern string, now time.Time) ([]string, error) {
	base, rest := doublestar.SplitPattern(filepath.Clean(pattern))
	l := listing{root: base, dirs: f.dirs, now: now}
	l.note(base)
	matches, err := doublestar.Glob(l, rest, doublestar.WithNoFollow())
	for i := range matches {
		matches[i] = l.path(matches[i])
	}
	return matches, err
}

// expand looks for files that match.
func (f *Files) expand() {
	start := time.Now()
	first := f.began.IsZero()
	f.first = first
	if first {
		f.began = start
		if f.sh.Spool != nil {
			f.remember()
			f.losses.restore()
		}
	}
	f.skipped.begin()
	clear(f.dirs)
	f.partial = false
	found := f.matching(start)
	if first {
		found = append(found, f.beside(found)...)
	}
	f.take(found)
	f.mu.Lock()
	f.skipped.end()
	f.mu.Unlock()
	if first {
		f.dropUnwanted()
	}
	f.away = slices.DeleteFunc(f.away, f.replaced)
	if !first && len(f.away) > 0 {
		f.leaveAway(func(*known) bool { return false })
	}
	if len(f.away) > 0 && time.Since(f.began) >= awayWait {
		f.giveUp()
	}
	f.globbed = time.Now()
	f.globbing = f.globbed.Sub(start)
	f.first = false
}

// matching opens the files that match and are not followed yet.
func (f *Files) matching(now time.Time) (found []*candidate) {
	seen := make(map[fileID]bool)
	for _, set := range f.sets {
		matches, err := f.glob(set.Pattern, now)
		if err != nil {
			f.say(set.Name+err.Error(), func() { f.sh.Log.Warn().Err(err).Str("files", set.Name).Msg("looking for log files") })
			continue
		}
		if len(matches) == 0 && set.Name != ProbeSet {
			f.skip(set.Pattern, "no file matches so far")
		}
		for _, path := range matches {
			if f.crowded(len(found)) {
				if f.makeRoom(); f.crowded(len(found)) { // the others have their turn when these were read
					f.partial = true
					return found
				}
			}
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
	return found
}

// tooMany says whether path would be one file more than are followed.
func (f *Files) tooMany(path string) bool {
	if id, ok := idAt(path); !ok || f.tails[id] != nil {
		return false
	}
	f.say("many", func() {
		f.sh.Log.Warn().Int("limit", maxFiles).Msg("too many log files: narrow the patterns of log.files")
	})
	f.skip(path, fmt.Sprintf("%d files are followed already", maxFiles))
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

// look opens the file at path if it is not followed yet; nil if it is, or is not to be read.
func (f *Files) look(path, set string) *candidate {
	id, ok := idAt(path)
	if !ok {
		return nil
	}
	if t, open := f.tails[id]; open {
		if f.paths[path] != id {
			f.point(path, t)
		}
		if t.packed {
			f.refuse(path, errCompressed)
		}
		return nil
	}
	if slices.ContainsFunc(packed, func(p packing) bool { return strings.HasSuffix(path, p.suffix) }) {
		f.refuse(path, errCompressed)
		return nil
	}
	c, err := f.candidate(path, set)
	if err != nil {
		f.refuse(path, err)
		return nil
	}
	return c
}

// refuse notes that the file at path is not read, and says it once.
func (f *Files) refuse(path string, err error) {
	if errors.Is(err, fs.ErrNotExist) { // it vanished between two looks
		return
	}
	f.skip(path, err.Error())
	level := zerolog.WarnLevel
	if errors.Is(err, errCompressed) { // as rotation leaves it, day after day
		level = zerolog.InfoLevel
	}
	f.say(path+err.Error(), func() { f.sh.Log.WithLevel(level).Str("path", path).Msg("log file is not read: " + err.Error()) })
}

// candidate opens the file at path.
func (f *Files) candidate(path, set string) (*candidate, error) {
	open := openLog
	if set == ProbeSet { // where nothing else is a log
		open = openPlain
	}
	file, err := open(path, f.sh.RunDir, f.sh.StateDir)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &candidate{f: file, id: infoID(info), size: info.Size(), path: path, set: set}, nil
}

var errCompressed = errors.New("it is compressed")

// packing is how compressed files end and begin. The lines in them were read before.
type packing struct{ suffix, head string }

// packed are gzip (RFC 1952), xz, bzip2, Zstandard (RFC 8878) and LZ4.
var packed = []packing{
	{".gz", "\x1f\x8b\x08"}, {".xz", "\xfd7zXZ\x00"}, {".bz2", "BZh"}, {".zst", "\x28\xb5\x2f\xfd"}, {".lz4", "\x04\x22\x4d\x18"},
}

// isPacked says whether a file is compressed, whatever its name.
func isPacked(file io.ReaderAt) bool {
	head := make([]byte, 6)
	n, _ := file.ReadAt(head, 0)
	return slices.ContainsFunc(packed, func(p packing) bool { return strings.HasPrefix(string(head[:n]), p.head) })
}
