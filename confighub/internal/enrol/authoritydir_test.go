// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/confighub/internal/enrol"
	"cloud4.internal/hub/internal/identity"
)

// stepCA builds the authority's own program from the module; from a warm cache that takes seconds.
func stepCA(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "step-ca")
	// All of its databases but the one that ca.json names stay out.
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "nopgx,nomysql,nobadger", "-o", path, "github.com/smallstep/certificates/cmd/step-ca")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building step-ca: %v\n%s", err, out)
	}
	return path
}

// run starts step-ca on a directory; stop ends it.
func run(t *testing.T, program, dir string) (stop func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "--password-file", filepath.Join(dir, "secrets/password"), filepath.Join(dir, "config/ca.json"))
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill() // an error means that it is gone, which Wait tells as well
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	return stop
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestRealStepCA makes an authority's directory, runs the real program on it and enrols, over a kill of the authority
// between minting and enrolling.
func TestRealStepCA(t *testing.T) {
	t.Parallel()
	program := stepCA(t)
	dir, address := filepath.Join(t.TempDir(), "ca"), freeAddress(t)
	fingerprint, err := enrol.AuthorityDir{Dir: dir, DNSNames: []string{"genesis.internal", "127.0.0.1"}, Address: address, Provisioner: "enrol"}.Init()
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, program, dir)

	minter, err := enrol.OpenMinter(filepath.Join(dir, "secrets/enrol.jwk"), "")
	if err != nil {
		t.Fatal(err)
	}
	minter.Provisioner, minter.CAURL, minter.Fingerprint, minter.TTL = "enrol", "https://"+address, fingerprint, 10*time.Minute
	settings := identity.Settings{Host: "vm1", Stack: "shop", Service: "web", CAURL: minter.CAURL, CAFingerprint: fingerprint}
	token, err := minter.Mint(web)
	if err != nil {
		t.Fatal(err)
	}
	first := newMachine(t)
	k, _ := first.start(t, settings, 0, with(token))
	waitFor(t, 20*time.Second, "enrolled", func() bool { return k.State().State == identity.StateValid })
	if life := time.Until(k.State().NotAfter); life < 23*time.Hour || life > 24*time.Hour {
		t.Errorf("lifetime %s, want 24 h", life)
	}

	waiting, err := minter.Mint(vm1)
	if err != nil {
		t.Fatal(err)
	}
	// The time of issue has whole seconds: the authority has to start in a later one for its check to matter.
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	stop()
	run(t, program, dir)
	k, _ = newMachine(t).start(t, identity.Settings{Host: "vm1", CAURL: minter.CAURL, CAFingerprint: fingerprint}, 0, with(waiting))
	waitFor(t, 20*time.Second, "enrolled with a token from before the restart", func() bool { return k.State().State == identity.StateValid })

	k, _ = newMachine(t).start(t, settings, 0, with(token))
	waitFor(t, 10*time.Second, "the spent token refused after the restart", func() bool {
		return strings.Contains(k.State().Error, "the token is refused")
	})
}

func TestAuthorityDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	d := enrol.AuthorityDir{Dir: dir, SeenAs: "/ca", DNSNames: []string{"genesis.internal"}, Address: ":9000", Provisioner: "enrol"}
	fingerprint, err := d.Init()
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]fs.FileMode{}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(dir, path)
			modes[rel] = info.Mode()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		"config/ca.json": 0o600, "certs/root_ca.crt": 0o644, "certs/intermediate_ca.crt": 0o644, "fingerprint": 0o644,
		"secrets/root_ca_key": 0o600, "secrets/intermediate_ca_key": 0o600, "secrets/password": 0o600, "secrets/enrol.jwk": 0o600,
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("files and modes (-want +got):\n%s", diff)
	}
	root, middle := readCert(t, dir, "root_ca.crt"), readCert(t, dir, "intermediate_ca.crt")
	if sum := sha256.Sum256(root.Raw); hex.EncodeToString(sum[:]) != fingerprint {
		t.Errorf("the fingerprint %s is not that of the root", fingerprint)
	}
	if err := middle.CheckSignatureFrom(root); err != nil {
		t.Errorf("the intermediate is not of the root: %v", err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "config/ca.json"))
	if err != nil {
		t.Fatal(err)
	}
	var conf struct {
		Root, Crt, Key string
		Authority      struct {
			Provisioners []map[string]any
		}
	}
	if err := json.Unmarshal(data, &conf); err != nil {
		t.Fatal(err)
	}
	if conf.Root != "/ca/certs/root_ca.crt" || conf.Key != "/ca/secrets/intermediate_ca_key" {
		t.Errorf("paths in ca.json: %s, %s", conf.Root, conf.Key)
	}
	key, _ := conf.Authority.Provisioners[0]["key"].(map[string]any)
	if _, private := key["d"]; private || key["x"] == nil || conf.Authority.Provisioners[0]["encryptedKey"] != nil {
		t.Errorf("ca.json holds a private key, or no public one: %v", conf.Authority.Provisioners[0])
	}

	before := fingerprint
	if _, err := d.Init(); !errors.Is(err, enrol.ErrAuthorityExists) {
		t.Errorf("a second time: error %v, want ErrAuthorityExists", err)
	}
	if sum := sha256.Sum256(readCert(t, dir, "root_ca.crt").Raw); hex.EncodeToString(sum[:]) != before {
		t.Error("a second time replaced the root")
	}
}

func readCert(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "certs", name))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("%s holds no PEM", name)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
