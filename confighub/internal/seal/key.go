// SPDX-License-Identifier: AGPL-3.0-or-later

package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/hubfile"
)

// KeyFile is the name of a container's key below its identity directory.
const KeyFile = "seal.key"

// maxKeyFile is some hundred lines of comment more than a key has.
const maxKeyFile = 16 << 10

// Key opens what was sealed for its recipient. It prints as the recipient, never as itself.
type Key struct{ identity *age.X25519Identity }

// Recipient is the public half, "age1…": whoever has it can seal, and cannot open.
func (k *Key) Recipient() string { return k.identity.Recipient().String() }

// String is the recipient.
func (k *Key) String() string { return k.Recipient() }

// GoString is the recipient, for %#v.
func (k *Key) GoString() string { return k.Recipient() }

// EnsureKey returns the key in dir/seal.key, or makes one, which is on the disk (mode 0600) when it returns. The
// directory is made if need be, mode 0700. A file that is there and cannot be understood is an error and stays as it
// is: it may be all that opens what was sealed.
func EnsureKey(dir string) (*Key, error) {
	file := filepath.Join(dir, KeyFile)
	key, err := ReadKey(file)
	switch {
	case err == nil:
		return key, nil
	case errors.Is(err, errDamaged):
		return nil, fmt.Errorf("%w. The file stays as it is: put a copy of it back, or move it away and start anew: "+
			"a new key is made then, and what was sealed for the old one must be sealed again", err)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the key for sealed values: %w", err)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("making the key for sealed values: %w", err)
	}
	text := fmt.Sprintf("# public key: %s\n%s\n", identity.Recipient(), identity)
	if err := atomicfile.Write(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("keeping the key for sealed values: %w", err)
	}
	return &Key{identity}, nil
}

var errDamaged = errors.New("the key for sealed values is damaged")

// ReadKey reads a key file, in the form of age-keygen(1): one line AGE-SECRET-KEY-1…, comments, empty lines. The error
// is fs.ErrNotExist when there is none; it never quotes the file.
func ReadKey(file string) (*Key, error) {
	raw, err := hubfile.ReadFile(file, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("the key for sealed values: %w", err)
	}
	var key *Key
	number := 0
	for line := range bytes.Lines(raw) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		if key != nil {
			return nil, fmt.Errorf("%w: %s:%d: is a second key", errDamaged, file, number)
		}
		identity, err := age.ParseX25519Identity(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %s:%d: is no X25519 key of age", errDamaged, file, number)
		}
		key = &Key{identity}
	}
	if key == nil {
		return nil, fmt.Errorf("%w: %s holds none", errDamaged, file)
	}
	return key, nil
}

// CheckRecipient says what is wrong with the text of a recipient: one of X25519 is "age1" and 58 letters and digits.
func CheckRecipient(text string) error {
	if _, err := age.ParseX25519Recipient(text); err != nil {
		return errors.New("must be an X25519 recipient of age, age1… with 62 characters")
	}
	return nil
}
