// SPDX-License-Identifier: AGPL-3.0-or-later

package seal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func newKey(t testing.TB) *Key {
	t.Helper()
	key, err := EnsureKey(filepath.Join(t.TempDir(), "identity"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestKeyIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "identity")
	first, err := EnsureKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, filepath.Join(dir, KeyFile): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, mode)
		}
	}
	again, err := EnsureKey(dir)
	if err != nil || again.Recipient() != first.Recipient() {
		t.Errorf("the second time: %v, %v; want %v", again, err, first)
	}
	if other := newKey(t); other.Recipient() == first.Recipient() {
		t.Error("two containers have one key")
	}
	if err := CheckRecipient(first.Recipient()); err != nil {
		t.Error(err)
	}
}

func TestKeyPrintsAsItsRecipient(t *testing.T) {
	key := newKey(t)
	raw, err := json.Marshal(map[string]any{"key": key, "value": *key})
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %s", key, key, key, key, key, raw)
	if strings.Contains(strings.ToUpper(printed), "SECRET") || !strings.Contains(printed, key.Recipient()) {
		t.Errorf("printed as %s", printed)
	}
}

// A key that is not understood may be all that opens what was sealed.
func TestDamagedKeyStays(t *testing.T) {
	good := newKey(t).identity.String()
	for name, tt := range map[string]struct{ text, want string }{
		"empty":       {"", "seal.key holds none"},
		"comment":     {"# public key: age1\n\n", "seal.key holds none. The file stays as it is"},
		"cut off":     {"# key\n" + good[:40] + "\n", "seal.key:2: is no X25519 key of age"},
		"one letter":  {strings.Replace(good, "1Q", "1P", 1)[:len(good)-1] + "x\n", "seal.key:1: is no X25519 key of age"},
		"zeros":       {strings.Repeat("\x00", 74), "seal.key:1: is no X25519 key of age"},
		"two":         {good + "\n" + good + "\n", "seal.key:2: is a second key"},
		"much":        {strings.Repeat("#\n", maxKeyFile), "larger than 16 KiB"},
		"a recipient": {newKey(t).Recipient(), "seal.key:1: is no X25519 key of age"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, KeyFile)
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := EnsureKey(dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), good[20:40]) {
				t.Errorf("the error quotes the key: %v", err)
			}
			if raw, err := os.ReadFile(file); err != nil || string(raw) != tt.text {
				t.Errorf("the file was changed: %q, %v", raw, err)
			}
		})
	}
}

func TestKeyFileIsRegular(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, KeyFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureKey(dir); err == nil || !strings.Contains(err.Error(), "is a pipe, not a regular file") {
		t.Errorf("got %v", err)
	}
	if _, err := ReadKey(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

// The file is that of age's own programs, so that age(1) opens what is sealed when all else is lost.
func TestKeyWithComments(t *testing.T) {
	key := newKey(t)
	file := filepath.Join(t.TempDir(), "key.txt")
	text := "# created: 2026-03-01T12:00:00Z\r\n# public key: " + key.Recipient() + "\r\n\r\n" + key.identity.String() + "\r\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadKey(file); err != nil || got.Recipient() != key.Recipient() {
		t.Errorf("got %v, %v; want %v", got, err, key)
	}
}

func TestCheckRecipient(t *testing.T) {
	good := newKey(t).Recipient()
	for _, bad := range []string{"", "age1", good[:len(good)-1], good + "q", good + "\n", strings.ToUpper(good), "AGE-SECRET-KEY-1" + good[5:], "age1pq" + good[4:]} {
		if CheckRecipient(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
