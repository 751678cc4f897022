// SPDX-License-Identifier: AGPL-3.0-or-later

package identity_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

func container(t *testing.T, service string) spiffe.ID {
	t.Helper()
	id, err := spiffe.ForContainer("cloud4.internal", "vm1", "shop", service, "")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func waitFor(t *testing.T, limit time.Duration, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s", limit)
		}
	}
}

func TestNothingThere(t *testing.T) {
	files := identity.Open(filepath.Join(t.TempDir(), "no", "such"))
	_, certErr := files.Certificate()
	_, rootsErr := files.Roots()
	_, idErr := files.ID()
	for what, err := range map[string]error{"certificate": certErr, "roots": rootsErr, "ID": idErr} {
		if !errors.Is(err, identity.ErrNone) {
			t.Errorf("%s: error %v, want ErrNone", what, err)
		}
	}
	if g, err := files.Generation(), files.Err(); g != 0 || err != nil {
		t.Errorf("generation %d, error %v; want 0 and none", g, err)
	}
}

func TestKeyAloneIsNoIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "identity")
	first, err := identity.EnsureKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := identity.EnsureKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !first.(*ecdsa.PrivateKey).Equal(again) {
		t.Error("a second look made another key")
	}
	if _, err := identity.Open(dir).Certificate(); !errors.Is(err, identity.ErrNone) {
		t.Errorf("error %v, want ErrNone", err)
	}
	if err := identity.Open(dir).Err(); err != nil {
		t.Errorf("error %v, want none", err)
	}
	info, err := os.Stat(filepath.Join(dir, "id.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	if info, err = os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the directory %v (%v), want 0700", info.Mode(), err)
	}
}

// TestHotReload changes the files below an open identity, as confighub does for the other hubs.
func TestHotReload(t *testing.T) {
	ca := identitytest.New(t)
	id := container(t, "web")
	dir := ca.Dir(t, id)
	files := identity.Open(dir)
	serial := func() string {
		cert, err := files.Certificate()
		if err != nil {
			return err.Error()
		}
		return cert.Leaf.SerialNumber.String()
	}
	first, roots := serial(), must(files.Roots())
	if g := files.Generation(); g != 1 {
		t.Fatalf("generation %d, want 1", g)
	}

	ca.Issue(t, id, dir)
	waitFor(t, 3*time.Second, func() bool { return serial() != first })
	second := serial()
	if g := files.Generation(); g != 2 {
		t.Errorf("generation %d after a renewal, want 2", g)
	}

	// The same bytes again are no change.
	data := must(os.ReadFile(filepath.Join(dir, "id.pem")))
	write(t, dir, "id.pem", data)
	if err := files.Reload(); err != nil {
		t.Fatal(err)
	}
	if g := files.Generation(); g != 2 {
		t.Errorf("generation %d after the same content, want 2", g)
	}

	for name, broken := range map[string][]byte{
		"half a file":              data[:len(data)-100],
		"the key of somebody else": swapKey(t, ca, data),
	} {
		write(t, dir, "id.pem", broken)
		if err := files.Reload(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if got := serial(); got != second {
			t.Errorf("%s: serial %s, want the old one %s", name, got, second)
		}
		if files.Err() == nil {
			t.Errorf("%s: Err says nothing", name)
		}
	}
	write(t, dir, "id.pem", data)
	if err := files.Reload(); err != nil {
		t.Errorf("after repair: %v", err)
	}

	other := identitytest.New(t)
	if err := identity.SaveRoots(dir, append(ca.Roots(), other.Roots()...)); err != nil {
		t.Fatal(err)
	}
	if err := files.Reload(); err != nil {
		t.Fatal(err)
	}
	if now := must(files.Roots()); now.Equal(roots) || now == roots {
		t.Error("the pool of roots did not change, or was changed in place")
	}
	if g := files.Generation(); g != 3 {
		t.Errorf("generation %d after a new root, want 3", g)
	}

	write(t, dir, "roots.pem", []byte("nonsense"))
	if err := files.Reload(); err == nil {
		t.Error("broken roots: no error")
	}
	if got := serial(); got != second {
		t.Errorf("broken roots: serial %s, want %s", got, second)
	}
}

// TestWait writes the files while somebody waits for them, roots first, as confighub does.
func TestWait(t *testing.T) {
	ca := identitytest.New(t)
	done := ca.Dir(t, container(t, "web"))
	dir := t.TempDir()
	files := identity.Open(dir)
	limited, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := files.Wait(limited); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nothing there: %v, want the deadline", err)
	}
	came := make(chan error, 1)
	go func() { came <- files.Wait(t.Context()) }()
	for _, name := range []string{"roots.pem", "id.pem"} {
		select {
		case err := <-came:
			t.Fatalf("before %s: %v", name, err)
		case <-time.After(150 * time.Millisecond): // longer than it waits between two looks
		}
		write(t, dir, name, must(os.ReadFile(filepath.Join(done, name))))
	}
	written := time.Now()
	if err := <-came; err != nil {
		t.Error(err)
	}
	if d := time.Since(written); d > 500*time.Millisecond {
		t.Errorf("seen after %s, want well below the second of the other methods", d)
	}
}

func TestSetAside(t *testing.T) {
	ca := identitytest.New(t)
	dir := ca.Dir(t, container(t, "web"))
	want := must(os.ReadFile(filepath.Join(dir, "id.pem")))
	files := identity.Open(dir)
	place, err := identity.SetAside(dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := must(os.ReadFile(filepath.Join(place, "id.pem"))); !bytes.Equal(want, got) {
		t.Error("the identity set aside is not the one that was there")
	}
	if _, err := files.Certificate(); !errors.Is(err, identity.ErrNone) {
		t.Errorf("error %v, want ErrNone", err)
	}
}

func TestStatusRoundTrip(t *testing.T) {
	dir := t.TempDir()
	want := identity.Status{
		State: identity.StateValid, ID: "spiffe://cloud4.internal/host/vm1", Serial: "12", CAURL: "https://x",
		NotBefore: time.Unix(1, 0).UTC(), NotAfter: time.Unix(2, 0).UTC(), RenewAt: time.Unix(3, 0).UTC(), Error: "e",
	}
	if err := identity.WriteStatus(dir, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, must(identity.ReadStatus(dir))); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if _, err := identity.ReadStatus(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: error %v, want ErrNotExist", err)
	}
}

// swapKey puts another key before the certificates of data.
func swapKey(t *testing.T, ca *identitytest.CA, data []byte) []byte {
	t.Helper()
	const begin = "-----BEGIN CERTIFICATE"
	other := must(os.ReadFile(filepath.Join(ca.Dir(t, container(t, "db")), "id.pem")))
	key, _, _ := bytes.Cut(other, []byte(begin))
	_, chain, _ := bytes.Cut(data, []byte(begin))
	return bytes.Join([][]byte{key, []byte(begin), chain}, nil)
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	tmp := filepath.Join(dir, name+".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
