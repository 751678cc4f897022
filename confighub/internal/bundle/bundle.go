// SPDX-License-Identifier: AGPL-3.0-or-later

// Package bundle owns the form of a configuration bundle: what its files are called, how fragments of it
// are merged, how it is packed for the wire and how the pointer to it is sealed.
//
// A bundle is a directory (or the tar.gz of one):
//
//	bundle.json      {"strict": false, "targets": {"/etc/app.conf": {"template": "app.conf", …}}}
//	data/*.json      merged in name order (RFC 7396)
//	templates/**     mustache; a template "x" is the file templates/x or templates/x.mustache
//	schema.json      optional JSON Schema of the merged data (the keywords listed at Schema)
//	origins.json     in a packed bundle only, and optional: which layer each of these came from (Origins)
//
// In a directory, hidden files and those that editors leave behind (x~, x.swp, x.tmp) are passed over.
//
// A value of data may be sealed ({"$sealed": "age:…"}, package seal): it is one value for layers, and a schema says nothing
// of it until it was opened in the container (CheckOpened).
//
// All JSON may carry comments and trailing commas (JWCC). Numbers keep their literal text. Errors are
// Problems: all of them at once, each as `file:line: key: what is wrong`.
//
// On the wire a bundle is a gzipped tar of regular files and a pointer of at most 64 KiB that names it, in a
// DSSE envelope (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md, payload type
// application/vnd.cloud4.bundle+json, ed25519).
//
// Limits: 8 MiB packed, 64 MiB unpacked, 4096 files; all JSON of a bundle together 4 MiB and 200,000 values, nested
// 200 deep, no dotted path longer than 512 bytes. Of many problems the first 100 are told.
//
// The package does no network and no rendering, and knows nothing of what a machine allows as a target:
// that is package apply's.
package bundle

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"cloud4.internal/hub/confighub/internal/seal"
)

// Limits of a bundle. They bound what one fetch can cost a container.
const (
	MaxPacked   = 8 << 20
	MaxUnpacked = 64 << 20
	MaxFiles    = 4096
	// MaxJSON and MaxValues bound bundle.json, schema.json and data/ together.
	MaxJSON   = 4 << 20
	MaxValues = 200_000
	maxDepth  = 200
)

// Names of a bundle's parts.
const (
	manifestFile = "bundle.json"
	schemaFile   = "schema.json"
	originsFile  = "origins.json"
	dataDir      = "data"
	templatesDir = "templates"
	// Extension of a template file, which a manifest and a partial tag may leave out.
	Extension = ".mustache"
)

// Bundle is one whole, valid bundle. It is not changed after it was made.
type Bundle struct {
	Manifest Manifest
	// Data is the merged data: map[string]any, []any, string, bool, json.Number, and nil only inside lists.
	Data map[string]any
	// Templates maps the path below templates/ to the file's bytes.
	Templates map[string][]byte
	// Schema is the JSON Schema that Data satisfies, as standard JSON; nil when there is none.
	Schema json.RawMessage
	// Origins is where all of it comes from; nil when a packed bundle does not say.
	Origins *Origins
}

// Present reports whether anything of a bundle lies in fsys. Read takes a directory with nothing of one for a bundle that
// wants nothing.
func Present(fsys fs.FS) bool {
	for _, name := range []string{manifestFile, templatesDir, dataDir} {
		if _, err := fs.Stat(fsys, name); err == nil {
			return true
		}
	}
	return false
}

// Read reads the bundle that lies in fsys.
func Read(fsys fs.FS) (*Bundle, error) {
	f, err := ReadFragment(fsys, "")
	if err != nil {
		return nil, err
	}
	return Assemble(f)
}

// Template returns the file name below templates/ and the bytes of the named template, whose name may leave
// out the extension.
func (b *Bundle) Template(name string) (file string, text []byte, ok bool) {
	return lookupTemplate(b.Templates, name)
}

func lookupTemplate(templates map[string][]byte, name string) (string, []byte, bool) {
	for _, file := range []string{name, name + Extension} {
		if text, ok := templates[file]; ok {
			return file, text, true
		}
	}
	return "", nil, false
}

// Version tells one published bundle from another: the same digest may come again under a new serial.
type Version struct {
	Serial uint64 `json:"serial"`
	Digest string `json:"digest"`
}

// IsZero reports whether v names no version.
func (v Version) IsZero() bool { return v == Version{} }

// String is "17 (sha256:0123456789ab…)", short enough for a log line.
func (v Version) String() string {
	if v.IsZero() {
		return "none"
	}
	digest := v.Digest
	if hex, ok := strings.CutPrefix(digest, DigestPrefix); ok && len(hex) > 12 {
		digest = DigestPrefix + hex[:12] + "…"
	}
	return fmt.Sprintf("%d (%s)", v.Serial, digest)
}

// States of a version at a container, as POST /v1/applied tells them.
const (
	StateApplied    = "applied"
	StatePending    = "pending"
	StateRejected   = "rejected"
	StateRolledBack = "rolled_back"
)

// Applied is the body of POST /v1/applied: what became of a version at one container.
type Applied struct {
	Version Version `json:"version"`
	State   string  `json:"state"`
	// Errors is why State is rejected or rolled_back, or remains pending; else empty.
	Errors []string `json:"errors,omitempty"`
	// Instance is the replica's number, "" for the first.
	Instance string `json:"instance,omitempty"`
	// Recipient is the public key that values are sealed for so that this container alone opens them; "" when it has none.
	Recipient string `json:"recipient,omitempty"`
}

// Check says what is wrong with a report from outside.
func (a Applied) Check() error {
	switch a.State {
	case StateApplied, StatePending, StateRejected, StateRolledBack:
	default:
		return fmt.Errorf("state: must be applied, pending, rejected or rolled_back, got %q", a.State)
	}
	if err := checkDigest(a.Version.Digest); err != nil {
		return fmt.Errorf("version.digest: %w", err)
	}
	if a.Recipient != "" {
		if err := seal.CheckRecipient(a.Recipient); err != nil {
			return fmt.Errorf("recipient: %w", err)
		}
	}
	return nil
}

// validName reports whether name may be a file's path in a bundle: relative, clean, of printable UTF-8.
func validName(name string) bool {
	if !fs.ValidPath(name) || name == "." || path.Clean(name) != name || len(name) > 255 {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == '\uFFFD' })
}
