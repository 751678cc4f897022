// SPDX-License-Identifier: AGPL-3.0-or-later

package examples

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/baseimage/dockertest"
)

// newTime is what a step may take while other images are built.
const newTime = 3 * time.Minute

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
	dockertest.WaitFor(t, newTime, "healthy", func() bool {
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
	t.Parallel() // most of it is apt-get
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

	dockertest.WaitFor(t, newTime, "the requests are in docker logs", func() bool {
		return strings.Contains(web.Stdout(t), `"GET /a/b?c HTTP/1.1" 200`)
	})

	php.Shell(t, `sed -i 's/"128M"/"96M"/' /etc/hub/bundle/data/php.json`)
	dockertest.WaitFor(t, newTime, "php-fpm has taken up its configuration anew", func() bool {
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
	t.Parallel() // most of it is apt-get
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
	dockertest.WaitFor(t, newTime, "the refusal is told", func() bool {
		return strings.Contains(db.Logs(t), `invalid value for parameter \"max_connections\": \"many\"`)
	})
	db.Shell(t, `sed -i 's/"max_connections": "many"/"max_connections": 50/' /etc/hub/bundle/data/postgres.json`)
	dockertest.WaitFor(t, newTime, "PostgreSQL has 50 connections", func() bool {
		out, code := query(`it's "secret"`, "show max_connections")
		return code == 0 && out == "50"
	})
	stops(t, db)

	dockertest.Docker(t, "start", string(db))
	dockertest.WaitFor(t, newTime, "what was written is there", func() bool {
		out, code := query(`it's "secret"`, "select n from kept")
		return code == 0 && out == "42"
	})
	stops(t, db)
}

// TestNewJob runs the job that `confighub new` writes: again and again, failing too, and once.
func TestNewJob(t *testing.T) {
	t.Parallel()
	dir := scaffolded(t, "backup", "job backup")
	edit(t, filepath.Join(dir, "bundle/data/job.json"), `"every": 3600`, `"every": 1`)
	edit(t, filepath.Join(dir, "job.sh"), `echo "the job runs"`, `echo "the job runs"; [ ! -e /tmp/fail ]`)
	image := built(t, dir)
	job := started(t, image)
	dockertest.WaitFor(t, newTime, "the job ran twice", func() bool { return strings.Count(job.Stdout(t), "the job runs") >= 2 })
	job.Shell(t, "touch /tmp/fail")
	dockertest.WaitFor(t, newTime, "its failure is the container's health", func() bool {
		out, _ := job.Exec(t, "healthhub", "probe")
		return strings.Contains(out, "exit code 1")
	})
	stops(t, job)

	once := dockertest.Run(t, nil, image, "job")
	if code := once.Wait(t); code != 0 || !strings.Contains(once.Stdout(t), "the job runs") {
		t.Errorf("once: exit code %d", code)
	}
}

// TestNewExisting puts the programs into images that have a user of their own, asking docker what they run: one with a
// shell, and one with nothing but a program.
func TestNewExisting(t *testing.T) {
	t.Parallel()
	base := dockertest.Docker(t, "inspect", "--format", `{{index .Config.Labels "org.opencontainers.image.base.name"}}`, "cloud4/base")
	parent := parentImage(t, "parent", "FROM "+base+`
USER 12345:0
ENTRYPOINT ["/bin/sh", "-c", "echo \"$TZ, $0, $1\"; exec sleep $1"]
CMD ["a && 'b'", "infinity"]
`)
	c := started(t, built(t, scaffolded(t, "old", "existing "+parent+" old")))
	if out := c.Stdout(t); !strings.Contains(out, "Etc/UTC, a && 'b', infinity") {
		t.Errorf("want the environment of the bundle and the image's own words, got %q", out)
	}
	if user := c.Inspect(t, "{{.Config.User}}"); user != "12345:0" {
		t.Errorf("the image's user became %q", user)
	}
	if out := c.Shell(t, "stat -c %a /run /run/hub /var/lib /var/lib/hub"); out != "755\n1777\n755\n1777" {
		t.Errorf("the modes of /run, /run/hub, /var/lib and /var/lib/hub are %q", out)
	}
	if code, _ := c.Stop(t); code != 143 {
		t.Errorf("docker stop: want sleep's 143, got %d", code)
	}

	bare := parentImage(t, "bare", `FROM scratch
COPY --from=cloud4/base /usr/local/bin/healthhub /app
USER 12345
ENTRYPOINT ["/app"]
CMD ["--version"]
`)
	c = dockertest.Run(t, nil, built(t, scaffolded(t, "small", "existing "+bare+" small")))
	if code := c.Wait(t); code != 0 || !strings.HasPrefix(c.Stdout(t), "healthhub ") {
		t.Errorf("want a version and 0, got %q and %d", c.Stdout(t), code)
	}
	if out := c.Logs(t); !strings.Contains(out, "the configuration is in place") {
		t.Errorf("the bundle of the image is not in place:\n%s", out)
	}
}

// parentImage builds an image that is not FROM ours.
func parentImage(t *testing.T, name, dockerfile string) (image string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	return built(t, dir)
}

// TestNewCompose holds that the compose files load, together too, and that without what they need they say what that is.
func TestNewCompose(t *testing.T) {
	args, files := map[string]string{"web": "nginx web", "db": "postgres db", "app": "php app", "backup": "job backup", "old": "existing image old --cmd x"}, ""
	for name, args := range args {
		files += " -f " + filepath.Join(scaffolded(t, name, args), "compose.yaml")
	}
	config := "docker compose" + files + " config 2>/dev/null || docker-compose" + files + " config"
	out := run(t, "export CA_FINGERPRINT=0f GENESIS_ADDRESS=192.0.2.10\n"+config)
	want := []string{"127.0.0.1", "8080", "genesis.internal", "192.0.2.10", "postgres_password", "db-data", "/var/lib/postgresql"}
	for name := range args {
		want = append(want, "HUB_IDENTITY_SERVICE: "+name, name+"-hub", name+"-token", name+".token")
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("%s is lost:\n%s", text, out)
		}
	}
	said, err := shell(t.Context(), "unset GENESIS_ADDRESS; export CA_FINGERPRINT=0f\ndocker compose"+files+" config || docker-compose"+files+" config").CombinedOutput()
	if err == nil || !strings.Contains(string(said), "the address of the genesis machine") {
		t.Errorf("without GENESIS_ADDRESS: %v: %s", err, said)
	}
}
