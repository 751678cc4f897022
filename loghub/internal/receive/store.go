// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Names of files.
const (
	suffix     = ".jsonl"
	packed     = ".gz"
	unfinished = ".new"
)

var errFull = errors.New("the directory is full")

// line is one record's line in a buffer, and what tells it from others; key 0
// says that nothing does.
type line struct {
	start, end int
	key        uint64
}

// store is the directory of JSON lines.
type store struct {
	dir       string
	fileBytes int64
	keep      int
	total     int64        // bound of all files
	daily     bool         // a new file each day, UTC
	pack      bool         // old files are compressed
	seed0     maphash.Seed // so that nobody can choose uids with equal keys
	evicted   func(oldFile)

	mu    sync.Mutex // also while files change their names
	used  int64
	peers map[string]*peerFile
	names map[string]struct{} // of all peers that have files
}

// peerFile is one <peer>.jsonl with its old ones.
type peerFile struct {
	mu     sync.Mutex
	path   string
	window window
	ready  bool // the file was looked at: its torn end is gone, the window read back

	at    time.Time // guarded by the store's mutex, as is users
	users int       // requests that write to it, or wait for that
}

func openStore(o Options, evicted func(oldFile)) (*store, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{
		dir: o.Dir, fileBytes: o.FileBytes, keep: o.Keep, total: o.TotalBytes, daily: o.Daily, pack: o.Pack,
		seed0: maphash.MakeSeed(), evicted: evicted, peers: make(map[string]*peerFile),
	}
	probe, err := os.CreateTemp(o.Dir, ".probe-*")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, err
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "*"+packed+unfinished)); err == nil {
		for _, path := range left {
			_ = os.Remove(path) // of a crash; the file it was made of is there
		}
	}
	_, err = s.survey()
	return s, err
}

// peer returns the file of a peer, which is in use until it is left. Of too many, the one that was silent longest gives up its
// window.
func (s *store) peer(name string) *peerFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[name]
	if p == nil {
		if len(s.peers) >= maxWindows {
			oldest := ""
			for n, q := range s.peers {
				if q.users == 0 && (oldest == "" || q.at.Before(s.peers[oldest].at)) {
					oldest = n
				}
			}
			delete(s.peers, oldest) // if all are in use, none
		}
		p = &peerFile{path: filepath.Join(s.dir, name+suffix)}
		s.peers[name] = p
	}
	p.at = time.Now()
	p.users++
	return p
}

func (s *store) leave(p *peerFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.users--
}

// add appends the lines that are no duplicates and forces them to the disk. buf is used up. It returns how many lines
// were written.
func (s *store) add(name string, buf []byte, lines []line) (int, error) {
	p := s.peer(name)
	defer s.leave(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := s.prepare(p); err != nil {
		return 0, err
	}
	fresh, n := buf[:0], 0 // in place: a request may be large
	inRequest := make(map[uint64]bool, len(lines))
	var keys []uint64
	for _, l := range lines {
		if l.key != 0 {
			if p.window.has(l.key) || inRequest[l.key] {
				continue
			}
			inRequest[l.key] = true
			keys = append(keys, l.key)
		}
		fresh = append(fresh, buf[l.start:l.end]...)
		n++
	}
	if n == 0 {
		return 0, nil
	}
	if err := s.room(name, int64(len(fresh))); err != nil {
		return 0, err
	}
	if err := s.append(p, fresh); err != nil {
		return 0, err
	}
	for _, k := range keys {
		p.window.add(k)
	}
	return n, nil
}

func (s *store) append(p *peerFile, data []byte) error {
	info, err := os.Stat(p.path)
	fresh := err != nil
	if err == nil && info.Size() > 0 && (info.Size()+int64(len(data)) > s.limit() || s.daily && day(info.ModTime()) != day(time.Now())) {
		if err := s.rotate(p.path); err != nil {
			return err
		}
		fresh = true
	}
	f, err := os.OpenFile(p.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	if err := write(f, data); err != nil {
		p.ready = false // a torn end has to go before the next line
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil || !fresh {
		return err
	}
	return syncDir(s.dir)
}

// write appends data and forces it to the disk. After an error nothing of it stays: the sender comes again, and what were found
// in the file would be taken for a duplicate, though the disk may never have got it.
func write(f *os.File, data []byte) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	n, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %d of %d bytes: %w", n, len(data), err), f.Truncate(info.Size()))
	}
	return nil
}

// syncDir forces the names of a directory to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
