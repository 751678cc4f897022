// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestParsePublicKey(t *testing.T) {
	public, _, _ := ed25519.GenerateKey(nil)
	if got, err := ParsePublicKey(FormatPublicKey(public)); err != nil || !got.Equal(public) {
		t.Errorf("got %v, %v", got, err)
	}
	// ssh-keygen -t ed25519 of any age writes this form.
	got, err := ParsePublicKey("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here")
	if err != nil || got[0] != 0 || got[31] != 31 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "ed25519:AAAA", "ssh-rsa AAAA", "ssh-ed25519 AAAAC3NzaC1yc2EAAAA"} {
		if _, err := ParsePublicKey(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// keygen makes a key with OpenSSH's own program and returns the file's bytes and the public line.
func keygen(t *testing.T, args ...string) (private []byte, public string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	args = append(args, "-q", "-C", "me@here", "-f", file)
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", args...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %s: %v: %s", args, err, out)
	}
	private, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return private, string(line)
}

// What ssh-keygen writes is read, and the line of its .pub file is the trusted key of it.
func TestOpenSSHKeys(t *testing.T) {
	for name, args := range map[string][]string{
		"plain": {"-N", ""}, "encrypted": {"-N", "open sesame", "-a", "1"}, "encrypted by CBC": {"-N", "open sesame", "-a", "1", "-Z", "aes256-cbc"},
	} {
		t.Run(name, func(t *testing.T) {
			private, line := keygen(t, append(args, "-t", "ed25519")...)
			if name != "plain" {
				if _, err := ParsePrivateKey(private, nil); !errors.Is(err, ErrEncrypted) {
					t.Errorf("without its passphrase: %v", err)
				}
				if _, err := ParsePrivateKey(private, []byte("open barley")); !errors.Is(err, ErrWrongPassphrase) {
					t.Errorf("with another passphrase: %v", err)
				}
			}
			key, err := ParsePrivateKey(private, []byte("open sesame"))
			if err != nil {
				t.Fatal(err)
			}
			public, err := ParsePublicKey(line)
			if err != nil {
				t.Fatal(err)
			}
			if !public.Equal(key.Public()) || !ed25519.Verify(public, []byte("x"), ed25519.Sign(key, []byte("x"))) {
				t.Error("the two do not belong together")
			}
		})
	}
}

func TestParsePrivateKey(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key any) []byte {
		t.Helper()
		raw, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	}
	plain, line := keygen(t, "-t", "ed25519", "-N", "")
	rsa, _ := keygen(t, "-t", "rsa", "-b", "2048", "-N", "")
	tests := []struct {
		name string
		text []byte
		want string
	}{
		{"PKCS #8", pkcs8(key), "<nil>"},
		{"ECDSA", pkcs8(curve), "is a key of another kind: it must be ed25519"},
		{"RSA of OpenSSH", rsa, "is a key of another kind: it must be ed25519"},
		{"the public half", []byte(line), "is no private key in PEM: make one with ssh-keygen -t ed25519"},
		{"nothing", nil, "is no private key in PEM"},
		{"a certificate", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), `is a PEM "CERTIFICATE", not a private key`},
		{"encrypted PKCS #8", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY"}), "is encrypted in the form of PKCS #8"},
		{"cut off", pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: decode(t, plain)[:150]}), "ssh: "},
		{"halves of two keys", otherHalf(t, plain), "is damaged: its public half is not that of its private half"},
	}
	for _, tt := range tests {
		if _, err := ParsePrivateKey(tt.text, nil); !strings.HasPrefix(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	if got, err := ParsePrivateKey(pkcs8(key), []byte("not looked at")); err != nil || !got.Equal(key) {
		t.Errorf("got another key back: %v", err)
	}
}

func decode(t *testing.T, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	return block.Bytes
}

// otherHalf changes the private half of a key of OpenSSH and leaves the public one that stands behind it.
func otherHalf(t *testing.T, text []byte) []byte {
	t.Helper()
	key, err := ParsePrivateKey(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw := decode(t, text)
	at := strings.Index(string(raw), string(key.Seed()))
	if at < 0 {
		t.Fatal("the seed does not stand in the file")
	}
	raw[at] ^= 1
	return pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: raw})
}

func FuzzParsePublicKey(f *testing.F) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(FormatPublicKey(public))
	f.Add("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@here")
	f.Add("ed25519:")
	f.Add("ssh-ed25519 ")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := ParsePublicKey(text)
		if err != nil {
			return
		}
		// Either form names one key, which has one form of ours.
		again, err := ParsePublicKey(FormatPublicKey(key))
		if err != nil || !again.Equal(key) {
			t.Errorf("%q is %x, and back %x, %v", text, key, again, err)
		}
	})
}

func FuzzParsePrivateKey(f *testing.F) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	f.Add([]byte(testKey))
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := ParsePrivateKey(text, nil)
		if (err == nil) != (len(key) == ed25519.PrivateKeySize) {
			t.Fatalf("%d bytes of key, %v", len(key), err)
		}
		if err == nil && !ed25519.Verify(key.Public().(ed25519.PublicKey), text, ed25519.Sign(key, text)) {
			t.Error("signs what it does not verify")
		}
	})
}

// testKey is a key of OpenSSH that signs nothing but in the tests.
const testKey = `-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDbBbEfIyTPoiHMu+nlOHv5Ty/CYrpqHFtIZPGqc+z4LQAAAJhf33zbX998
2wAAAAtzc2gtZWQyNTUxOQAAACDbBbEfIyTPoiHMu+nlOHv5Ty/CYrpqHFtIZPGqc+z4LQ
AAAEBlX3P62HmoLzWZCnyWnbmHKcaVVaDAU+yoeFiEvRqF0dsFsR8jJM+iIcy76eU4e/lP
L8JiumocW0hk8apz7PgtAAAADmZvciB0aGUgZnV6emVyAQIDBAUGBw==
-----END OPENSSH PRIVATE KEY-----
`
