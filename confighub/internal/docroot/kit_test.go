// SPDX-License-Identifier: AGPL-3.0-or-later

package docroot

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/tree"
)

// root is a docroot under test.
type root struct {
	t   *testing.T
	dir string
}

func newRoot(t *testing.T) root { return root{t, filepath.Join(t.TempDir(), "srv", "docroot")} }

var now = time.UnixMilli(1_800_000_000_000)

// bundles makes a real bundle of each value: "web.shop.vm1=one".
func bundles(t *testing.T, values ...string) map[string]*tree.Blob {
	t.Helper()
	blobs := map[string]*tree.Blob{}
	for _, each := range values {
		name, value, _ := strings.Cut(each, "=")
		packed, err := bundle.Pack(&bundle.Bundle{Data: map[string]any{"v": value}})
		if err != nil {
			t.Fatal(err)
		}
		blobs[name] = &tree.Blob{Digest: bundle.Digest(packed), Packed: packed}
	}
	return blobs
}

func (r root) publish(blobs map[string]*tree.Blob, o Options) Result {
	r.t.Helper()
	if o.Now.IsZero() {
		o.Now = now
	}
	result, err := Publish(r.dir, &tree.Tree{}, blobs, o)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

func (r root) path(name string) string { return filepath.Join(r.dir, "v1/bundles", name) }

// envelope reads what a client reads, the bundle included.
func (r root) envelope(name string) (*bundle.Envelope, bundle.Pointer) {
	r.t.Helper()
	raw, err := os.ReadFile(r.path(name + "/current"))
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := bundle.ParseEnvelope(raw)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := e.Pointer()
	if err != nil {
		r.t.Fatal(err)
	}
	packed, err := os.ReadFile(r.path(name + "/blobs/" + strings.Replace(p.Digest, ":", "/", 1)))
	if err != nil || bundle.Digest(packed) != p.Digest || int64(len(packed)) != p.Size || p.Identity != name {
		r.t.Fatalf("%s names %+v: %v", name, p, err)
	}
	return e, p
}

// files lists everything below the root, bundles as what they hold.
func (r root) files() []string {
	r.t.Helper()
	var list []string
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(r.dir, path)
		if strings.Contains(name, "/blobs/sha256/") {
			packed, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if b, err := bundle.Unpack(packed); err == nil {
				name = filepath.Dir(name) + "/" + b.Data["v"].(string)
			}
		}
		list = append(list, strings.TrimPrefix(name, "v1/bundles/"))
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func (r root) has(want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(append([]string{".publish.json"}, want...), r.files()); diff != "" {
		r.t.Errorf("files (-want +got):\n%s", diff)
	}
}

func newKey(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return public, private
}
