// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const filePrefix = "file/"

// fileAux is what the spool keeps of a file besides its place.
type fileAux struct {
	Path       string `json:"path"`
	Raw        []byte `json:"raw,omitempty"` // the path, if it is more than JSON can hold
	Set        string `json:"set"`
	Generation string `json:"gen"`
	ID         string `json:"id,omitempty"` // in the uids: device and inode when it was first seen; "": those of the key

	// Earlier versions kept no proof, but the CRC32C of so many first bytes.
	Head int    `json:"head,omitempty"`
	Sum  uint32 `json:"sum,omitempty"`
}

// known is a file as the spool remembers it.
type known struct {
	key    string
	id     fileID
	aux    fileAux
	pos    int64
	seq    uint64
	proof  proof
	proved bool // there is a proof
	untold limit.Tally
	wanted bool // the settings still ask for its path
}

// parseKnown reads an entry of the spool.
func parseKnown(key string, st spool.State) (*known, bool) {
	k := &known{key: key, pos: int64(st.Pos), seq: st.Seq}
	if _, err := fmt.Sscanf(key, filePrefix+"%x-%x", &k.id.dev, &k.id.ino); err != nil {
		return nil, false
	}
	if json.Unmarshal([]byte(st.Aux), &k.aux) != nil || k.aux.Generation == "" {
		return nil, false
	}
	if len(k.aux.Raw) > 0 {
		k.aux.Path = string(k.aux.Raw)
	}
	if k.aux.ID == "" {
		k.aux.ID = k.id.String()
	}
	k.proof, k.proved = parseProof(st.Proof)
	if n := len(k.proof.append(nil)); k.proved {
		k.untold = untold(st.Proof[n:], st.Seq)
	}
	return k, true
}

// candidate is a file that is not followed yet.
type candidate struct {
	f    *os.File
	id   fileID
	size int64
	path string
	set  string // "": no pattern matches it
	err  error  // of reading it
}

// sign says what speaks for a file being a known one, the best first. When the
// content of several fits, these decide.
type sign int

const (
	sameFile  sign = iota // device and inode
	sameNode              // inode and path: another device was mounted there
	movedNode             // inode, under a path where nothing was known
	samePath              //
	sameInode             //
	sameGlob              // or the same directory
	sameEmpty             // device and inode, and nothing was read: it may be a copy of what another one held
	strangers
)

// sign compares all but the content. paths are those of all known files.
func (k *known) sign(c *candidate, paths map[string]bool) sign {
	node, path := k.id.ino == c.id.ino, k.aux.Path == c.path
	near := c.set == k.aux.Set || filepath.Dir(c.path) == filepath.Dir(k.aux.Path)
	switch {
	case c.set == "" && !k.wanted:
		return strangers
	case k.id == c.id && k.pos == 0:
		return sameEmpty
	case k.id == c.id:
		return sameFile
	case k.pos == 0: // nothing was read that could be compared, or come twice
		return strangers
	case node && path:
		return sameNode
	case !k.proved:
		return strangers
	case node && near && !paths[c.path]:
		return movedNode
	case path:
		return samePath
	case node && near:
		return sameInode
	case near:
		return sameGlob
	}
	return strangers
}

// holds compares the content.
func (k *known) holds(c *candidate) (bool, error) {
	if c.size < k.pos {
		return false, nil
	}
	if k.proved {
		return k.proof.holds(c.f)
	}
	head := make([]byte, min(max(k.aux.Head, 0), headBytes))
	if err := readFull(c.f, head, 0); err != nil {
		return false, err
	}
	return crc32.Checksum(head, castagnoli) == k.aux.Sum, nil
}

// is says whether a candidate is the known file without any doubt.
func (k *known) is(c *candidate) bool {
	if k.id != c.id || c.err != nil {
		return false
	}
	var ok bool
	ok, c.err = k.holds(c)
	return ok
}

// match finds the known files among the candidates. It takes no pair whose
// content does not fit.
func match(away []*known, found []*candidate) map[*candidate]*known {
	paths := make(map[string]bool, len(away))
	for _, k := range away {
		paths[k.aux.Path] = true
	}
	pairs := make(map[*candidate]*known)
	taken := make(map[*known]bool)
	for s := sameFile; s < strangers; s++ {
		for _, k := range away {
			for _, c := range found {
				if taken[k] || pairs[c] != nil || c.err != nil || k.sign(c, paths) != s {
					continue
				}
				var ok bool
				if ok, c.err = k.holds(c); ok {
					pairs[c], taken[k] = k, true
				}
			}
		}
	}
	return pairs
}

// remember takes from the spool what an earlier life read. What was read
// furthest comes first: it has the most to show.
func (f *Files) remember() {
	for key, st := range f.sh.Spool.Restored() {
		if !strings.HasPrefix(key, filePrefix) {
			continue
		}
		if k, ok := parseKnown(key, st); ok {
			k.wanted = f.wants(k.aux.Path)
			f.away = append(f.away, k)
		} else {
			f.forget(key)
		}
	}
	slices.SortFunc(f.away, func(a, b *known) int {
		if a.pos != b.pos {
			return int(min(max(b.pos-a.pos, -1), 1))
		}
		return strings.Compare(a.key, b.key)
	})
}

func (c *candidate) close(log zerolog.Logger) {
	if err := c.f.Close(); err != nil {
		log.Warn().Err(err).Str("path", c.path).Msg("closing a log file")
	}
}

// beside opens the files, matching no pattern, that lie in the directories of
// known ones: one that was renamed or copied away while nobody looked is there.
// found are those that match.
func (f *Files) beside(found []*candidate) []*candidate {
	seen := make(map[fileID]bool)
	for _, c := range found {
		seen[c.id] = true
	}
	dirs := make(map[string]bool)
	for _, k := range f.away {
		if k.wanted && !slices.ContainsFunc(found, k.is) {
			dirs[filepath.Dir(k.aux.Path)] = true
		}
	}
	var out []*candidate
	for dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // gone, as its files then are
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if !e.Type().IsRegular() || f.wants(path) || f.crowded(len(found)+len(out)) {
				continue
			}
			if id, ok := idAt(path); !ok || seen[id] {
				continue
			}
			if c, err := f.candidate(path, ""); err == nil {
				seen[c.id] = true
				out = append(out, c)
			}
		}
	}
	return out
}

// dropUnwanted forgets what the settings ask for no more, and empty files.
func (f *Files) dropUnwanted() {
	f.away = slices.DeleteFunc(f.away, func(k *known) bool {
		drop := k.pos == 0 || !k.wanted
		if drop {
			f.lose(k)
		}
		return drop
	})
}

// giveUp lets go of known files that did not come back.
func (f *Files) giveUp() {
	f.away = slices.DeleteFunc(f.away, func(k *known) bool {
		if id, ok := idAt(k.aux.Path); ok && id == k.id {
			return false // it is there and cannot be read, which was said
		}
		f.tellGone(k)
		f.lose(k)
		return true
	})
}

func (f *Files) tellGone(k *known) {
	f.sh.Log.Warn().Str("path", k.aux.Path).Int64("read", k.pos).
		Msg("log file is gone: no file holds what was read of it; what was added to it after that is lost")
}

// lose forgets a file, but for what is to be told of it.
func (f *Files) lose(k *known) {
	if !k.untold.None() {
		f.oweLimited(k.aux, k.aux.Path, k.untold)
	}
	f.forget(k.key)
}

func (f *Files) forget(key string) {
	if err := f.sh.Spool.ForgetRestored(key); err != nil {
		f.sh.Log.Warn().Err(err).Msg("forgetting a log file")
	}
}

// wants says whether a pattern asks for path.
func (f *Files) wants(path string) bool {
	return slices.ContainsFunc(f.sets, func(s FileSet) bool { return s.matches(path) && !s.excludes(path) })
}

// idAt says which file a path leads to. A link that is not to be followed, and what is no regular file, stand for
// themselves; directories are nothing.
func idAt(path string) (fileID, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return fileID{}, false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK && st.Uid == 0 {
		var to unix.Stat_t
		if unix.Stat(path, &to) == nil {
			st = to
		}
	}
	return fileID{uint64(st.Dev), st.Ino}, st.Mode&unix.S_IFMT != unix.S_IFDIR
}

func infoID(info fs.FileInfo) fileID {
	dev, ino := statID(info)
	return fileID{dev, ino}
}

// take follows the candidates: those that are known from where they were read
// to, the others from their beginnings.
func (f *Files) take(found []*candidate) {
	pairs := match(f.away, found)
	if f.first {
		f.leaveAway(func(k *known) bool {
			for _, paired := range pairs {
				if paired == k {
					return true
				}
			}
			return false
		})
	}
	for _, c := range found {
		k := pairs[c]
		// It only lies beside a known one, or was renamed under our hands.
		if k == nil && c.set == "" || f.tails[c.id] != nil {
			c.close(f.sh.Log)
			continue
		}
		t := f.newTail(c)
		if c.err == nil {
			c.err = t.start(k)
		}
		if c.err != nil {
			f.refuse(c.path, c.err)
			t.close()
			continue
		}
		f.follow(t)
		if c.set != "" {
			f.point(c.path, t)
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
