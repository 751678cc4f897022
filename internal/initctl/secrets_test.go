// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// secretsFile is a file as hubinit hands it over: one to write, one to read.
func secretsFile(t testing.TB) (w, r *Secrets) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secrets")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	g, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); g.Close() })
	return &Secrets{f}, &Secrets{g}
}

func add(t testing.TB, s *Secrets, inUse ...Secret) (left []string) {
	t.Helper()
	left, err := s.Add(inUse)
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func wantSecrets(t *testing.T, s *Secrets, generation uint64, want ...Secret) {
	t.Helper()
	got, g, err := s.Read()
	if err != nil || g != generation || s.Generation() != generation {
		t.Errorf("generation %d %v, want %d", g, err, generation)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSecrets(t *testing.T) {
	w, r := secretsFile(t)
	wantSecrets(t, r, 0)
	db, db2, key := Secret{"db.password", "correct horse"}, Secret{"db.password", "battery\x00\nstaple"}, Secret{"key", "k"}
	add(t, w, db, key, db, Secret{"empty", ""})
	wantSecrets(t, r, 1, db, key)
	add(t, w, key, db)
	wantSecrets(t, r, 1, db, key) // nothing new
	add(t, w, db2)
	wantSecrets(t, r, 2, db, key, db2) // what left stays
	long := Secret{strings.Repeat("n", 1000), "v"}
	add(t, w, long)
	add(t, w, long)
	wantSecrets(t, r, 3, db, key, db2, Secret{long.Name[:maxSecretName], "v"})

	var none *Secrets
	if left, err := none.Add([]Secret{db}); left != nil || err != nil {
		t.Errorf("without a file: %v %v", left, err)
	}
	if all, g, err := none.Read(); all != nil || g != 0 || err != nil {
		t.Errorf("without a file: %v %d %v", all, g, err)
	}
}

// TestSecretsLimits: what is in use goes before what was, and what has no room is named.
func TestSecretsLimits(t *testing.T) {
	w, r := secretsFile(t)
	value := func(i int) Secret {
		return Secret{fmt.Sprintf("v%d", i), strings.Repeat(string(rune('a'+i%26)), SecretsBytes/5)}
	}
	for i := range 20 {
		if left := add(t, w, value(i)); left != nil {
			t.Fatalf("%d: %v", i, left)
		}
	}
	wantSecrets(t, r, 20, value(16), value(17), value(18), value(19))
	left := add(t, w, value(0), value(1), value(2), value(3), value(4), value(5), Secret{"huge", strings.Repeat("x", MaxSecretBytes+1)})
	if diff := cmp.Diff([]string{"huge", "v5", "v4"}, left); diff != "" {
		t.Error(diff)
	}
	wantSecrets(t, r, 21, value(0), value(1), value(2), value(3))
}

// TestSecretsKilled: wherever a writer is cut off, the reader has what was or what is.
func TestSecretsKilled(t *testing.T) {
	old, fresh := Secret{"old", "the value of before"}, Secret{"new", "the value of now"}
	base := t.TempDir()
	before := filepath.Join(base, "before")
	write := func(path string, v Secret) []byte {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		add(t, &Secrets{f}, v)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	was := write(before, old)
	is := write(before, fresh)
	slot := slotPlace(2)
	for cut := slot; cut <= slot+slotHeader+64; cut++ { // the two values take less
		torn := append(append([]byte{}, was...), make([]byte, max(0, len(is)-len(was)))...)
		copy(torn[slot:cut], is[slot:cut])
		path := filepath.Join(base, "torn")
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		s := &Secrets{f}
		wantSecrets(t, s, 1, old)
		add(t, s, fresh) // and the next writer goes on
		wantSecrets(t, s, 2, old, fresh)
		f.Close()
	}
}

// TestSecretsRace: a reader beside a writer never has half.
func TestSecretsRace(t *testing.T) {
	w, r := secretsFile(t)
	var all sync.WaitGroup
	done := make(chan struct{})
	all.Go(func() {
		defer close(done)
		for i := range 300 {
			add(t, w, Secret{"v", strings.Repeat(fmt.Sprint(i, " "), 1000+i)})
		}
	})
	all.Go(func() {
		had := uint64(0)
		for {
			got, g, err := r.Read()
			if err != nil {
				continue // overtaken each time
			}
			if g < had {
				t.Errorf("generation %d after %d", g, had)
			}
			had = g
			for _, v := range got {
				first, _, _ := strings.Cut(v.Value, " ")
				if strings.ReplaceAll(v.Value, first+" ", "") != "" {
					t.Errorf("half a value: %.40q…", v.Value)
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	all.Wait()
}

// TestSecretsDamaged: a slot that is not what the generation says is an error, and the next Add mends it.
func TestSecretsDamaged(t *testing.T) {
	w, r := secretsFile(t)
	add(t, w, Secret{"a", "the first value"})
	if _, err := w.f.WriteAt([]byte("X"), slotPlace(1)+slotHeader+3); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Read(); err == nil {
		t.Error("a damaged slot was taken")
	}
	add(t, w, Secret{"b", "the second value"})
	wantSecrets(t, r, 2, Secret{"b", "the second value"})
}

// TestSecretsDescriptor: FromEnv takes it over.
func TestSecretsDescriptor(t *testing.T) {
	w, _ := secretsFile(t)
	fd, err := syscall.Dup(int(w.f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvSecretsFD, fmt.Sprint(fd))
	h, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	add(t, h.Secrets(), Secret{"a", "through the hub"})
	wantSecrets(t, w, 1, Secret{"a", "through the hub"})
}

func FuzzSecrets(f *testing.F) {
	f.Add([]byte("\x01a\x08password"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, payload []byte) {
		all, err := parseSecrets(payload)
		size := 0
		for _, v := range all {
			size += len(v.Name) + len(v.Value)
		}
		if size > len(payload) || err == nil && len(payload) > 0 && len(all) == 0 {
			t.Errorf("%q: %q %v", payload, all, err)
		}
	})
}

func BenchmarkSecretsGeneration(b *testing.B) {
	w, r := secretsFile(b)
	add(b, w, Secret{"v", fmt.Sprint(rand.Uint64())})
	for b.Loop() {
		r.Generation()
	}
}
