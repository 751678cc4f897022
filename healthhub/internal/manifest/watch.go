// SPDX-License-Identifier: AGPL-3.0-or-later

package manifest

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"cloud4.internal/hub/internal/spiffe"
)

// lookEvery is between two looks at whether the list changed. Looking costs one stat; a tree of many hosts one for each.
const lookEvery = 2 * time.Second

// Watch reads the list at path again whenever its file is another one, until ctx is done. taken gets every list that
// differs from the one before, beginning with known; refused gets what is wrong with a file, once for each time it
// changed, and nil when it is well again. A list that is refused changes nothing.
func Watch(ctx context.Context, path string, self spiffe.ID, known *List, taken func(*List), refused func(error)) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var seen map[string]mark // none at first: the file may be another one than known was read from
	bad := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := fingerprint(path, self)
		if maps.Equal(now, seen) {
			continue
		}
		seen = now
		list, err := Read(path, self)
		if err != nil {
			bad = true
			refused(err)
			continue
		}
		if bad {
			bad = false
			refused(nil)
		}
		if !list.equal(known) {
			known = list
			taken(list)
		}
	}
}

func (l *List) equal(other *List) bool {
	return other != nil && maps.Equal(l.Containers, other.Containers) && maps.Equal(l.Hosts, other.Hosts)
}

// mark is what tells one version of a file from another, without reading it.
type mark struct {
	changed time.Time
	size    int64
	err     string
}

// fingerprint marks the files that Read would read.
func fingerprint(path string, self spiffe.ID) map[string]mark {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return map[string]mark{path: markOf(info, err)}
	}
	if self.Role == spiffe.Host {
		file := filepath.Join(path, "hosts", self.Host, placement)
		info, err := os.Stat(file)
		return map[string]mark{file: markOf(info, err)}
	}
	found, err := filepath.Glob(filepath.Join(path, "hosts", "*", placement))
	all := map[string]mark{path: markOf(nil, err)}
	for _, file := range found {
		all[file] = mark{} // that it is there is all that counts
	}
	return all
}

func markOf(info fs.FileInfo, err error) mark {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mark{err: "not there"}
	case err != nil:
		return mark{err: err.Error()}
	case info == nil:
		return mark{}
	}
	return mark{changed: info.ModTime(), size: info.Size()}
}
