// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/internal/otlp"
)

// seedBytes is how much of a file's end is read back for its window.
const seedBytes = 8 << 20

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
	seed      maphash.Seed // so that nobody can choose uids with equal keys

	mu    sync.Mutex
	used  int64
	peers map[string]*peerFile
}

// peerFile is one <peer>.jsonl with its old ones.
type peerFile struct {
	mu     sync.Mutex
	path   string
	window window
	ready  bool // the file was looked at: its torn end is gone, the window read back
	at     time.Time
}

func openStore(dir string, fileBytes int64, keep int, total int64) (*store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &store{dir: dir, fileBytes: fileBytes, keep: keep, total: total, seed: maphash.MakeSeed(), peers: make(map[string]*peerFile)}
	probe, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, err
	}
	s.used, err = s.measure()
	return s, err
}

// measure adds up what is in the directory.
func (s *store) measure() (int64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.Contains(e.Name(), ".jsonl") {
			n += info.Size()
		}
	}
	return n, nil
}

// peer returns the file of a peer. Of too many, the one that was silent longest
// gives up its window.
func (s *store) peer(name string) *peerFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.peers[name]
	if p == nil {
		if len(s.peers) >= maxWindows {
			oldest := ""
			for n, q := range s.peers {
				if oldest == "" || q.at.Before(s.peers[oldest].at) {
					oldest = n
				}
			}
			delete(s.peers, oldest)
		}
		p = &peerFile{path: filepath.Join(s.dir, name+".jsonl")}
		s.peers[name] = p
	}
	p.at = time.Now()
	return p
}

// room takes n bytes from what the directory may hold.
func (s *store) room(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+n > s.total {
		used, err := s.measure() // somebody may have tidied up
		if err != nil {
			return err
		}
		if s.used = used; s.used+n > s.total {
			return errFull
		}
	}
	s.used += n
	return nil
}

// add appends the lines that are no duplicates and forces them to the disk.
func (s *store) add(name string, buf []byte, lines []line) error {
	p := s.peer(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := s.prepare(p); err != nil {
		return err
	}
	fresh := make([]byte, 0, len(buf))
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
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := s.room(int64(len(fresh))); err != nil {
		return err
	}
	if err := s.append(p, fresh); err != nil {
		return err
	}
	for _, k := range keys {
		p.window.add(k)
	}
	return nil
}

func (s *store) append(p *peerFile, data []byte) error {
	info, err := os.Stat(p.path)
	if err == nil && info.Size() > 0 && info.Size()+int64(len(data)) > s.fileBytes {
		if err := s.rotate(p.path); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(p.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	n, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		p.ready = false // a torn end has to go before the next line
		return errors.Join(fmt.Errorf("writing %d of %d bytes: %w", n, len(data), err), f.Close())
	}
	return f.Close()
}

// rotate moves the files of a peer up by one; the last one goes.
func (s *store) rotate(path string) error {
	last := fmt.Sprintf("%s.%d", path, s.keep)
	if info, err := os.Stat(last); err == nil {
		s.mu.Lock()
		s.used -= info.Size()
		s.mu.Unlock()
	}
	for i := s.keep - 1; i >= 0; i-- {
		from := path
		if i > 0 {
			from = fmt.Sprintf("%s.%d", path, i)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", path, i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// prepare looks at the file once: it cuts off a line without an end and reads
// back the window.
func (s *store) prepare(p *peerFile) error {
	if p.ready {
		return nil
	}
	f, err := os.OpenFile(p.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		p.ready = true
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	from := max(info.Size()-seedBytes, 0)
	data := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(data, from); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if end := bytes.LastIndexByte(data, '\n') + 1; end < len(data) {
		if err := f.Truncate(from + int64(end)); err != nil {
			return err
		}
		data = data[:end]
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, seedBytes+1)
	for sc.Scan() {
		// A map, since a struct's fields would be taken from names in other case too, which anybody may send.
		var rec map[string]json.RawMessage
		if json.Unmarshal(sc.Bytes(), &rec) != nil {
			continue
		}
		if uid := unquoted(rec["log.record.uid"]); uid != "" {
			p.window.add(s.key(unquoted(rec["cloud4.peer"]), unquoted(rec["service.instance.id"]), uid))
		}
	}
	p.ready = true
	return sc.Err()
}

// unquoted gives a string's text; "" for anything else.
func unquoted(raw json.RawMessage) (text string) {
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// recordKey names a record by peer, instance and uid; 0 if it has no uid.
func (s *store) recordKey(peer string, resource, attrs []otlp.KeyValue) uint64 {
	uid := text(attrs, "log.record.uid")
	if uid == "" {
		return 0
	}
	return s.key(peer, text(resource, "service.instance.id"), uid)
}

func text(kvs []otlp.KeyValue, name string) string {
	for _, kv := range kvs {
		if kv.Key == name && kv.Value.Kind == otlp.KindString {
			return string(kv.Value.Bytes)
		}
	}
	return ""
}

func (s *store) key(peer, instance, uid string) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, part := range [...]string{peer, instance, uid} {
		h.WriteString(part)
		h.WriteByte(0)
	}
	return max(h.Sum64(), 1)
}

// window remembers the last keys.
type window struct {
	ring []uint64
	next int
	set  map[uint64]struct{}
}

func (w *window) has(k uint64) bool {
	_, ok := w.set[k]
	return ok
}

func (w *window) add(k uint64) {
	if w.set == nil {
		w.set = make(map[uint64]struct{})
	}
	if w.has(k) {
		return
	}
	if len(w.ring) < windowRecords {
		w.ring = append(w.ring, k)
	} else {
		delete(w.set, w.ring[w.next])
		w.ring[w.next] = k
		w.next = (w.next + 1) % windowRecords
	}
	w.set[k] = struct{}{}
}
