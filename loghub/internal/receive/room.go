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

// survey looks anew what is there: somebody may have tidied up.
func (s *store) survey() ([]oldFile, error) {
	files, err := s.files()
	if err != nil {
		return nil, err
	}
	s.used, s.names = 0, make(map[string]struct{}, len(files))
	for _, f := range files {
		s.used += f.size
		s.names[f.peer] = struct{}{}
	}
	return files, nil
}

// smallest is the least size at which files are rotated, however many peers there are.
const smallest = 64 << 10

// limit is the size at which a peer's file becomes an old one: so that with all peers' files at that size half of the room is
// left for old ones, which are what gives way.
func (s *store) limit() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return min(s.fileBytes, max(s.total/int64(2*max(len(s.names), 1)), smallest))
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
// not the little that another did. The file that is written to goes when there is no older one, unless it is another's who
// writes to it now.
func (s *store) room(peer string, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+n > s.total {
		if err := s.evict(peer, n); err != nil {
			return err
		}
	}
	s.used += n
	s.names[peer] = struct{}{}
	return nil
}

func (s *store) evict(peer string, n int64) error {
	files, err := s.survey()
	if err != nil {
		return err
	}
	has := map[string]int64{}
	for _, f := range files {
		has[f.peer] += f.size
	}
	may := slices.DeleteFunc(files, func(f oldFile) bool { return f.number == 0 && f.peer != peer && s.inUse(f.peer) })
	victims, err := s.victims(may, has, peer, n)
	if err != nil {
		return err
	}
	for _, f := range victims {
		if err := os.Remove(filepath.Join(s.dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.used -= f.size
		s.evicted(f)
	}
	return nil
}

// Among many files more go at once than have to, so that not every request looks at all of them.
const (
	manyFiles  = 1000
	spareParts = 64 // of all room, one of which then is free
)

// victims chooses which files go for n bytes of a peer, by what each peer has. If all that may go are not enough none goes.
func (s *store) victims(may []oldFile, has map[string]int64, peer string, n int64) (out []oldFile, err error) {
	had, used := has[peer], s.used
	spare := int64(0)
	if len(may) >= manyFiles {
		spare = s.total / spareParts
	}
	for used+n > s.total-spare {
		enough := used+n <= s.total
		may = slices.DeleteFunc(may, func(f oldFile) bool { return f.peer != peer && has[f.peer] < had || enough && f.number == 0 })
		if len(may) == 0 && enough {
			break
		}
		if len(may) == 0 {
			return nil, errFull
		}
		next := slices.MaxFunc(may, func(a, b oldFile) int {
			return cmp.Or(cmp.Compare(has[a.peer], has[b.peer]), strings.Compare(a.peer, b.peer), cmp.Compare(a.number, b.number))
		})
		may = slices.DeleteFunc(may, func(f oldFile) bool { return f.name == next.name })
		has[next.peer] -= next.size
		used -= next.size
		out = append(out, next)
	}
	return out, nil
}

// inUse says whether a request writes to a peer's file, or is about to.
func (s *store) inUse(peer string) bool { return s.peers[peer] != nil && s.peers[peer].users > 0 }
