// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"os"

	"cloud4.internal/hub/internal/otlp"
	"github.com/klauspost/compress/gzip"
)

// seedBytes is how much of a file's end is read back for its window.
const seedBytes = 8 << 20

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

// prepare looks at the file once: it cuts off a line without an end and reads
// back the window, from the file before it too if it is small.
func (s *store) prepare(p *peerFile) error {
	if p.ready {
		return nil
	}
	data, err := cutTorn(p.path)
	if err != nil {
		return err
	}
	if len(data) < seedBytes {
		if err := s.seed(p, before(p.path, seedBytes-len(data))); err != nil {
			return err
		}
	}
	if err := s.seed(p, data); err != nil {
		return err
	}
	p.ready = true
	return nil
}

// cutTorn removes what stands behind the last line of a file, and returns the file's end, which then is on the disk: a receiver
// that was killed may not have forced it there, and what it holds is answered with 200.
func cutTorn(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(info.Size()-seedBytes, 0)
	data := make([]byte, info.Size()-from)
	if _, err := f.ReadAt(data, from); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	if end < len(data) {
		if err := f.Truncate(from + int64(end)); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return data[:end], nil
}

// before returns the last bytes of the newest old file. Without one, and of one that cannot be read, it is nothing: what is
// remembered is a help, and a duplicate carries its uid.
func before(path string, n int) []byte {
	var in io.Reader
	f, err := os.Open(path + ".1")
	if err == nil {
		if info, err := f.Stat(); err == nil {
			if _, err := f.Seek(max(info.Size()-int64(n), 0), io.SeekStart); err != nil {
				n = 0
			}
		}
		in = f
	} else if f, err = os.Open(path + ".1" + packed); err == nil {
		gz, err := gzip.NewReader(f)
		if err != nil {
			f.Close()
			return nil
		}
		in = gz
	} else {
		return nil
	}
	defer f.Close()
	return lastOf(in, n)
}

// lastOf returns the last n bytes or a little more.
func lastOf(in io.Reader, n int) []byte {
	var old, data []byte
	for {
		chunk := make([]byte, n)
		m, err := io.ReadFull(in, chunk)
		old, data = data, chunk[:m]
		if err != nil {
			return append(old, data...)
		}
	}
}

// seed reads keys from lines. The first one may have lost its beginning.
func (s *store) seed(p *peerFile, data []byte) error {
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, len(data)+1)
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
	h.SetSeed(s.seed0)
	for _, part := range [...]string{peer, instance, uid} {
		h.WriteString(part)
		h.WriteByte(0)
	}
	return max(h.Sum64(), 1)
}
