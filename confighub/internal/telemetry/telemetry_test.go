// SPDX-License-Identifier: AGPL-3.0-or-later

package telemetry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func TestOff(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	tel, err := New(t.Context(), "v1", "web")
	if err != nil {
		t.Fatal(err)
	}
	_, x := tel.Transaction(t.Context(), 1, "d")
	x.Step("stage")
	x.End("applied", false)
	if err := tel.Close(); err != nil || tel.tracer != nil {
		t.Errorf("something is on: %v", err)
	}
	for name, want := range map[string]bool{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": true, "OTEL_SERVICE_NAME": false} {
		if got := Enabled(func(n string) string { return map[bool]string{true: "x"}[n == name] }); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOn(t *testing.T) {
	var mu sync.Mutex
	got := map[string]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] += string(body)
	}))
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	tel, err := New(t.Context(), "v1", "spiffe://cloud4.internal/host/vm1")
	if err != nil {
		t.Fatal(err)
	}
	_, x := tel.Transaction(t.Context(), 7, "sha256:abc")
	x.Step("check")
	x.End("rejected", true)
	if err := tel.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	// Strings stand in protobuf as they are.
	for path, words := range map[string][]string{
		"/v1/traces":  {"apply", "check", "sha256:abc", "rejected", "spiffe://cloud4.internal/host/vm1"},
		"/v1/metrics": {"confighub.apply", "confighub.apply.duration", "rejected"},
	} {
		for _, word := range words {
			if !strings.Contains(got[path], word) {
				t.Errorf("%s holds no %q", path, word)
			}
		}
	}
}
