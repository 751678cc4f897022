// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
)

// A real serve answers with every document, tells of a change on both of its doors as it happens, and its end does not wait for who
// listens.
func TestOutputs(t *testing.T) {
	ca := identitytest.New(t)
	m := newMachine(t, "")
	ca.Issue(t, parse(t, "/host/vm1"), m.path("state/identity"))
	settings := `{"health": {"host_checks": {"backup": {"kind": "file", "path": "` + m.path("backup") + `", "interval": "1s", "start_deadline": "10m"}}}}`
	if err := os.WriteFile(m.path("hub.json"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	secure, plain := freeAddress(t), freeAddress(t)
	log, stop := m.start(t, "serve", "--listen", secure, "--dashboard", plain)
	waitFor(t, 10*time.Second, "serving", func() bool { return strings.Contains(log.String(), "showing the dashboard") })

	for path, want := range map[string]string{
		"/livez": "pass", "/startedz": "", "/health": `"status":`, "/v1/summary": `"host":"vm1"`, "/v1/snapshot": `"kind":"host"`, "/metrics": "hub_health{", "/badge/vm1.svg": "<svg",
		"/health/host/backup": `"kind":"check"`, "/v1/summary/host/backup": `"name":"host/backup"`, "/": "<!",
	} {
		resp, err := http.Get("http://" + plain + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 && resp.StatusCode != 503 || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s %v %.200s", path, resp.Status, err, body)
		}
	}

	operator := &http.Client{Transport: mtls.Transport(identity.Open(ca.Dir(t, parse(t, "/operator/ops"))), mtls.Host("cloud4.internal", "vm1"))}
	streams := map[string]*bufio.Scanner{
		"over mutual TLS": follow(t, operator, "https://"+secure+"/v1/events"),
		"on loopback":     follow(t, http.DefaultClient, "http://"+plain+"/v1/events"),
	}
	if err := os.WriteFile(m.path("backup"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, stream := range streams {
		if !tells(stream, "host/backup", health.Pass) {
			t.Errorf("%s: the stream ended without the change", name)
		}
	}
	begin := time.Now()
	if code := stop(); code != 0 {
		t.Errorf("ended with %d: %s", code, log)
	}
	for _, stream := range streams {
		for stream.Scan() {
		}
	}
	t.Logf("ended after %s", time.Since(begin))
}

// follow opens a stream of events.
func follow(t *testing.T, client *http.Client, url string) *bufio.Scanner {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return bufio.NewScanner(resp.Body)
}

// tells reads events until one says that the node at path is in that state.
func tells(stream *bufio.Scanner, path string, state health.State) bool {
	for stream.Scan() {
		data, ok := strings.CutPrefix(stream.Text(), "data: ")
		var event struct{ Changes []record.Event }
		if !ok || json.Unmarshal([]byte(data), &event) != nil {
			continue
		}
		for _, c := range event.Changes {
			if c.Path == path && c.To != nil && *c.To == state {
				return true
			}
		}
	}
	return false
}
