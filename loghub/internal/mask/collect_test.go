// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// opened is what Open hides and names.
func opened(from Sources) (texts []string, found Found) {
	l := Open(from)
	for _, v := range l.had {
		texts = append(texts, v.Text)
	}
	slices.Sort(texts)
	found = l.Found()
	slices.Sort(found.Hidden)
	return texts, found
}

func TestEnvironment(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"pw": "from-the-file\n", "key.pem": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----\n"})
	texts, found := opened(Sources{Host: "web-1.example.net", Environ: []string{
		"DB_PASSWORD=correct horse", "API_TOKEN=1234567", "apiKey=lowercase-key", "QUOTED_SECRET='in quotes'",
		"ADMIN_PASSWORD_FILE=" + dir + "/pw", "TLS_KEY=" + dir + "/key.pem", "GONE_PASSWORD_FILE=" + dir + "/absent", "KEYS_DIR=" + dir,
		"STAGE=staging-1", "STAGE_KEY=staging-1", "HOST_KEY=web-1.example.net", "POSTGRES_PASSWORD=postgres", "OTHER_PASSWORD=ChangeMe",
		"DATABASE_URL=postgres://shop:p%40ss%2Fword@db/shop", "HOME=/root/home", "KEYMAP=de-latin1-nodeadkeys", "USE_TOKEN=true", "EMPTY_KEY=",
		"JWT_PUBLIC_KEY=MFkwEwYHKoZIzj0CAQ", "DEPLOY_KEY=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 ops@example.net", "no equals sign",
		"PEM_KEY=-----BEGIN CERTIFICATE-----\nMIICERTCERTCERT\n-----END CERTIFICATE-----", "SECRET_PATH=/var/lib/nothing-there",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20tell-me-not,x-scope-orgid=shop,x-stage=staging-1",
	}})
	if diff := cmp.Diff([]string{
		"Bearer tell-me-not", "Bearer%20tell-me-not", "MIIEvQIBADANBg", "correct horse", "from-the-file", "in quotes", "lowercase-key", "p@ss/word", "tell-me-not",
	}, texts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Found{
		Hidden: []string{"ADMIN_PASSWORD_FILE", "DATABASE_URL", "DB_PASSWORD", "OTEL_EXPORTER_OTLP_HEADERS", "QUOTED_SECRET", "TLS_KEY", "apiKey"},
		LeftOut: []Left{
			{"API_TOKEN", whyShort}, {"STAGE_KEY", whyKnown + "STAGE"}, {"HOST_KEY", whyKnown + "the host's name"},
			{"POSTGRES_PASSWORD", whyCommon}, {"OTHER_PASSWORD", whyCommon}, {"OTEL_EXPORTER_OTLP_HEADERS", whyKnown + "STAGE"},
		},
	}, found); diff != "" {
		t.Error(diff)
	}
	if texts, found := opened(Sources{Dir: filepath.Join(dir, "absent")}); texts != nil || len(found.Hidden) != 0 || found.LeftOut != nil {
		t.Errorf("from nowhere: %q %v", texts, found)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"db":                "from-a-file\n",
		"tls/site.pem":      "-----BEGIN CERTIFICATE-----\nMIICERTCERTCERT\n-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPrivate\n-----END EC PRIVATE KEY-----\n",
		"ca.crt":            "-----BEGIN CERTIFICATE-----\nMIICACACACACACA\n-----END CERTIFICATE-----\n",
		"app.env":           "# settings\nLOG_LEVEL=information\nexport MAIL_PASSWORD=\"mail-password-1\"\nSHORT_TOKEN=abc\n",
		"app.yaml":          "db:\n  password: yaml-password-1\n  user: someone-else\n",
		"account.json":      `{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\nMIIEvJSONJSON\n-----END PRIVATE KEY-----\n","auth_uri":"https://example.net/auth","nested":[{"token":{"value":"deep-in-json"}}],"dsn":"amqp://a:url-in-json@mq"}`,
		"string.json":       `"a string of json"`,
		"binary":            "\x00\x01\x02binary\n\xff\xfe",
		"large":             strings.Repeat("0123456789abcdef\n", 5000),
		"..data/linked-key": "behind-a-link",
		"empty":             "",
	})
	if err := os.Symlink("..data/linked-key", filepath.Join(dir, "linked")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero")); err != nil {
		t.Fatal(err)
	}
	texts, found := opened(Sources{Dir: dir})
	for _, want := range []string{"from-a-file", "MHcCAQEEIPrivate", "mail-password-1", "yaml-password-1", "MIIEvJSONJSON", "deep-in-json",
		"url-in-json", "a string of json", "\x00\x01\x02binary\n\xff\xfe", "behind-a-link"} {
		if !slices.Contains(texts, want) {
			t.Errorf("%q is not hidden", want)
		}
	}
	for _, not := range []string{"MIICERTCERTCERT", "MIICACACACACACA", "https://example.net/auth", "service_account", "someone-else", "information"} {
		if slices.Contains(texts, not) {
			t.Errorf("%q is hidden", not)
		}
	}
	if diff := cmp.Diff([]Left{{filepath.Join(dir, "large"), whyLarge}}, found.LeftOut); diff != "" {
		t.Error(diff)
	}
}

// TestRoom: what has no room is named, and what comes first has it.
func TestRoom(t *testing.T) {
	var environ []string
	for i := range 4000 {
		environ = append(environ, fmt.Sprintf("TOKEN_%d=value-%d-%x", i, i, uint32(i)*2654435761))
	}
	l := Open(Sources{Environ: environ})
	found := l.Found()
	if n := len(found.Hidden); n < 500 || n+len(found.LeftOut) != 4000 || found.LeftOut[0] != (Left{fmt.Sprintf("TOKEN_%d", n), whyRoom}) {
		t.Errorf("%d hidden, %d left out", n, len(found.LeftOut))
	}
	_, text, _ := strings.Cut(environ[7], "=")
	if got := string(l.Mask([]byte(text), new(Scratch))); got != "***TOKEN_7***" {
		t.Errorf("%q", got)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("A_KEY=value-value\n"))
	f.Add([]byte(`{"a":[{"password":"x"}]}`))
	f.Add([]byte("-----BEGIN X-----\nabc\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		writeFiles(t, dir, map[string]string{"s": string(data)})
		l := Open(Sources{Dir: dir})
		for _, v := range l.had {
			if len(v.Text) < MinBytes || len(v.Text) > maxPiece {
				t.Errorf("%q", v)
			}
		}
	})
}
