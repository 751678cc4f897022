// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"cloud4.internal/hub/internal/secret"
)

// What is read of secrets' files.
const (
	maxFileBytes = 64 << 10
	maxFiles     = 256
)

// file is a secret's file as it was seen.
type file struct {
	name string // to be shown
	path string
	info fs.FileInfo
	data []byte // nil: it cannot be read, or is too large
}

// namedFiles finds the variables that name a file which is there, instead of a secret (TLS_KEY=/etc/tls/key.pem) or where
// it stands (DB_PASSWORD_FILE=/etc/pw).
func namedFiles(environ []string) map[string]string {
	files := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		means := secret.Named(name)
		if end := strings.LastIndexAny(name, "_-."); !means && end > 0 && secret.Place(name) {
			means = secret.Named(name[:end])
		}
		if means && strings.HasPrefix(value, "/") {
			if _, err := os.Lstat(value); err == nil {
				files[name] = value
			}
		}
	}
	return files
}

// listFiles finds the regular files below dir, which need not exist, and the named ones. What cannot be looked at is
// nothing that the service could print either.
func listFiles(dir string, named map[string]string) (all []file) {
	look := func(name, path string) {
		// Mounted secrets are links as often as not, so they are followed.
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && len(all) < maxFiles {
			all = append(all, file{name: name, path: path, info: info})
		}
	}
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			look(strings.TrimPrefix(path, "/run/"), path)
		}
		return nil
	})
	for _, name := range slices.Sorted(maps.Keys(named)) {
		look(name, named[name])
	}
	return all
}

// stamp is what tells that files have changed.
func stamp(files []file) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%s %d %d\n", f.path, f.info.Size(), f.info.ModTime().UnixNano())
	}
	return b.String()
}

// file takes the secrets in a file.
func (c *collection) file(f file) {
	if f.info.Size() > maxFileBytes {
		c.leave(f.name, whyLarge)
		return
	}
	data := f.data
	if !utf8.Valid(data) || strings.ContainsRune(string(data), 0) { // a key in binary has no lines
		if len(data) >= MinBytes && len(data) <= maxPiece {
			c.values = append(c.values, Value{f.name, string(data)})
		}
		return
	}
	text := string(data)
	if isPublic(text) {
		return
	}
	var v any
	if json.Unmarshal(data, &v) == nil {
		if s, ok := v.(string); ok {
			c.take(f.name, s)
			return
		}
		if c.object(f.name, v, false) {
			return
		}
	}
	c.take(f.name, text)
	for line := range strings.Lines(text) {
		if key, value, ok := setting(line); ok && secret.Named(key) && !isSwitch(value) {
			c.take(f.name, value)
		}
	}
}

// object takes what stands in JSON under names that mean a secret; false: v is no object or list. named: it stands under
// such a name itself.
func (c *collection) object(name string, v any, named bool) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			c.member(name, v[key], named || secret.Named(key))
		}
	case []any:
		for _, child := range v {
			c.member(name, child, named)
		}
	default:
		return false
	}
	return true
}

func (c *collection) member(name string, v any, named bool) {
	text, ok := v.(string)
	if !ok {
		c.object(name, v, named)
		return
	}
	if named && !isSwitch(text) && !isPublic(text) {
		c.take(name, text)
	} else if password, ok := secret.InURL(text); ok {
		c.take(name, password)
	}
}

// setting reads KEY=VALUE, key: value or "key": "value",.
func setting(line string) (key, value string, ok bool) {
	line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
	i := strings.IndexAny(line, "=:")
	if i <= 0 {
		return "", "", false
	}
	key = strings.Trim(line[:i], " \t\"'")
	value = unquoted(strings.TrimSuffix(strings.TrimSpace(line[i+1:]), ","))
	return key, value, key != "" && !strings.ContainsAny(key, " \t/+") && len(value) >= MinBytes
}

// read reads the files.
func read(files []file) {
	for i, f := range files {
		if f.info.Size() <= maxFileBytes {
			files[i].data, _ = readFile(f.path) // what cannot be read can nobody of this uid print
		}
	}
}

// readFile reads a small regular file; a pipe in its place must not hold anybody up.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileBytes))
}
