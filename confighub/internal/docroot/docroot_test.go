// SPDX-License-Identifier: AGPL-3.0-or-later

package docroot

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/dirlock"
	"cloud4.internal/hub/confighub/internal/tree"
)

func TestPublish(t *testing.T) {
	r := newRoot(t)
	_, key := newKey(t)
	o := Options{Keys: []ed25519.PrivateKey{key}, Revision: "first"}
	got := r.publish(bundles(t, "web.shop.vm1=one", "db.shop.vm1=db"), o)
	if want := (Result{Containers: 2, Changed: 2, Serial: 1_800_000_000_000}); got != want {
		t.Errorf("got %+v", got)
	}
	r.has("db.shop.vm1/blobs/sha256/db", "db.shop.vm1/current", "web.shop.vm1/blobs/sha256/one", "web.shop.vm1/current")
	if _, p := r.envelope("web.shop.vm1"); p.Revision != "first" || !p.Created.Equal(now) || !p.Expires.IsZero() {
		t.Errorf("pointer %+v", p)
	}

	// What is the same is not touched, whatever else is new.
	before, err := os.Stat(r.path("db.shop.vm1/current"))
	if err != nil {
		t.Fatal(err)
	}
	o.Revision = "second"
	got = r.publish(bundles(t, "web.shop.vm1=two", "db.shop.vm1=db"), o)
	if want := (Result{Containers: 2, Changed: 1, Serial: 1_800_000_000_001}); got != want {
		t.Errorf("got %+v", got)
	}
	after, err := os.Stat(r.path("db.shop.vm1/current"))
	if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("the pointer was replaced: %v", err)
	}
	r.has("db.shop.vm1/blobs/sha256/db", "db.shop.vm1/current", "web.shop.vm1/blobs/sha256/one", "web.shop.vm1/blobs/sha256/two", "web.shop.vm1/current")

	// The bundle before stays for the next generation alone, publishing the same counts for none.
	r.publish(bundles(t, "web.shop.vm1=two", "db.shop.vm1=db"), o)
	r.has("db.shop.vm1/blobs/sha256/db", "db.shop.vm1/current", "web.shop.vm1/blobs/sha256/one", "web.shop.vm1/blobs/sha256/two", "web.shop.vm1/current")
	r.publish(bundles(t, "web.shop.vm1=three", "db.shop.vm1=db"), o)
	r.has("db.shop.vm1/blobs/sha256/db", "db.shop.vm1/current", "web.shop.vm1/blobs/sha256/three", "web.shop.vm1/blobs/sha256/two", "web.shop.vm1/current")

	// A rollback is a new serial with an old digest.
	_, three := r.envelope("web.shop.vm1")
	r.publish(bundles(t, "web.shop.vm1=two", "db.shop.vm1=db"), o)
	if _, p := r.envelope("web.shop.vm1"); p.Serial <= three.Serial {
		t.Errorf("serial %d after %d", p.Serial, three.Serial)
	}

	got = r.publish(bundles(t, "web.shop.vm1=two"), o)
	if want := (Result{Containers: 1, Removed: 1}); got != want {
		t.Errorf("got %+v", got)
	}
	r.has("web.shop.vm1/blobs/sha256/three", "web.shop.vm1/blobs/sha256/two", "web.shop.vm1/current")
	if _, err := os.Stat(r.path("db.shop.vm1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory: %v", err)
	}
}

// Others read what is published, whatever the umask, but not by way of a root that was made for it.
func TestModes(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	r := newRoot(t)
	r.publish(bundles(t, "web.shop.vm1=one"), Options{})
	modes := map[string]os.FileMode{
		"": 0o750, "v1": 0o755, "v1/bundles": 0o755, "v1/bundles/web.shop.vm1": 0o755, "v1/bundles/web.shop.vm1/blobs/sha256": 0o755,
		"v1/bundles/web.shop.vm1/current": 0o644,
	}
	for name, want := range modes {
		if info, err := os.Stat(filepath.Join(r.dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A static server's entity tag and rsync see each pointer, however fast they follow each other and whatever the clock does.
func TestEachPointerHasItsSecond(t *testing.T) {
	r := newRoot(t)
	seen := map[int64]bool{}
	for _, value := range []string{"a", "b", "c", "d"} {
		r.publish(bundles(t, "web.shop.vm1="+value), Options{})
		info, err := os.Stat(r.path("web.shop.vm1/current"))
		if err != nil {
			t.Fatal(err)
		}
		if seen[info.ModTime().Unix()] {
			t.Errorf("%s has the second of one before", value)
		}
		seen[info.ModTime().Unix()] = true
	}
}

func TestSerialNeverGoesBack(t *testing.T) {
	r := newRoot(t)
	steps := []struct {
		name   string
		values []string
		now    time.Time
		want   uint64
	}{
		{"first", []string{"web.shop.vm1=a"}, now, 1_800_000_000_000},
		{"the clock stands", []string{"web.shop.vm1=b"}, now, 1_800_000_000_001},
		{"nothing changed", []string{"web.shop.vm1=b"}, now.Add(time.Hour), 0},
		{"the clock went back a year", []string{"db.shop.vm1=a"}, now.AddDate(-1, 0, 0), 1_800_000_000_002},
		{"nothing is left of the highest", []string{"web.shop.vm1=c"}, now.AddDate(-1, 0, 0), 1_800_000_000_003},
		{"before 1970", []string{"web.shop.vm1=d"}, time.Unix(-1, 0), 1_800_000_000_004},
		{"the clock is right again", []string{"web.shop.vm1=e"}, now.Add(time.Second), 1_800_000_001_000},
	}
	for _, step := range steps {
		if got := r.publish(bundles(t, step.values...), Options{Now: step.now}); got.Serial != step.want {
			t.Errorf("%s: serial %d, want %d", step.name, got.Serial, step.want)
		}
	}
	// That of a commit is its place in the history, unless that is lower.
	git := newRoot(t)
	if got, err := Publish(git.dir, &tree.Tree{Depth: 7}, bundles(t, "web.shop.vm1=a"), Options{Now: now}); err != nil || got.Serial != 7 {
		t.Errorf("the seventh commit: serial %d, %v", got.Serial, err)
	}
	if got, err := Publish(git.dir, &tree.Tree{Depth: 5}, bundles(t, "web.shop.vm1=b"), Options{Now: now}); err != nil || got.Serial != 8 {
		t.Errorf("a rewritten history: serial %d, %v", got.Serial, err)
	}
	// One that the containers have from elsewhere.
	if got := r.publish(bundles(t, "web.shop.vm1=f"), Options{Above: 1_900_000_000_000}); got.Serial != 1_900_000_000_001 {
		t.Errorf("above: serial %d", got.Serial)
	}
	if got := r.publish(bundles(t, "web.shop.vm1=g"), Options{Above: 1}); got.Serial != 1_900_000_000_002 {
		t.Errorf("above less: serial %d", got.Serial)
	}
	// That the containers have a higher one may be found out when nothing changes.
	for _, want := range []uint64{1_950_000_000_001, 0} {
		if got := r.publish(bundles(t, "web.shop.vm1=g"), Options{Above: 1_950_000_000_000}); got.Serial != want {
			t.Errorf("above, unchanged: serial %d, want %d", got.Serial, want)
		}
	}
	// The pointers alone tell it too.
	file := filepath.Join(r.dir, ".publish.json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got := r.publish(bundles(t, "web.shop.vm1=h"), Options{}); got.Serial != 1_950_000_000_002 {
		t.Errorf("without its state: serial %d", got.Serial)
	}
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(r.dir, &tree.Tree{}, bundles(t, "web.shop.vm1=i"), Options{Now: now}); err == nil || !strings.Contains(err.Error(), "without it serials could go backwards: restore it") {
		t.Errorf("a damaged state is guessed: %v", err)
	}
}

// New keys are a new envelope around the same version.
func TestKeys(t *testing.T) {
	r := newRoot(t)
	web := bundles(t, "web.shop.vm1=one")
	pub1, key1 := newKey(t)
	pub2, key2 := newKey(t)
	r.publish(web, Options{})
	_, first := r.envelope("web.shop.vm1")
	for i, step := range []struct {
		keys   []ed25519.PrivateKey
		by     []ed25519.PublicKey
		not    ed25519.PublicKey
		sealed int
	}{
		{[]ed25519.PrivateKey{key1}, []ed25519.PublicKey{pub1}, pub2, 1},
		{[]ed25519.PrivateKey{key1}, []ed25519.PublicKey{pub1}, pub2, 0},
		{[]ed25519.PrivateKey{key1, key2}, []ed25519.PublicKey{pub1, pub2}, nil, 1},
		{[]ed25519.PrivateKey{key2, key1}, []ed25519.PublicKey{pub1, pub2}, nil, 0},
		{[]ed25519.PrivateKey{key2}, []ed25519.PublicKey{pub2}, pub1, 1},
		{nil, nil, pub2, 1},
	} {
		got := r.publish(web, Options{Keys: step.keys, Now: now.Add(time.Hour)})
		if got.Changed != 0 || got.Resealed != step.sealed {
			t.Errorf("step %d: %+v", i, got)
		}
		e, p := r.envelope("web.shop.vm1")
		if p != first || len(e.Signatures) != len(step.keys) {
			t.Errorf("step %d: %d signatures, %+v", i, len(e.Signatures), p)
		}
		for _, key := range step.by {
			if err := e.Verify([]ed25519.PublicKey{key}); err != nil {
				t.Errorf("step %d: %v", i, err)
			}
		}
		if step.not != nil && e.Verify([]ed25519.PublicKey{step.not}) == nil {
			t.Errorf("step %d: is signed by a key too many", i)
		}
	}
}

// A version that stays gets more time when half of what it has is over.
func TestExpires(t *testing.T) {
	r := newRoot(t)
	web := bundles(t, "web.shop.vm1=one")
	day := 24 * time.Hour
	for _, step := range []struct {
		name    string
		after   time.Duration
		expires time.Duration
		sealed  int
		want    time.Time
	}{
		{"new", 0, 30 * day, 0, now.Add(30 * day)},
		{"before half", 14 * day, 30 * day, 0, now.Add(30 * day)},
		{"after half", 16 * day, 30 * day, 1, now.Add(46 * day)},
		{"shorter from now on", 16 * day, 10 * day, 1, now.Add(26 * day)},
		{"for ever", 17 * day, 0, 1, time.Time{}},
		{"for ever as before", 90 * day, 0, 0, time.Time{}},
		{"not for ever", 90 * day, 30 * day, 1, now.Add(120 * day)},
		{"long expired", 900 * day, 30 * day, 1, now.Add(930 * day)},
	} {
		got := r.publish(web, Options{Now: now.Add(step.after), Expires: step.expires})
		_, p := r.envelope("web.shop.vm1")
		if got.Resealed != step.sealed || !p.Expires.Equal(step.want) || p.Serial != 1_800_000_000_000 || !p.Created.Equal(now) {
			t.Errorf("%s: %+v, %+v", step.name, got, p)
		}
	}
}

// What does not belong, or is damaged, or was left by a run that was killed, does not stay; what is not ours does.
func TestMends(t *testing.T) {
	r := newRoot(t)
	blobs := bundles(t, "web.shop.vm1=one", "db.shop.vm1=one", "job.shop.vm1=one")
	r.publish(blobs, Options{})
	_, db := r.envelope("db.shop.vm1")
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(r.dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	web := "v1/bundles/web.shop.vm1/"
	foreign, err := os.ReadFile(r.path("job.shop.vm1/current"))
	if err != nil {
		t.Fatal(err)
	}
	put(web+"current", "not an envelope")
	put(web+"blobs/sha256/"+strings.TrimPrefix(db.Digest, bundle.DigestPrefix), "damaged")
	put(web+"blobs/sha256/"+strings.Repeat("a", 64), "of a run that was killed")
	put(web+".current.123.tmp", "likewise")
	put("..publish.json.789.tmp", "likewise")
	put(web+"blobs/sha256/."+strings.Repeat("b", 64)+".456.tmp", "likewise")
	put(web+"notes.txt", "of somebody")
	put("index.html", "of somebody")
	put("v1/bundles/old.shop.vm1/notes.txt", "of somebody")
	put("v1/bundles/old.shop.vm1/current", "of a container that is gone")
	put("v1/bundles/db.shop.vm1/current", string(foreign)) // of another container
	got := r.publish(blobs, Options{})
	if want := (Result{Containers: 3, Changed: 2, Removed: 1, Serial: db.Serial + 1}); got != want {
		t.Errorf("got %+v", got)
	}
	for name := range blobs {
		r.envelope(name)
	}
	want := []string{
		".publish.json", "db.shop.vm1/blobs/sha256/one", "db.shop.vm1/current", "index.html", "job.shop.vm1/blobs/sha256/one", "job.shop.vm1/current",
		"old.shop.vm1/notes.txt", "web.shop.vm1/blobs/sha256/one", "web.shop.vm1/current", "web.shop.vm1/notes.txt",
	}
	if diff := cmp.Diff(want, r.files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestRefuses(t *testing.T) {
	r := newRoot(t)
	web := bundles(t, "web.shop.vm1=one")
	r.publish(web, Options{})
	unlock, err := dirlock.Take(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(r.dir, &tree.Tree{}, bundles(t, "web.shop.vm1=two"), Options{Now: now}); !errors.Is(err, ErrBusy) {
		t.Errorf("two at a time: %v", err)
	}
	unlock()
	if got := r.publish(web, Options{}); got.Changed != 0 {
		t.Errorf("got %+v", got)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(file, &tree.Tree{}, web, Options{Now: now}); err == nil || !strings.Contains(err.Error(), "is not a directory") {
		t.Errorf("into a file: %v", err)
	}
	// A file in the place of a directory keeps even root from writing there: no pointer changes then.
	if err := os.MkdirAll(r.path("db.shop.vm1/blobs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("db.shop.vm1/blobs/sha256"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, before := r.envelope("web.shop.vm1")
	if _, err := Publish(r.dir, &tree.Tree{}, bundles(t, "db.shop.vm1=x", "web.shop.vm1=two"), Options{Now: now}); err == nil {
		t.Error("a bundle could be written where there is a file")
	}
	if _, p := r.envelope("web.shop.vm1"); p != before {
		t.Errorf("another pointer was replaced: %+v", p)
	}
}
