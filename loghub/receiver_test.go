// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/sink"
	"github.com/google/go-cmp/cmp"
)

func TestReceiverOf(t *testing.T) {
	const streams = "host.name,service.namespace,service.name,service.instance.id"
	type vars map[string]string
	files := func(ca, cert, key string) *sink.TLSFiles { return &sink.TLSFiles{CA: ca, Cert: cert, Key: key} }
	tests := []struct {
		name     string
		settings Settings
		env      vars
		want     receiver
		notes    []string // what each has to hold
	}{
		{"nothing", Settings{}, nil, receiver{}, nil},
		{"ours", Settings{OTLP: "https://genesis.internal:4318"}, nil,
			receiver{url: "https://genesis.internal:4318/v1/logs", from: "log.otlp"}, nil},
		{"behind a prefix", Settings{OTLP: "https://door.example.net/logs/", Engine: "loki"}, nil,
			receiver{url: "https://door.example.net/logs/otlp/v1/logs", from: "log.otlp"}, nil},
		{"engine", Settings{OTLP: "https://vl.internal", Engine: "victorialogs"}, nil,
			receiver{url: "https://vl.internal/insert/opentelemetry/v1/logs", from: "log.otlp", headers: vars{"VL-Stream-Fields": streams}}, nil},
		{"own path and header over the engine's", Settings{OTLP: "https://vl.internal", Engine: "victorialogs", Path: "/x", Headers: vars{"VL-Stream-Fields": "a", "AccountID": "7"}}, nil,
			receiver{url: "https://vl.internal/x", from: "log.otlp", headers: vars{"VL-Stream-Fields": "a", "AccountID": "7"}}, nil},
		{"ours over the variables, and none of theirs", Settings{OTLP: "https://genesis.internal:4318"},
			vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://other.example.net", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=secret"},
			receiver{url: "https://genesis.internal:4318/v1/logs", from: "log.otlp"}, nil},
		{"none over the variables", Settings{OTLP: "none"}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://other.example.net"}, receiver{}, nil},
		{"endpoint", Settings{}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example.net:4318/base/"},
			receiver{url: "https://c.example.net:4318/base/v1/logs", from: "OTEL_EXPORTER_OTLP_ENDPOINT", tls: files("", "", "")}, nil},
		{"endpoint of logs, as it is", Settings{Headers: vars{"A": "ours"}}, vars{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "https://no.example.net", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://l.example.net/in",
			"OTEL_EXPORTER_OTLP_HEADERS": "x=no", "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "A=theirs, Authorization=Basic%20eA%3D%3D",
			"OTEL_EXPORTER_OTLP_TIMEOUT": "2500", "OTEL_EXPORTER_OTLP_COMPRESSION": "none", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
			"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/c.pem", "OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY": "/k.pem", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
			receiver{url: "https://l.example.net/in", from: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", timeout: 2500 * time.Millisecond, plain: true,
				headers: vars{"A": "ours", "Authorization": "Basic eA=="}, tls: files("/ca.pem", "/c.pem", "/k.pem")}, nil},
		{"gRPC", Settings{}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, receiver{},
			[]string{"OTEL_EXPORTER_OTLP_ENDPOINT is not used: OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and loghub speaks http/protobuf"}},
		{"gRPC for all but logs", Settings{}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf"},
			receiver{url: "http://127.0.0.1:4318/v1/logs", from: "OTEL_EXPORTER_OTLP_ENDPOINT", tls: files("", "", "")}, nil},
		{"plain http to another machine", Settings{}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, receiver{},
			[]string{"OTEL_EXPORTER_OTLP_ENDPOINT is not used: it is plain http to another machine"}},
		{"plain http that is allowed", Settings{Unsafe: true}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
			receiver{url: "http://collector:4318/v1/logs", from: "OTEL_EXPORTER_OTLP_ENDPOINT", tls: files("", "", "")}, nil},
		{"SDK off", Settings{}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, receiver{}, nil},
		{"logs off", Settings{}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_LOGS_EXPORTER": "none"}, receiver{},
			[]string{"OTEL_LOGS_EXPORTER is none"}},
		{"half a pair", Settings{}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example.net", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/k.pem"}, receiver{},
			[]string{"one is missing"}},
		{"odd values", Settings{}, vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "a=b,secret,c=%zz", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"},
			receiver{url: "http://127.0.0.1:1/v1/logs", from: "OTEL_EXPORTER_OTLP_ENDPOINT", headers: vars{"a": "b"}, tls: files("", "", "")},
			[]string{"item 2 is not used", "item 3 is not used", "OTEL_EXPORTER_OTLP_TIMEOUT is not used", "got \"zstd\"; gzip is"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.headers == nil {
				tt.want.headers = vars{}
			}
			got := tt.settings.receiver(func(name string) string { return tt.env[name] })
			notes := got.notes
			got.notes = nil
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(receiver{})); diff != "" {
				t.Error(diff)
			}
			if len(notes) != len(tt.notes) {
				t.Fatalf("notes %q", notes)
			}
			for i, want := range tt.notes {
				if !strings.Contains(notes[i], want) || strings.Contains(notes[i], "secret") {
					t.Errorf("note %q, want %q", notes[i], want)
				}
			}
		})
	}
}

func TestResourceOfTheEnvironment(t *testing.T) {
	vars := map[string]string{"OTEL_SERVICE_NAME": "theirs", "OTEL_RESOURCE_ATTRIBUTES": "service.version=1%2C2,host.name=forged,deployment.environment.name=prod,bad"}
	for name, tt := range map[string]struct {
		settings identity.Settings
		want     map[string]string
	}{
		"with names": {identity.Settings{TrustDomain: "cloud4.internal", Host: "vm1", Stack: "shop", Service: "web"},
			map[string]string{"service.name": "web", "service.namespace": "shop", "host.name": "vm1", "service.version": "1,2", "deployment.environment.name": "prod"}},
		"without": {identity.Settings{},
			map[string]string{"service.name": "theirs", "host.name": "forged", "service.version": "1,2", "deployment.environment.name": "prod"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &resource{files: identity.Open(t.TempDir()), settings: tt.settings}
			r.fromEnv(func(name string) string { return vars[name] })
			got := map[string]string{}
			for _, kv := range r.attributes() {
				if _, twice := got[kv.Key]; twice {
					t.Errorf("%s stands twice", kv.Key)
				}
				got[kv.Key] = string(kv.Value.Bytes)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOpenTelemetryVariables: a container that knows nothing of us but the standard variables sends its logs, says so,
// and --check does.
func TestOpenTelemetryVariables(t *testing.T) {
	var got []string
	var header http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := readBody(r)
		header = r.Header
		_ = otlp.DecodeRequest([]byte(body), otlp.Limits{}, func(_ *otlp.Source, rec *otlp.Record) error {
			got = append(got, r.URL.Path+" "+string(rec.Body.Bytes))
			return nil
		})
	}))
	defer srv.Close()
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + srv.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20x"}
	_, log, code := command(t, "hello\n", env, "run")
	srv.Close()
	if diff := cmp.Diff([]string{"/v1/logs hello"}, got); diff != "" || code != 0 || header.Get("Authorization") != "Bearer x" {
		t.Errorf("exit %d, %v\n%s\n%s", code, header, diff, log)
	}
	if !strings.Contains(log, `"otlp_from":"OTEL_EXPORTER_OTLP_ENDPOINT"`) {
		t.Errorf("the start does not say where logs go: %s", log)
	}
	path := filepath.Join(t.TempDir(), "hub.json")
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said, code := command(t, "", append(env, "OTEL_EXPORTER_OTLP_COMPRESSION=zstd"), "--config", path, "--check")
	if code != 0 || !strings.Contains(said, "events go to "+srv.URL+"/v1/logs, by OTEL_EXPORTER_OTLP_ENDPOINT") || !strings.Contains(said, "zstd") {
		t.Errorf("--check: exit %d, %s", code, said)
	}
}

// TestOpenTelemetryCertificates: the files of the variables count instead of the fleet's, and new ones count without a restart.
func TestOpenTelemetryCertificates(t *testing.T) {
	g := newGenesis(t)
	files := g.ca.Dir(t, webID)
	dir := t.TempDir()
	write := func(name, from string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, must(os.ReadFile(from)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := write("ca.pem", filepath.Join(identitytest.New(t).Dir(t, webID), "roots.pem")) // another fleet's
	id := write("id.pem", filepath.Join(files, "id.pem"))
	c := newContainer(t, "{}")
	c.env = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + g.url(), "OTEL_EXPORTER_OTLP_CERTIFICATE=" + ca,
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + id, "OTEL_EXPORTER_OTLP_CLIENT_KEY=" + id}
	h := c.start()
	if _, err := c.pipes["stdout"].w.WriteString("hello\n"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, 60*time.Second, "trouble said", func() bool { return strings.Contains(h.log.String(), "certificate not trusted") })
	write("ca.pem", filepath.Join(files, "roots.pem"))
	waitFor(t, 60*time.Second, "line", func() bool { return g.count() == 1 })
	h.stop(t)
}
