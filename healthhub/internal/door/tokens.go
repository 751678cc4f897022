// SPDX-License-Identifier: AGPL-3.0-or-later

package door

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/atomicfile"
)

// File is the name of the file in the state directory that knows the read token by its hash.
const File = "read-token.json"

// maxFileBytes bounds what is read of it.
const maxFileBytes = 4 << 10

// stored is the file.
type stored struct {
	Schema     int       `json:"schema"`
	Token      []byte    `json:"token_sha256"`
	SessionKey []byte    `json:"session_key"` // cookies are signed with
	MadeAt     time.Time `json:"made_at"`
}

// Tokens is the read token of a state directory; there is one or none. Its methods may be called from several goroutines, and a
// token made by another process counts at once.
type Tokens struct {
	path string

	mu   sync.Mutex // guards what follows
	seen fs.FileInfo
	now  stored // zero: none
}

// OpenTokens looks into a state directory, which need not be there yet.
func OpenTokens(dir string) *Tokens { return &Tokens{path: filepath.Join(dir, File)} }

// Make makes a token, which ends the one before and all its sessions. Nothing but the return value ever tells it. The
// file belongs to whom the directory belongs to, so that root may make a token for a server that is not root.
func (t *Tokens) Make() (string, error) {
	token := rand.Text()
	hash := sha256.Sum256([]byte(token))
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	data, err := json.Marshal(stored{Schema: 1, Token: hash[:], SessionKey: key, MadeAt: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return "", fmt.Errorf("making a read token: %w", err)
	}
	dir := filepath.Dir(t.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("making a read token: %w", err)
	}
	if err := atomicfile.Write(t.path, append(data, '\n'), 0o600); err != nil {
		return "", fmt.Errorf("making a read token: %w", err)
	}
	if info, err := os.Stat(dir); err == nil && os.Geteuid() == 0 {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
			if err := os.Lchown(t.path, int(owner.Uid), int(owner.Gid)); err != nil {
				return "", fmt.Errorf("making a read token: %w", err)
			}
		}
	}
	return token, nil
}

// Made reports whether there is a token.
func (t *Tokens) Made() bool { return len(t.load().Token) > 0 }

// Err is why the token that is there cannot be used; nil if it can, or if there is none.
func (t *Tokens) Err() error {
	_, _, err := t.read()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Check reports whether token is the one.
func (t *Tokens) Check(token string) bool {
	s := t.load()
	hash := sha256.Sum256([]byte(token))
	return len(s.Token) == len(hash) && subtle.ConstantTimeCompare(hash[:], s.Token) == 1
}

// Session is a cookie that opens until a time.
func (t *Tokens) Session(until time.Time) string {
	end := strconv.FormatInt(until.Unix(), 10)
	return end + "." + base64.RawURLEncoding.EncodeToString(sign(t.load().SessionKey, end))
}

// Opens reports whether a cookie was given by Session, since the token of now was made, and is still good.
func (t *Tokens) Opens(cookie string, now time.Time) bool {
	end, signature, _ := strings.Cut(cookie, ".")
	given, err := base64.RawURLEncoding.DecodeString(signature)
	s := t.load()
	if err != nil || len(s.SessionKey) != sha256.Size || !hmac.Equal(given, sign(s.SessionKey, end)) {
		return false
	}
	unix, err := strconv.ParseInt(end, 10, 64)
	return err == nil && now.Before(time.Unix(unix, 0))
}

func sign(key []byte, end string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("healthhub session until " + end))
	return mac.Sum(nil)
}

// load gives what the file says now, and nothing at all if it cannot be read: the door stays shut.
func (t *Tokens) load() stored {
	t.mu.Lock()
	defer t.mu.Unlock()
	info, err := os.Stat(t.path)
	if err == nil && t.seen != nil && os.SameFile(info, t.seen) && info.ModTime().Equal(t.seen.ModTime()) &&
		info.Size() == t.seen.Size() {
		return t.now
	}
	if t.now, t.seen, err = t.read(); err != nil {
		t.now, t.seen = stored{}, nil
	}
	return t.now
}

func (t *Tokens) read() (s stored, info fs.FileInfo, err error) {
	if info, err = os.Stat(t.path); err != nil {
		return s, nil, fmt.Errorf("reading the read token: %w", err)
	}
	if info.Size() > maxFileBytes {
		return s, nil, fmt.Errorf("reading the read token: %s has %d bytes: make another with healthhub token", t.path, info.Size())
	}
	data, err := os.ReadFile(t.path)
	if err != nil {
		return s, nil, fmt.Errorf("reading the read token: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil || s.Schema != 1 || len(s.Token) != sha256.Size ||
		len(s.SessionKey) != sha256.Size {
		return stored{}, nil, fmt.Errorf("reading the read token: %s is no file of ours: make another with healthhub token", t.path)
	}
	return s, info, nil
}
