// SPDX-License-Identifier: AGPL-3.0-or-later

package mask_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloud4.internal/hub/loghub/internal/mask"
	"github.com/google/go-cmp/cmp"
)

func TestMask(t *testing.T) {
	m := mask.New([]string{"hunter2hunter2", "hunter2hu", "ter2hunter2!", "overlapping", "pingpong"})
	tests := []struct{ in, want string }{
		{"nothing here", "nothing here"},
		{"hunter2hunter2", "***"},
		{"x hunter2hunter2 y hunter2hux", "x *** y ***x"},
		{"hunter2hunter2!", "***"},   // two that overlap
		{"overlappingpong.", "***."}, // the end of one is the beginning of the other
		{"hunter2", "hunter2"},
		{"pingpongpingpong", "******"},
		{"", ""},
	}
	for _, tt := range tests {
		got, _ := m.Mask([]byte(tt.in), nil)
		if diff := cmp.Diff(tt.want, string(got)); diff != "" {
			t.Errorf("%q: %s", tt.in, diff)
		}
	}
	if got, _ := mask.New(nil).Mask([]byte("x"), nil); string(got) != "x" {
		t.Errorf("without patterns: %q", got)
	}
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	pem := "-----BEGIN KEY-----\nMIIEvQIBADANBg\nshort\n-----END KEY-----\n"
	for name, text := range map[string]string{"db": "from-a-file\n", "key.pem": pem} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := mask.Secrets([]string{
		"DB_PASSWORD=correct horse", "API_TOKEN=1234567", "apiKey=lowercase-key",
		"SECRET_FILE=/run/secrets/db", "TLS_KEY=production", "STAGE=production", "HOME=/root/home",
	}, dir)
	slices.Sort(got)
	want := []string{"MIIEvQIBADANBg", "correct horse", "from-a-file", "lowercase-key"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := mask.Secrets(nil, filepath.Join(dir, "absent")); got != nil {
		t.Errorf("from nowhere: %q", got)
	}
}

// FuzzMask: what is masked holds no pattern, and a line without one is untouched.
func FuzzMask(f *testing.F) {
	f.Add("secret-one", "cret-on", "a secret-one b")
	f.Fuzz(func(t *testing.T, a, b, line string) {
		if strings.Contains(a+b, "*") {
			return // the replacement itself may complete such a pattern
		}
		got, _ := mask.New([]string{a, b}).Mask([]byte(line), nil)
		found := a != "" && strings.Contains(line, a) || b != "" && strings.Contains(line, b)
		if found == (string(got) == line) {
			t.Errorf("%q with %q and %q became %q", line, a, b, got)
		}
		for _, p := range []string{a, b} {
			if p != "" && strings.Contains(string(got), p) {
				t.Errorf("%q still holds %q", got, p)
			}
		}
	})
}

func BenchmarkMask(b *testing.B) {
	var secrets []string
	for _, s := range []string{"aX9", "bK2", "cQ7", "dW1", "eR3", "fT5", "gY8", "hU4", "iO6", "jP0"} {
		secrets = append(secrets, strings.Repeat(s, 8))
	}
	m := mask.New(secrets)
	line := []byte(`203.0.113.7 - - [21/Nov/2026:07:55:42 +0000] "GET /index.html?a=1 HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11; Linux x86_64)"`)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		m.Mask(line, nil)
	}
}
