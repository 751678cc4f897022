// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
)

const (
	// maxMatches bounds how many files a glob may look at.
	maxMatches = 10_000
	// clockSlack is how far in the future a file may be written: network storages have clocks of their own.
	clockSlack = time.Minute
)

// fileLook makes the look of kind file. Of a glob the newest file counts: the last backup has to be young and
// large, however many there are. Age is from the last change of the content to now, by the wall clock, which is the
// one that made it. What may not be looked at is unknown, not absent.
func fileLook(s setting.Check, root tree) Func {
	glob := strings.ContainsAny(s.Path, `*?[{\`)
	return steady(s.Path, func() Result {
		f, err := seen{}, error(nil)
		if glob {
			f, err = newest(root, s.Path, maxMatches)
		} else {
			f, err = at(root, s.Path)
		}
		switch {
		case errors.Is(err, fs.ErrPermission):
			return notForUs(s.Path, err)
		case err != nil:
			return blind("%v", err)
		case s.Absent && f.path != "":
			return fail("%s is there, and must not be", f.path)
		case s.Absent:
			return pass("%s is not there, as it should be", s.Path)
		case f.path == "" && glob:
			return fail("no file matches %s", s.Path).advise("see whether what makes it still runs")
		case f.path == "":
			return fail("%s does not exist", s.Path)
		}
		return f.judge(s, glob)
	})
}

// seen is a file that was found; the zero value is none.
type seen struct {
	path    string
	bytes   int64
	changed time.Time
	matches int // of the glob
}

func at(root tree, path string) (seen, error) {
	info, err := os.Stat(root.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return seen{}, nil
	}
	if err != nil {
		return seen{}, err
	}
	return seen{path: path, bytes: info.Size(), changed: info.ModTime()}, nil
}

// newest finds the file that matches and was changed last, if at most limit match.
func newest(root tree, pattern string, limit int) (seen, error) {
	base, rest := doublestar.SplitPattern(pattern)
	var best seen
	matches := 0
	err := doublestar.GlobWalk(os.DirFS(root.path(base)), rest, func(name string, _ fs.DirEntry) error {
		path := filepath.Join(base, name)
		f, err := at(root, path)
		if err != nil || f.path == "" { // removed meanwhile
			return err
		}
		if matches++; matches > limit {
			return fmt.Errorf("%s matches more than %d files", pattern, limit)
		}
		if best.path == "" || f.changed.After(best.changed) {
			best = f
		}
		return nil
	}, doublestar.WithFilesOnly(), doublestar.WithFailOnIOErrors())
	best.matches = matches
	return best, err
}

// judge looks at size and age.
func (f seen) judge(s setting.Check, glob bool) Result {
	age := time.Since(f.changed)
	has := hubfile.Bytes(f.bytes)
	r := pass("%s has %s and is %s old", f.path, size(uint64(f.bytes)), span(max(0, age)))
	switch {
	case age < -clockSlack && (s.MaxAge > 0 || s.MinAge > 0):
		r = result(health.Warn, "%s was written %s in the future: its age is not known", f.path, span(-age)).advise("see which clock is wrong, this machine's or the writer's")
	case s.MaxAge > 0 && age > s.MaxAge:
		r = fail("%s is %s old, at most %s is allowed", f.path, span(age), span(s.MaxAge)).advise("see whether what writes it still runs")
	case s.MinAge > 0 && age < s.MinAge:
		r = fail("%s is %s old, at least %s is wanted", f.path, span(max(0, age)), span(s.MinAge))
	case s.MinSize != nil && has < *s.MinSize:
		r = fail("%s has %s, at least %v is wanted", f.path, size(uint64(f.bytes)), *s.MinSize)
	case s.MaxSize != nil && has > *s.MaxSize:
		r = fail("%s has %s, at most %v is allowed", f.path, size(uint64(f.bytes)), *s.MaxSize)
	}
	old := value("age", "s", age.Seconds())
	if s.MaxAge > 0 {
		old.Fail = some(s.MaxAge.Seconds())
	}
	r.Values = []health.Value{old, value("size", "By", float64(f.bytes))}
	if glob {
		r.Values = append(r.Values, value("matches", "1", float64(f.matches)))
	}
	return r
}

// some is a level that a value has; NaN is none.
func some(x float64) *float64 {
	if math.IsNaN(x) {
		return nil
	}
	return &x
}
