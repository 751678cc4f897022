// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity/identitytest"
)

// inbox is somebody's ntfy server.
type inbox struct {
	*httptest.Server
	mu   sync.Mutex
	got  []string // "<title> | <body>"
	auth string
	down bool
}

func newInbox(t *testing.T) *inbox {
	in := &inbox{}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.down {
			http.Error(w, "no such topic: "+r.URL.Path, http.StatusNotFound)
			return
		}
		in.auth = r.Header.Get("Authorization")
		in.got = append(in.got, r.Method+" "+r.Header.Get("Title")+" | "+string(body))
	}))
	t.Cleanup(in.Close)
	return in
}

// has reports whether a message came whose title and body begin so.
func (in *inbox) has(title, body string) func() bool {
	return func() bool {
		in.mu.Lock()
		defer in.mu.Unlock()
		for _, m := range in.got {
			if head, text, _ := strings.Cut(m, " | "); head == title && strings.HasPrefix(text, body) {
				return true
			}
		}
		return false
	}
}

// all is what came, and the authorization of the last.
func (in *inbox) all() ([]string, string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got), in.auth
}

// The whole way: a check that is forced in a container, its report to the host, and the message on the phone.
func TestChaosReachesThePhone(t *testing.T) {
	t.Parallel()
	ca := identitytest.New(t)
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(site.Close)
	phone, outside := newInbox(t), newInbox(t)
	host := newMachine(t, "")
	settings := fmt.Sprintf(`{"health": {
		"notify": {"phone": {"preset": "ntfy", "url": "%s/topic", "secret_file": %q, "every": "1s", "min": "fail"}},
		"deadman": {"url": "%s/ping", "every": "15s"}}}`, phone.URL, host.path("token"), outside.URL)
	for file, text := range map[string]string{"hub.json": settings, "token": "tk_1\n"} {
		if err := os.WriteFile(host.path(file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca.Issue(t, parse(t, "/host/vm1"), host.path("state/identity"))
	address := freeAddress(t)
	log, stop := host.start(t, "serve", "--listen", address, "--dashboard", "")
	web := newMachine(t, fmt.Sprintf(`{
		"identity": {"host": "vm1", "stack": "shop", "service": "web"},
		"health": {"report_to": "https://%s", "checks": {"page": {"kind": "http", "url": %q, "criticality": "critical", "interval": "1s"}}}
	}`, address, site.URL))
	ca.Issue(t, parse(t, "/host/vm1/stack/shop/service/web"), web.path("state/identity"))
	web.start(t, "run")
	waitFor(t, 20*time.Second, "the check can be forced", func() bool {
		code, _, _ := web.call(t, "chaos", "page", "fail", "--for", "1h")
		return code == 0
	})
	waitFor(t, 60*time.Second, "the message", phone.has("POST [test] vm1: web.shop.vm1/page fails", "[test] ✕ fail web.shop.vm1/page: "))
	if _, auth := phone.all(); auth != "Bearer tk_1" {
		t.Errorf("authorization %q", auth)
	}
	waitFor(t, 60*time.Second, "a ping", outside.has("GET ", ""))
	// A restart while the recovery is on its way.
	if code := stop(); code != 0 {
		t.Errorf("serve ended with %d: %s", code, log)
	}
	if data, err := os.ReadFile(host.path("state/health/notify.json")); err != nil || !json.Valid(data) || !strings.Contains(string(data), `"web.shop.vm1/page"`) {
		t.Errorf("%s, %v", data, err)
	}
	if code, _, errs := web.call(t, "chaos", "page", "--end"); code != 0 {
		t.Errorf("chaos --end: %s", errs)
	}
	log, _ = host.start(t, "serve", "--listen", address, "--dashboard", "")
	waitFor(t, 90*time.Second, "the recovery", phone.has("POST [test] vm1: web.shop.vm1/page resolved, all is well", "[test] ✓ resolved web.shop.vm1/page after "))
	if got, _ := phone.all(); len(got) != 2 {
		t.Errorf("%d messages: %q", len(got), got)
	}
	if strings.Contains(log.String(), "/topic") || strings.Contains(log.String(), "/ping") || strings.Contains(log.String(), "tk_1") {
		t.Errorf("the log tells secrets:\n%s", log)
	}
}

func TestNotifyCommand(t *testing.T) {
	phone := newInbox(t)
	m := newMachine(t, fmt.Sprintf(`{"health": {"notify": {"phone": {"preset": "ntfy", "url": "%s/topic", "min": "fail", "remind": "4h"}, "chat": {"url": "%s/chat"}}}}`, phone.URL, phone.URL))
	code, out, errs := m.call(t, "notify")
	if want := "RECEIVER  KIND     TOLD  EVERY  REMIND\nchat      webhook  warn  1m     never\nphone     ntfy     fail  1m     4h\n"; code != 0 || out != want {
		t.Errorf("%d %s%s, want\n%s", code, out, errs, want)
	}
	if code, out, _ := newMachine(t, "").call(t, "notify"); code != 0 || out != "nobody is told: the settings have no health.notify\n" {
		t.Errorf("%d %s", code, out)
	}
	code, out, errs = m.call(t, "notify", "--test", "phone")
	if code != 0 || !strings.HasPrefix(out, "phone: 127.0.0.1:") || !strings.Contains(out, "took the test: 200 OK") || !phone.has("POST [test] healthhub can reach phone", "This is a test")() {
		t.Errorf("%d %s%s", code, out, errs)
	}
	phone.mu.Lock()
	phone.down = true
	phone.mu.Unlock()
	if code, _, errs = m.call(t, "notify", "--test", "phone"); code != 1 || !strings.Contains(errs, "404 Not Found: no such topic") || strings.Contains(errs, "/topic") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs = m.call(t, "notify", "--test", "pager"); code != 2 || !strings.Contains(errs, `health.notify has no "pager"; it has chat, phone`) {
		t.Errorf("%d %s", code, errs)
	}
}
