// SPDX-License-Identifier: AGPL-3.0-or-later

package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/webhook"
)

const secret = "0123456789abcdef0123456789abcdef"

// hooks is a running receiver.
type hooks struct {
	t        *testing.T
	receiver *webhook.Receiver
	address  string
}

func start(t *testing.T) *hooks {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hooks{t, webhook.New([]byte(secret), zerolog.New(zerolog.NewTestWriter(t))), listener.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.receiver.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return h
}

func (h *hooks) send(method, path string, header map[string]string, body io.Reader) (status int, answer string) {
	h.t.Helper()
	request, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.address+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, string(raw)
}

func sign(key, body string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

// looked reports whether a look comes within this time.
func (h *hooks) looked(within time.Duration) bool {
	select {
	case <-h.receiver.Look():
		return true
	case <-time.After(within):
		return false
	}
}

func TestHooks(t *testing.T) {
	h := start(t)
	body := `{"ref": "refs/heads/main"}`
	large := strings.Repeat("x", 64<<10+1)
	tests := []struct {
		name, method, path string
		header             map[string]string
		body               string
		status             int
	}{
		{"GitHub's", "POST", "/webhook", map[string]string{"X-Hub-Signature-256": "sha256=" + sign(secret, body), "X-GitHub-Event": "push"}, body, 204},
		{"Gitea's", "POST", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, body)}, body, 204},
		{"Forgejo's", "POST", "/webhook", map[string]string{"X-Forgejo-Signature": sign(secret, body), "X-Hub-Signature-256": "sha256=" + sign(secret, body)}, body, 204},
		{"an empty body", "POST", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, "")}, "", 204},
		{"the largest", "POST", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, large[1:])}, large[1:], 204},
		{"too large", "POST", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, large)}, large, 413},
		{"unsigned", "POST", "/webhook", nil, body, 401},
		{"another secret", "POST", "/webhook", map[string]string{"X-Hub-Signature-256": "sha256=" + sign("other"+secret, body)}, body, 401},
		{"another body", "POST", "/webhook", map[string]string{"X-Hub-Signature-256": "sha256=" + sign(secret, body)}, body + " ", 401},
		{"one of two is wrong", "POST", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, body), "X-Hub-Signature-256": "sha256=00"}, body, 401},
		{"SHA-1", "POST", "/webhook", map[string]string{"X-Hub-Signature": "sha1=" + sign(secret, body)[:40]}, body, 401},
		{"a beginning of it", "POST", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, body)[:32]}, body, 401},
		{"no hexadecimal", "POST", "/webhook", map[string]string{"X-Gitea-Signature": "zz"}, body, 401},
		{"an empty signature", "POST", "/webhook", map[string]string{"X-Gitea-Signature": ""}, body, 401},
		{"GET", "GET", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, "")}, "", 405},
		{"another path", "POST", "/", map[string]string{"X-Gitea-Signature": sign(secret, body)}, body, 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, answer := h.send(tt.method, tt.path, tt.header, strings.NewReader(tt.body))
			if status != tt.status || strings.Contains(answer, secret) || strings.Contains(answer, sign(secret, tt.body)) {
				t.Errorf("status %d, want %d: %s", status, tt.status, answer)
			}
			if tt.status == 204 && !h.looked(20*time.Second) {
				t.Error("nobody was told to look")
			}
		})
	}
	// One look for each good hook: another one would be that of a bad one.
	if h.looked(time.Second) {
		t.Error("a bad hook led to a look")
	}
}

// Many hooks are few looks, and the last hook is followed by one.
func TestManyHooks(t *testing.T) {
	h := start(t)
	began, last := time.Now(), make(chan time.Time, 1)
	go func() {
		var before time.Time
		for range 50 {
			before = time.Now()
			if status, _ := h.send("POST", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, "x")}, strings.NewReader("x")); status != 204 {
				t.Errorf("status %d", status)
			}
		}
		last <- before
	}()
	var looks []time.Time
	var sent time.Time
	end := time.After(20 * time.Second)
	for sent.IsZero() || len(looks) == 0 || looks[len(looks)-1].Before(sent) {
		select {
		case <-h.receiver.Look():
			looks = append(looks, time.Now())
		case sent = <-last:
		case <-end:
			t.Fatalf("no look after the last hook, %d before it", len(looks))
		}
	}
	if most := 1 + int(time.Since(began)/(200*time.Millisecond)); len(looks) > most {
		t.Errorf("%d looks in %v", len(looks), time.Since(began))
	}
}

func TestTooManyAtOnce(t *testing.T) {
	h := start(t)
	// Callers that never send what they announce.
	for range 16 {
		conn, err := net.Dial("tcp", h.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "POST /webhook HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		// The server asks for the body once the handler reads it.
		if line, err := io.ReadAll(io.LimitReader(conn, 12)); err != nil || !bytes.Equal(line, []byte("HTTP/1.1 100")) {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	if status, _ := h.send("POST", "/webhook", map[string]string{"X-Gitea-Signature": sign(secret, "")}, nil); status != 429 {
		t.Errorf("status %d, want 429", status)
	}
}

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := webhook.ReadSecret(put("good", " "+secret+"\n")); err != nil || string(got) != secret {
		t.Errorf("got %q, %v", got, err)
	}
	for file, want := range map[string]string{
		put("short", "0123456789abcde\n"): "holds 15 bytes: it must be 16 to 4096", put("empty", ""): "holds 0 bytes",
		put("long", strings.Repeat("x", 5000)): "larger than 4 KiB", pipe: "is a pipe, not a regular file", dir: "is a directory, not a regular file", filepath.Join(dir, "none"): "no such file",
	} {
		if _, err := webhook.ReadSecret(file); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0123") {
			t.Errorf("%s: got %v, want %s", file, err, want)
		}
	}
}
