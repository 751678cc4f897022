// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// oldFile is a file of the directory, by its name <peer>.jsonl[.<number>[.gz]].
type oldFile struct {
	name, peer string
	number     int // 0: the one that is written to
	size       int64
}

// files lists what is in the directory.
func (s *store) files() ([]oldFile, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []oldFile
	for _, e := range entries {
		at := strings.LastIndex(e.Name(), suffix) // a service may be called jsonl
		info, err := e.Info()
		if at < 0 || err != nil {
			continue
		}
		peer, rest, number := e.Name()[:at], e.Name()[at+len(suffix):], 0
		if rest != "" {
			digits := strings.TrimSuffix(strings.TrimPrefix(rest, "."), packed)
			if number, err = strconv.Atoi(digits); err != nil || number < 1 {
				continue
			}
		}
		out = append(out, oldFile{e.Name(), peer, number, info.Size()})
	}
	return out, nil
}

// measure adds up what is in the directory.
func (s *store) measure() (int64, error) {
	files, err := s.files()
	var n int64
	for _, f := range files {
		n += f.size
	}
	return n, err
}

func (s *store) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// free is how much the file system of the directory has left for us.
func (s *store) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: s.dir, Err: err}
	}
	return int64(min(st.Bavail, 1<<40)) * int64(st.Bsize), nil
}

// room takes n bytes for a peer from what the directory may hold. Where they are not there, the peer that has most gives its
// oldest file, and again, down to peers that have as much as this one: who sends much pushes out what he sent himself,
// not the little that another did.
func (s *store) room(peer string, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+n > s.total {
		if err := s.evict(peer, n); err != nil {
			return err
		}
	}
	s.used += n
	return nil
}

func (s *store) evict(peer string, n int64) error {
	files, err := s.files() // anew: somebody may have tidied up
	if err != nil {
		return err
	}
	s.used = 0
	has := map[string]int64{}
	for _, f := range files {
		s.used += f.size
		has[f.peer] += f.size
	}
	old := slices.DeleteFunc(files, func(f oldFile) bool { return f.number == 0 })
	for s.used+n > s.total {
		if len(old) == 0 {
			return errFull
		}
		next := slices.MaxFunc(old, func(a, b oldFile) int {
			return cmp.Or(cmp.Compare(has[a.peer], has[b.peer]), strings.Compare(a.peer, b.peer), cmp.Compare(a.number, b.number))
		})
		if has[next.peer] < has[peer] {
			return errFull
		}
		if err := os.Remove(filepath.Join(s.dir, next.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		old = slices.DeleteFunc(old, func(f oldFile) bool { return f.name == next.name })
		has[next.peer] -= next.size
		s.used -= next.size
		s.evicted(next)
	}
	return nil
}
