// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/enrol"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
)

const td = "cloud4.internal"

var (
	web     = spiffe.ID{TrustDomain: td, Role: spiffe.Container, Host: "vm1", Stack: "shop", Service: "web"}
	vm1     = spiffe.ID{TrustDomain: td, Role: spiffe.Host, Host: "vm1"}
	genesis = spiffe.ID{TrustDomain: td, Role: spiffe.Genesis, Name: "config"}
	desk    = spiffe.ID{TrustDomain: td, Role: spiffe.Operator, Name: "desk"}
)

func waitFor(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// machine is one container: a state directory that outlives its keepers.
type machine struct {
	dir, run string
	log      safeBuffer
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newMachine(t *testing.T) *machine {
	dir := t.TempDir()
	m := &machine{dir: filepath.Join(dir, "var", "identity"), run: filepath.Join(dir, "run")}
	if err := os.Mkdir(m.run, 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}

// tokens is a source of tokens that a test may change.
type tokens struct{ lines atomic.Pointer[[]string] }

func with(lines ...string) *tokens {
	t := &tokens{}
	t.set(lines...)
	return t
}
func (s *tokens) set(lines ...string)    { s.lines.Store(&lines) }
func (s *tokens) get() ([]string, error) { return *s.lines.Load(), nil }

// start runs a keeper until stop is called or the test ends.
func (m *machine) start(t *testing.T, settings identity.Settings, slot int, s *tokens) (k *enrol.Keeper, stop func()) {
	t.Helper()
	k, err := enrol.New(enrol.Config{
		Settings: settings, Slot: slot, Dir: m.dir, RunDir: m.run, Tokens: s.get,
		Log: zerolog.New(io.MultiWriter(&m.log, t.Output())),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the keeper ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return k, stop
}

func ready(t *testing.T, k *enrol.Keeper) {
	t.Helper()
	select {
	case <-k.Ready():
	case <-time.After(10 * time.Second):
		t.Fatalf("not ready: %+v", k.State())
	}
}

// key is the private key on the disk, as a fingerprint; it fails unless only the owner can read it.
func (m *machine) key(t *testing.T) string {
	t.Helper()
	path := filepath.Join(m.dir, "id.pem")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o600 {
		t.Errorf("mode of %s is %v, want 0600", path, info.Mode())
	}
	block, _, found := bytes.Cut(data, []byte("-----END PRIVATE KEY-----"))
	if !found {
		t.Fatalf("%s holds no key", path)
	}
	sum := sha256.Sum256(block)
	return hex.EncodeToString(sum[:])
}

func TestEnrolAndRestart(t *testing.T) {
	ca := identitytest.New(t)
	for _, id := range []spiffe.ID{web, vm1, genesis, desk} {
		t.Run(id.BundleName(), func(t *testing.T) {
			m := newMachine(t)
			k, stop := m.start(t, ca.Settings(id), 0, with(ca.Token(t, id)))
			ready(t, k)
			cert, err := identity.Open(m.dir).Certificate()
			if err != nil {
				t.Fatal(err)
			}
			leaf := cert.Leaf
			type names struct {
				URI, CN string
				DNS     []string
				IPs     int
			}
			want := names{id.String(), id.CommonName(), id.DNSNames(), 0}
			got := names{leaf.URIs[0].String(), leaf.Subject.CommonName, leaf.DNSNames, len(leaf.IPAddresses) + len(leaf.URIs) - 1}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			status, err := identity.ReadStatus(m.run)
			if err != nil {
				t.Fatal(err)
			}
			wantStatus := identity.Status{
				State: identity.StateValid, ID: id.String(), Serial: leaf.SerialNumber.String(),
				NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, RenewAt: status.RenewAt, CAURL: ca.URL,
			}
			if diff := cmp.Diff(wantStatus, status); diff != "" {
				t.Errorf("identity.json (-want +got):\n%s", diff)
			}
			half := leaf.NotAfter.Sub(leaf.NotBefore) / 2
			if off := status.RenewAt.Sub(leaf.NotBefore.Add(half)); off.Abs() > half/10 {
				t.Errorf("renewal is %s off half of the lifetime, at most %s are allowed", off, half/10)
			}
			before := m.key(t)
			stop()

			// The token is spent; the restart does not need it, nor the authority.
			k, _ = m.start(t, ca.Settings(id), 0, with("nonsense"))
			ready(t, k)
			if diff := cmp.Diff(wantStatus, k.State()); diff != "" {
				t.Errorf("state after a restart (-want +got):\n%s", diff)
			}
			if m.key(t) != before {
				t.Error("the key changed at a restart")
			}
		})
	}
}

func TestAuthorityDownAtStart(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	m := newMachine(t)
	token := ca.Token(t, web)
	ca.Stop()
	k, _ := m.start(t, ca.Settings(web), 0, with(token))
	waitFor(t, 5*time.Second, "trouble said", func() bool { return k.State().Error != "" })
	address := strings.TrimPrefix(ca.URL, "https://")
	want := "enrolling: " + address + ": connection refused: nothing listens there; is the server running and the port right?"
	if diff := cmp.Diff(want, k.State().Error); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	select {
	case <-k.Ready():
		t.Error("ready without an identity")
	default:
	}
	ca.Start(t)
	ready(t, k)
	if got := k.State(); got.State != identity.StateValid || got.Error != "" {
		t.Errorf("state %+v", got)
	}
}

// TestRefusedTokens is every token that is of no use; those that can be told by reading are not sent (the one of
// another service is still good for that), and one put in their place is taken at once.
func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	ca, other := identitytest.New(t), identitytest.New(t)
	used := ca.Token(t, web)
	k, stop := newMachine(t).start(t, ca.Settings(web), 0, with(used))
	ready(t, k)
	stop()
	db := web
	db.Service = "db"
	forDB := ca.Token(t, db)
	tests := []struct {
		name, token string
		says        string
	}{
		{"used", used, "the token is refused at 127.0.0.1:"},
		{"of another authority", other.Token(t, web), "it is for an authority with root " + other.Fingerprint},
		{"for another service", forDB,
			"it is for spiffe://cloud4.internal/host/vm1/stack/shop/service/db, this is " + web.String()},
		{"with a name more", ca.TokenFor(t, web.CommonName(), web.String(), "web.shop.vm1.internal", "genesis.internal"), "it is for " + web.String()},
		{"with another common name", ca.TokenFor(t, "host/vm1", web.String(), "web.shop.vm1.internal"), "it is for"},
		{"half a token", used[:100], "it is no token"},
		{"no token", "hello", "it is no token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			source := with(test.token)
			k, _ := m.start(t, ca.Settings(web), 0, source)
			waitFor(t, 5*time.Second, "trouble said", func() bool { return k.State().Error != "" })
			if got := k.State(); got.State != identity.StateEnrolling || !strings.Contains(got.Error, test.says) || !strings.Contains(got.Error, "confighub token") {
				t.Errorf("state %q, said %q, want %q and what to do", got.State, got.Error, test.says)
			}
			source.set(ca.Token(t, web))
			ready(t, k)
			if test.token == forDB {
				k, _ := newMachine(t).start(t, ca.Settings(db), 0, with(forDB))
				ready(t, k)
			}
		})
	}
}

func TestWrongFingerprint(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	settings := ca.Settings(web)
	settings.CAFingerprint = strings.Repeat("0", 64)
	minter := minterFor(t, ca)
	minter.Fingerprint = settings.CAFingerprint
	token, err := minter.Mint(web)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := newMachine(t).start(t, settings, 0, with(token))
	waitFor(t, 5*time.Second, "trouble said", func() bool { return k.State().Error != "" })
	if got := k.State().Error; !strings.Contains(got, "no root with fingerprint "+settings.CAFingerprint) || !strings.Contains(got, "identity.ca_fingerprint is wrong") {
		t.Errorf("said %q", got)
	}
}

func TestSlots(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	replica := web
	replica.Instance = "1"
	t.Run("takes its own line", func(t *testing.T) {
		k, _ := newMachine(t).start(t, ca.Settings(web), 1, with(ca.Token(t, web), ca.Token(t, replica)))
		ready(t, k)
		if got := k.State(); got.ID != replica.String() || got.State != identity.StateValid {
			t.Errorf("state %+v", got)
		}
	})
	t.Run("without a line of its own", func(t *testing.T) {
		m := newMachine(t)
		k, _ := m.start(t, ca.Settings(web), 1, with(ca.Token(t, web)))
		ready(t, k)
		got := k.State()
		if got.State != identity.StateNone || !strings.Contains(got.Error, "runs without identity") {
			t.Errorf("state %+v", got)
		}
		if n := strings.Count(m.log.String(), "\n"); n != 1 || !strings.Contains(m.log.String(), `"level":"info"`) {
			t.Errorf("the log has %d lines, want one of level info:\n%s", n, m.log.String())
		}
	})
	t.Run("slot 0 without a token", func(t *testing.T) {
		m := newMachine(t)
		source := with()
		k, _ := m.start(t, ca.Settings(web), 0, source)
		waitFor(t, 5*time.Second, "trouble said", func() bool { return k.State().Error != "" })
		if got := k.State(); got.State != identity.StateEnrolling || !strings.Contains(got.Error, "HUB_TOKEN_FILE") {
			t.Errorf("state %+v", got)
		}
		source.set(ca.Token(t, web))
		ready(t, k)
	})
}

func TestOff(t *testing.T) {
	m := newMachine(t)
	k, _ := m.start(t, identity.Settings{}, 0, with())
	ready(t, k)
	if diff := cmp.Diff(identity.Status{State: identity.StateOff}, k.State()); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(m.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		settings identity.Settings
		says     string
	}{
		"nobody":      {identity.Settings{CAURL: "https://x:1", CAFingerprint: strings.Repeat("a", 64)}, "no name"},
		"fingerprint": {identity.Settings{CAURL: "https://x:1", Host: "vm1"}, "identity.ca_fingerprint"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := enrol.New(enrol.Config{Settings: test.settings}); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v does not say %q", err, test.says)
			}
		})
	}
}

func TestTokensFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	env := func(kv map[string]string) func(string) string { return func(k string) string { return kv[k] } }
	if _, err := enrol.TokensFrom(env(map[string]string{"HUB_TOKEN": "a", "HUB_TOKEN_FILE": "b"})); err == nil {
		t.Error("both set: no error")
	}
	direct, err := enrol.TokensFrom(env(map[string]string{"HUB_TOKEN": "\n a \n\nb\r\n"}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := direct()
	if diff := cmp.Diff([]string{"a", "b"}, got); diff != "" || err != nil {
		t.Errorf("HUB_TOKEN: error %v (-want +got):\n%s", err, diff)
	}
	file, err := enrol.TokensFrom(env(map[string]string{"HUB_TOKEN_FILE": path}))
	if err != nil {
		t.Fatal(err)
	}
	missing := func(why string) {
		t.Helper()
		if got, err := file(); len(got) != 0 || err == nil || !strings.HasPrefix(err.Error(), "no token: ") || !strings.HasSuffix(err.Error(), ": HUB_TOKEN_FILE names "+path+", which is "+why) {
			t.Errorf("%s: %v, %v", why, got, err)
		}
	}
	missing("not there")
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing("empty")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("x\ny"), 0o400); err != nil {
		t.Fatal(err)
	}
	got, err = file()
	if diff := cmp.Diff([]string{"x", "y"}, got); diff != "" || err != nil {
		t.Errorf("HUB_TOKEN_FILE: error %v (-want +got):\n%s", err, diff)
	}
}

// A token file that is no regular one is an error, not a hang.
func TestTokensFromSpecial(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{pipe: "is a pipe", "/dev/zero": "is a device"} {
		tokens, err := enrol.TokensFrom(func(name string) string { return map[string]string{"HUB_TOKEN_FILE": path}[name] })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tokens(); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v does not say it %s", path, err, says)
		}
	}
}
