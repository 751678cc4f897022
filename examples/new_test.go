// SPDX-License-Identifier: AGPL-3.0-or-later

package examples

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/baseimage/dockertest"
)

// scaffolded writes a service by `confighub new` and returns its directory.
func scaffolded(t *testing.T, name, args string) string {
	t.Helper()
	parent := t.TempDir()
	run(t, "bin/confighub new "+args+" --dir "+parent)
	return filepath.Join(parent, name)
}

// built builds the image of a service.
func built(t *testing.T, dir string) (image string) {
	t.Helper()
	image = "cloud4/test-new-" + filepath.Base(dir)
	run(t, "docker build --quiet --force-rm --label cloud4-test --tag "+image+" "+dir)
	t.Cleanup(func() { run(t, "docker rmi --force "+image) })
	return image
}

// healthy waits until the service is well on the configuration that the image brings.
func healthy(t *testing.T, c dockertest.Container) {
	t.Helper()
	dockertest.WaitFor(t, time.Minute, "healthy", func() bool {
		return c.Inspect(t, "{{.State.Health.Status}}") == "healthy"
	})
	if out := c.Shell(t, "confighub status"); !strings.Contains(out, "is in place") || !strings.Contains(out, "dir:/etc/hub/bundle") {
		t.Errorf("the bundle of the image is not in place:\n%s", out)
	}
	for _, hub := range []string{"confighub", "healthhub", "loghub"} {
		if out := c.Shell(t, hub+" --check"); !strings.HasPrefix(out, "settings are good") {
			t.Errorf("%s --check: %s", hub, out)
		}
	}
}

// started starts an image without a genesis machine.
func started(t *testing.T, image string, flags ...string) dockertest.Container {
	t.Helper()
	c := dockertest.Run(t, append(flags, "--health-interval", "1s"), image)
	healthy(t, c)
	return c
}

// stops holds that docker stop ends the service by itself, with its own exit code.
func stops(t *testing.T, c dockertest.Container) {
	t.Helper()
	if code, _ := c.Stop(t, "--time", "50"); code != 0 {
		t.Errorf("docker stop: want the service's own 0, got %d", code)
	}
}

// edit replaces a text in a file that must hold it.
func edit(t *testing.T, file, old, replacement string) {
	t.Helper()
	text := read(t, file)
	if !strings.Contains(text, old) {
		t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(text, old, replacement, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestNewWeb runs what `confighub new` writes of nginx and php, without a genesis machine: a page of PHP behind nginx.
func TestNewWeb(t *testing.T) {
	network := "cloud4-test-" + strings.ToLower(rand.Text()[:10])
	dockertest.Docker(t, "network", "create", "--label", "cloud4-test", network)
	t.Cleanup(func() { dockertest.Docker(t, "network", "rm", network) })
	php := started(t, built(t, scaffolded(t, "app", "php app")), "--network", network, "--network-alias", "app")

	dir := scaffolded(t, "web", "nginx web")
	edit(t, filepath.Join(dir, "bundle/data/nginx.json"), `"php": ""`, `"php": "app:9000"`)
	web := started(t, built(t, dir), "--network", network, "--publish", "127.0.0.1::80")
	address := dockertest.Docker(t, "port", string(web), "80/tcp")
	for path, want := range map[string]string{"/": "app runs PHP ", "/a/b?c": "app runs PHP ", "/index.html": "<h1>web</h1>"} {
		if got := fetched(t, "http://"+address+path); !strings.Contains(got, want) {
			t.Errorf("%s: want %q, got %q", path, want, got)
		}
	}

	php.Shell(t, `sed -i 's/"128M"/"96M"/' /etc/hub/bundle/data/php.json`)
	dockertest.WaitFor(t, time.Minute, "php-fpm has taken up its configuration anew", func() bool {
		return strings.Count(php.Logs(t), "ready to handle connections") == 2
	})
	if got := fetched(t, "http://"+address+"/"); !strings.Contains(got, "app runs PHP ") {
		t.Errorf("after the reload: got %q", got)
	}
	stops(t, web)
	stops(t, php)
}

// fetched returns a page.
func fetched(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v: %s", url, resp.Status, err, body)
	}
	return string(body)
}

// TestNewPostgres runs the database that `confighub new` writes: who has the password logs in, what is written stays, and a
// setting that PostgreSQL does not take never reaches it.
func TestNewPostgres(t *testing.T) {
	image := built(t, scaffolded(t, "db", "postgres db"))
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("it's \"secret\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	db := started(t, image, "--volume", secret+":/run/secrets/postgres_password:ro")
	query := func(password, sql string) (string, int) {
		return db.Exec(t, "sh", "-c", `PGPASSWORD=$1 psql -h "$(hostname -i)" -U postgres -Atc "$2" 2>&1`, "psql", password, sql)
	}
	if out, code := query(`it's "secret"`, "create table kept as select 42 as n; show max_connections"); code != 0 || !strings.HasSuffix(out, "100") {
		t.Fatalf("with the password: %d %s", code, out)
	}
	for _, wrong := range []string{"", "wrong"} {
		if out, code := query(wrong, "select 1"); code == 0 {
			t.Errorf("the password %q was taken: %s", wrong, out)
		}
	}
	if out := db.Shell(t, "stat -c %U /proc/$(cat /run/hub/service.pid); ls /dev/shm"); strings.Contains(out, "postgres_password") || !strings.HasPrefix(out, "postgres\n") {
		t.Errorf("want no copy of the password, and postgres as the user: %s", out)
	}

	db.Shell(t, `sed -i 's/"max_connections": 100/"max_connections": "many"/' /etc/hub/bundle/data/postgres.json`)
	dockertest.WaitFor(t, time.Minute, "the refusal is told", func() bool {
		return strings.Contains(db.Logs(t), `invalid value for parameter \"max_connections\": \"many\"`)
	})
	db.Shell(t, `sed -i 's/"max_connections": "many"/"max_connections": 50/' /etc/hub/bundle/data/postgres.json`)
	dockertest.WaitFor(t, time.Minute, "PostgreSQL has 50 connections", func() bool {
		out, code := query(`it's "secret"`, "show max_connections")
		return code == 0 && out == "50"
	})
	stops(t, db)

	dockertest.Docker(t, "start", string(db))
	dockertest.WaitFor(t, time.Minute, "what was written is there", func() bool {
		out, code := query(`it's "secret"`, "select n from kept")
		return code == 0 && out == "42"
	})
	stops(t, db)
}

// TestNewJob runs the job that `confighub new` writes: again and again, failing too, and once.
func TestNewJob(t *testing.T) {
	dir := scaffolded(t, "backup", "job backup")
	edit(t, filepath.Join(dir, "bundle/data/job.json"), `"every": 3600`, `"every": 1`)
	edit(t, filepath.Join(dir, "job.sh"), `echo "the job runs"`, `echo "the job runs"; [ ! -e /tmp/fail ]`)
	image := built(t, dir)
	job := started(t, image)
	dockertest.WaitFor(t, time.Minute, "the job ran twice", func() bool { return strings.Count(job.Stdout(t), "the job runs") >= 2 })
	job.Shell(t, "touch /tmp/fail")
	dockertest.WaitFor(t, time.Minute, "its failure is the container's health", func() bool {
		out, _ := job.Exec(t, "healthhub", "probe")
		return strings.Contains(out, "exit code 1")
	})
	stops(t, job)

	once := dockertest.Run(t, nil, image, "job")
	if code := once.Wait(t); code != 0 || !strings.Contains(once.Stdout(t), "the job runs") {
		t.Errorf("once: exit code %d", code)
	}
}

// TestNewExisting puts the programs into an image that has a user of its own, asking docker what it runs.
func TestNewExisting(t *testing.T) {
	const parent = "cloud4/test-new-parent"
	dir := t.TempDir()
	base := dockertest.Docker(t, "inspect", "--format", `{{index .Config.Labels "org.opencontainers.image.base.name"}}`, "cloud4/base")
	text := fmt.Sprintf("FROM %s\nUSER 12345:0\n"+`ENTRYPOINT ["/bin/sh", "-c", "echo \"$TZ, \\\"$0\\\" $1\"; exec sleep $1"]`+"\nCMD [\"a b\", \"infinity\"]\n", base)
	if err := os.WriteFile(dir+"/Dockerfile", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "docker build --quiet --force-rm --label cloud4-test --tag "+parent+" "+dir)
	t.Cleanup(func() { run(t, "docker rmi --force "+parent) })

	c := started(t, built(t, scaffolded(t, "old", "existing "+parent+" old")))
	if out := c.Stdout(t); !strings.Contains(out, "Etc/UTC, \"a b\" infinity") {
		t.Errorf("want the environment of the bundle and the image's own words, got %q", out)
	}
	if user := c.Inspect(t, "{{.Config.User}}"); user != "12345:0" {
		t.Errorf("the image's user became %q", user)
	}
	if code, _ := c.Stop(t); code != 143 {
		t.Errorf("docker stop: want sleep's 143, got %d", code)
	}
}

// TestNewCompose holds that the compose files load, and that without what they need they say what that is.
func TestNewCompose(t *testing.T) {
	for kind, ours := range map[string][]string{
		"nginx": {"8080", "127.0.0.1"}, "postgres": {"postgres_password", "/var/lib/postgresql"}, "php": {}, "job": {}, "existing image --cmd x": {},
	} {
		name := strings.TrimPrefix(kind, "existing ")
		name, _, _ = strings.Cut(name, " ")
		file := filepath.Join(scaffolded(t, name, kind), "compose.yaml")
		out := run(t, "export CA_FINGERPRINT=0f GENESIS_ADDRESS=192.0.2.10\n"+composeConfig(file))
		for _, want := range append(ours, "genesis.internal", "192.0.2.10", "HUB_IDENTITY_SERVICE: "+name, "/var/lib/hub", "hub_token") {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %s is lost:\n%s", kind, want, out)
			}
		}
	}
	said, err := shell(t.Context(), "unset GENESIS_ADDRESS; export CA_FINGERPRINT=0f\n"+composeConfig(filepath.Join(scaffolded(t, "web", "nginx web"), "compose.yaml"))).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "the address of the genesis machine") {
		t.Errorf("without GENESIS_ADDRESS: %v: %s", err, said)
	}
}

// composeConfig is the command that reads a compose file, with the compose that this machine has.
func composeConfig(file string) string {
	return "docker compose -f " + file + " config 2>/dev/null || docker-compose -f " + file + " config"
}
