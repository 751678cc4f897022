// SPDX-License-Identifier: AGPL-3.0-or-later

package enginetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// buildTime bounds a build, download included.
const buildTime = 12 * time.Minute

// recipe is how a binary is made: a shell script that leaves it in the current directory.
type recipe struct {
	name   string // of the binary
	what   string // for people
	script string
}

var victoriaLogs = recipe{
	name: "victoria-logs", what: "VictoriaLogs v1.115.0",
	// Go 1.26 refuses its lib/logstorage as a recursive type, and go install asks for a list of versions that the proxy does not give.
	script: `
go mod init vlbuild
go mod edit -require=github.com/VictoriaMetrics/VictoriaMetrics@v1.115.0 -go=1.24.2 -toolchain=none
GOTOOLCHAIN=go1.24.2 go build -mod=mod -ldflags='-s -w' -o victoria-logs github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-logs
`,
}

var collector = recipe{
	name: "otelcol-genesis", what: "the OpenTelemetry Collector v0.153.0",
	// Tests of modules it never links are missing at the proxy, so the builder may not tidy; and the provider for http:// lacks a checksum.
	script: `
cat >builder.yaml <<'YAML'
dist: {name: otelcol-genesis, module: otelcol, output_path: ./out}
receivers:
  - gomod: go.opentelemetry.io/collector/receiver/otlpreceiver v0.153.0
exporters:
  - gomod: go.opentelemetry.io/collector/exporter/debugexporter v0.153.0
  - gomod: go.opentelemetry.io/collector/exporter/otlphttpexporter v0.153.0
processors:
  - gomod: go.opentelemetry.io/collector/processor/batchprocessor v0.153.0
  - gomod: go.opentelemetry.io/collector/processor/memorylimiterprocessor v0.153.0
providers:
  - gomod: go.opentelemetry.io/collector/confmap/provider/fileprovider v1.59.0
  - gomod: go.opentelemetry.io/collector/confmap/provider/yamlprovider v1.59.0
  - gomod: go.opentelemetry.io/collector/confmap/provider/envprovider v1.59.0
YAML
GOBIN=$PWD go install go.opentelemetry.io/collector/cmd/builder@v0.153.0
./builder --config builder.yaml --skip-get-modules --skip-compilation
cd out
go build -mod=mod -trimpath -ldflags='-s -w' -o ../otelcol-genesis .
`,
}

// binary returns the path of what the recipe makes, or ends the test.
func (r recipe) binary(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("HUB_RECEIVERS"); dir != "" {
		path := filepath.Join(dir, r.name)
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("HUB_RECEIVERS: %v", err)
		}
		return path
	}
	path, err := r.build()
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("%s cannot be built here, and CI=true leaves nothing out: %v", r.what, err)
	default:
		t.Skipf("%s cannot be built here, so what it makes of our logs is untested: %v", r.what, err)
	}
	return ""
}

// build makes the binary unless it is there. Test processes that want the same wait for the one that builds.
func (r recipe) build() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "cloud4-hub", "receivers", fmt.Sprintf("%s-%.12x", r.name, sha256.Sum256([]byte(r.script))))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(filepath.Join(dir, ".lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	path := filepath.Join(dir, r.name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	return path, r.make(path)
}

func (r recipe) make(path string) error {
	work, err := os.MkdirTemp("", r.name+"-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	begin := time.Now()
	fmt.Fprintf(os.Stderr, "building %s from its module, once for this user: a minute or more\n", r.what)
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", r.script)
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "GOFLAGS=", "CGO_ENABLED=0", "GO111MODULE=on", "GOWORK=off", "GOOS=", "GOARCH=") // of this machine, whatever we are tested as
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w after %s: %s", errors.Join(err, ctx.Err()), time.Since(begin).Round(time.Second), tail(said.String(), 5))
	}
	fmt.Fprintf(os.Stderr, "built %s in %s\n", r.what, time.Since(begin).Round(time.Second))
	return install(filepath.Join(work, r.name), path)
}

// install puts the binary in its place whole; the temporary directory may be another file system.
func install(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", data, 0o755); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "\n")
}
