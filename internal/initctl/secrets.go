// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
)

// Secrets is the memory file by which confighub tells loghub what no log may show. hubinit makes it and holds it for the
// container's life; HUB_SECRETS_FD names it, for confighub to write, for loghub to read, and for nobody else.
//
// It begins with 8 bytes of magic and the generation (all numbers little endian). The values of generation g stand in
// one of two slots, by g mod 2: generation (8 bytes), length and CRC32C of what follows (4 each), then for each value,
// oldest first, its name and text, each behind its length as a uvarint. A writer fills the slot that is not in use and
// then sets the generation. So a reader has either what was or what is, wherever a writer was killed; one that is
// overtaken twice while it reads sees that, and reads again.
//
// Values stay when they are in use no more, until newer ones need their room: SecretsBytes in all.
//
// nil is a file that holds nothing and takes nothing: hubinit did not hand one over.
type Secrets struct{ f *os.File }

// NewSecrets takes over an open memory file, to write or to read.
func NewSecrets(f *os.File) *Secrets { return &Secrets{f} }

// Secret is one value, under a name that may be shown.
type Secret struct{ Name, Value string }

// Limits of Secrets.
const (
	SecretsBytes   = 128 << 10 // of a slot's payload
	MaxSecretBytes = 64 << 10  // of one value
	maxSecretName  = 128
)

const (
	secretsMagic  = "hubsecr1"
	secretsHeader = int64(len(secretsMagic) + 8)
	slotHeader    = 8 + 4 + 4
	firstSlot     = 4096
	slotBytes     = slotHeader + SecretsBytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Generation changes with every Add that changed something; 0: nothing was handed over. It is one system call.
func (s *Secrets) Generation() uint64 {
	if s == nil {
		return 0
	}
	var b [secretsHeader]byte
	if n, _ := s.f.ReadAt(b[:], 0); n < len(b) || string(b[:len(secretsMagic)]) != secretsMagic {
		return 0
	}
	return binary.LittleEndian.Uint64(b[len(secretsMagic):])
}

// readTries is how often Read begins anew when a writer overtakes it.
const readTries = 5

// Read returns what was handed over, oldest first, and its generation.
func (s *Secrets) Read() (all []Secret, generation uint64, err error) {
	if s == nil {
		return nil, 0, nil
	}
	for range readTries {
		if generation = s.Generation(); generation == 0 {
			return nil, 0, nil
		}
		if all, err = s.readSlot(generation); err == nil {
			return all, generation, nil
		}
	}
	return nil, 0, fmt.Errorf("reading the secrets that confighub handed over: %w", err)
}

func slotPlace(generation uint64) int64 { return firstSlot + int64(generation%2)*slotBytes }

func (s *Secrets) readSlot(generation uint64) ([]Secret, error) {
	var head [slotHeader]byte
	if _, err := s.f.ReadAt(head[:], slotPlace(generation)); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(head[8:])
	if binary.LittleEndian.Uint64(head[:]) != generation || length > SecretsBytes {
		return nil, errors.New("another generation stands there")
	}
	payload := make([]byte, length)
	if _, err := s.f.ReadAt(payload, slotPlace(generation)+slotHeader); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(head[12:]) {
		return nil, errors.New("wrong checksum")
	}
	return parseSecrets(payload)
}

// Add hands over the values that are in use from now on, before anything is done with them; those known already may be
// among them. left are the names of those that have no room. One goroutine of one process calls it.
func (s *Secrets) Add(inUse []Secret) (left []string, err error) {
	if s == nil {
		return nil, nil
	}
	known, generation, err := s.Read()
	if err != nil {
		known, generation = nil, s.Generation() // damaged: begin anew
	}
	inUse = slices.Clone(inUse)
	var fresh []Secret
	for i, v := range inUse {
		v.Name = v.Name[:min(len(v.Name), maxSecretName)]
		inUse[i] = v
		switch {
		case v.Value == "" || slices.Contains(known, v) || slices.Contains(fresh, v):
		case len(v.Value) > MaxSecretBytes:
			left = append(left, v.Name)
		default:
			fresh = append(fresh, v)
		}
	}
	if len(fresh) == 0 {
		return left, nil
	}
	all, noRoom := fit(append(known, fresh...), inUse)
	return append(left, noRoom...), s.write(all, generation+1)
}

// fit drops values until the rest has room: first those in use no more, the oldest first, then of those in use the last.
func fit(all, inUse []Secret) (kept []Secret, left []string) {
	size := 0
	for _, v := range all {
		size += v.size()
	}
	kept = slices.DeleteFunc(all, func(v Secret) bool {
		old := size > SecretsBytes && !slices.Contains(inUse, v)
		if old {
			size -= v.size()
		}
		return old
	})
	for size > SecretsBytes {
		last := kept[len(kept)-1]
		size -= last.size()
		left = append(left, last.Name)
		kept = kept[:len(kept)-1]
	}
	return kept, left
}

func (v Secret) size() int { return 2*binary.MaxVarintLen32 + len(v.Name) + len(v.Value) }

func (s *Secrets) write(all []Secret, generation uint64) error {
	slot := make([]byte, slotHeader)
	for _, v := range all {
		slot = append(binary.AppendUvarint(slot, uint64(len(v.Name))), v.Name...)
		slot = append(binary.AppendUvarint(slot, uint64(len(v.Value))), v.Value...)
	}
	binary.LittleEndian.PutUint64(slot, generation)
	binary.LittleEndian.PutUint32(slot[8:], uint32(len(slot)-slotHeader))
	binary.LittleEndian.PutUint32(slot[12:], crc32.Checksum(slot[slotHeader:], castagnoli))
	_, err := s.f.WriteAt(slot, slotPlace(generation))
	if err == nil {
		_, err = s.f.WriteAt(binary.LittleEndian.AppendUint64([]byte(secretsMagic), generation), 0)
	}
	if err != nil {
		return fmt.Errorf("handing secrets over to loghub: %w", err)
	}
	return nil
}

// parseSecrets reads a slot's payload.
func parseSecrets(payload []byte) (all []Secret, err error) {
	text := func() string {
		n, used := binary.Uvarint(payload)
		if used <= 0 || n > uint64(len(payload)-used) {
			err = errors.New("damaged")
			return ""
		}
		s := string(payload[used : used+int(n)])
		payload = payload[used+int(n):]
		return s
	}
	for len(payload) > 0 && err == nil {
		if v := (Secret{text(), text()}); err == nil {
			all = append(all, v)
		}
	}
	return all, err
}
