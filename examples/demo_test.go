// SPDX-License-Identifier: AGPL-3.0-or-later

package examples

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/baseimage/dockertest"
)

func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }

// A demo that hangs must end before go test's own limit does, so that what it said is seen.
const demoTime = 8 * time.Minute

const (
	genesis = "cloud4-genesis"
	shop    = "cloud4-shop"
	network = "cloud4-demo"
	pageURL = "http://127.0.0.1:8080/"
)

// TestDemo is one story, in order: an interrupted demo, the demo and the look inside as the README has them, proofs on
// what then runs, and the end of it, which must leave nothing of the demo and everything else.
func TestDemo(t *testing.T) {
	bystander := dockertest.Run(t, []string{"--env", "HUB_HUBS=none"}, "cloud4/base", "sleep", "infinity")
	t.Cleanup(func() { run(t, "examples/demo.sh down") })
	interrupt(t)

	session := commands(t, "make demo")
	end := session[len(session)-1]
	if end != "make demo-down" {
		t.Fatalf("the README's session must end with make demo-down, ends with %q", end)
	}
	for _, command := range session[:len(session)-1] {
		t.Logf("$ %s\n%s", command, run(t, command))
	}
	t.Logf("%s", run(t, strings.Join(commands(t, "$ docker exec"), "\n")))

	proofs := []struct {
		name string
		test func(*testing.T)
	}{
		{"who is refused", testRefusals},
		{"a container that plays genesis", testImpostor},
		{"memory", testMemory},
		{"the identity survives --force-recreate", testRecreate},
		{"two replicas", testScale},
		{"compose run", testOneOff},
		{"crashes of the hubs", testCrashes},
		{"genesis away", testGenesisAway},
		{"the database stops", testDatabaseStops},
	}
	for _, proof := range proofs {
		if !t.Run(proof.name, proof.test) && !dockertest.Container(container(t, shop, "web")).Running(t) {
			t.Fatal("the demo is no longer whole")
		}
	}

	run(t, end)
	t.Run("nothing is left", testNothingLeft)
	if !bystander.Running(t) {
		t.Error("a container that is none of the demo's is gone")
	}
}

// run runs a command line at the top of the repository and returns what it said.
func run(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), demoTime)
	defer cancel()
	cmd := shell(ctx, command)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

func shell(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euc", command)
	cmd.Dir = ".."
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// interrupt begins a demo and ends it in the middle, as a user with control-C does.
func interrupt(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), demoTime)
	defer cancel()
	cmd := shell(ctx, "exec examples/demo.sh up")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for begun := false; !begun; {
		select {
		case err := <-ended:
			t.Fatalf("the demo ended before it could be interrupted: %v\n%s", err, said.String())
		case <-time.After(100 * time.Millisecond):
			out, err := dockertest.Try(ctx, "ps", "--quiet", "--filter", "label=com.docker.compose.project="+genesis)
			begun = err == nil && strings.Contains(out, "\n")
		}
	}
	cancel()
	if err := <-ended; err == nil {
		t.Fatalf("the interrupted demo says that it went well:\n%s", said.String())
	}
}

// container returns the one container of a service.
func container(t *testing.T, project, service string) string {
	t.Helper()
	ids := containers(t, project, service)
	if len(ids) != 1 {
		t.Fatalf("%s of %s: want one container, found %d", service, project, len(ids))
	}
	return ids[0]
}

func containers(t *testing.T, project, service string) []string {
	t.Helper()
	return strings.Fields(dockertest.Docker(t, "ps", "--all", "--quiet", "--no-trunc",
		"--filter", "label=com.docker.compose.project="+project,
		"--filter", "label=com.docker.compose.service="+service,
		"--filter", "label=com.docker.compose.oneoff=False"))
}

func member(t *testing.T, project, service string) dockertest.Container {
	t.Helper()
	return dockertest.Container(container(t, project, service))
}

// compose runs docker compose, or docker-compose where that is what the machine has, on one of the examples, with
// the settings that the demo uses.
func compose(t *testing.T, project, file, args string) string {
	t.Helper()
	fingerprint, err := os.ReadFile("../.demo/ca/fingerprint")
	if err != nil {
		t.Fatal(err)
	}
	command := "docker-compose"
	if _, err := dockertest.Try(context.Background(), "compose", "version"); err == nil {
		command = "docker compose"
	}
	return run(t, "export CLOUD4_DEMO=$PWD/.demo CLOUD4_CA_FINGERPRINT="+strings.TrimSpace(string(fingerprint))+
		"\n"+command+" -p "+project+" -f "+file+" "+args)
}

func testNothingLeft(t *testing.T) {
	for _, project := range []string{genesis, shop} {
		label := "label=com.docker.compose.project=" + project
		for _, list := range [][]string{{"ps", "--all"}, {"volume", "ls"}, {"network", "ls"}} {
			if left := dockertest.Docker(t, append(list, "--quiet", "--filter", label)...); left != "" {
				t.Errorf("docker %s of %s: %s", strings.Join(list, " "), project, left)
			}
		}
	}
	if left := dockertest.Docker(t, "network", "ls", "--quiet", "--filter", "name="+network); left != "" {
		t.Errorf("network %s is left", network)
	}
	if _, err := os.Stat("../.demo"); !os.IsNotExist(err) {
		t.Errorf("the state directory is left: %v", err)
	}
}

// TestReadmeDockerfile builds the three lines that people copy, and runs what comes out.
func TestReadmeDockerfile(t *testing.T) {
	const name = "cloud4/test-readme"
	dir := t.TempDir()
	file := first(t, "dockerfile", "FROM cloud4/base")
	if err := os.WriteFile(dir+"/Dockerfile", []byte(file.text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "docker build --quiet --force-rm --label cloud4-test --tag "+name+" "+dir)
	t.Cleanup(func() { run(t, "docker rmi --force "+name) })
	c := dockertest.Run(t, []string{"--health-interval", "1s"}, name)
	dockertest.WaitFor(t, 30*time.Second, "healthy", func() bool {
		return c.Inspect(t, "{{.State.Health.Status}}") == "healthy"
	})
	if code, took := c.Stop(t); code != 0 || took > 2*time.Second {
		t.Errorf("docker stop: want nginx's own 0 within 2 s, got %d after %v", code, took)
	}
}

// TestReadmeCompose holds that the compose file people copy loads.
func TestReadmeCompose(t *testing.T) {
	dir := t.TempDir()
	file := first(t, "yaml", "services:")
	if err := os.WriteFile(dir+"/compose.yaml", []byte(file.text), 0o644); err != nil {
		t.Fatal(err)
	}
	out := run(t, "docker compose -f "+dir+"/compose.yaml config 2>/dev/null || docker-compose -f "+dir+"/compose.yaml config")
	for _, key := range regexp.MustCompile(`HUB_[A-Z_]+`).FindAllString(file.text, -1) {
		if !strings.Contains(out, key) {
			t.Errorf("%s is lost", key)
		}
	}
}

// TestComposeForOtherMachines holds that the file that opens the genesis machine to others goes with its compose file.
func TestComposeForOtherMachines(t *testing.T) {
	const files = " -f examples/genesis/compose.yaml -f examples/genesis/lan.yaml config"
	out := run(t, "export CLOUD4_ADDRESS=192.0.2.10 CLOUD4_DEMO=/nonexistent CLOUD4_CA_FINGERPRINT=none\n"+
		"docker compose"+files+" 2>/dev/null || docker-compose"+files)
	for _, port := range []string{"9000", "8443", "4318", "8444", "8481"} {
		if !strings.Contains(out, port) {
			t.Errorf("port %s is not published", port)
		}
	}
}

// TestDemoNamesWhatIsMissing runs the demo where nothing but a shell is installed: it must name what it lacks and end,
// before it has done anything.
func TestDemoNamesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"bash", "dirname", "mktemp", "rm", "sed", "id", "cat"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(dir, "bash"), "demo.sh", "up")
	cmd.Env = []string{"PATH=" + dir, "CLOUD4_DEMO=" + filepath.Join(dir, "state")}
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("the demo says that it went well:\n%s", out)
	}
	for _, name := range []string{"Go 1.26", "make", "Docker engine"} {
		if !strings.Contains(string(out), name) {
			t.Errorf("want %q among what is missing, got:\n%s", name, out)
		}
	}
}

// TestReadmeForeignImage builds the Dockerfile for images that are not FROM ours, on a parent that is here instead of
// the official image, whose entry point and program are replaced by some that every Debian has.
func TestReadmeForeignImage(t *testing.T) {
	const name = "cloud4/test-foreign"
	dir := t.TempDir()
	parent := dockertest.Docker(t, "inspect", "--format", `{{index .Config.Labels "org.opencontainers.image.base.name"}}`, "cloud4/base")
	text := first(t, "dockerfile", "--from=cloud4/base").text
	for old, replacement := range map[string]string{
		"FROM postgres:17": "FROM " + parent + "\nRUN printf '#!/bin/sh\\nexec \"$@\"\\n' >/usr/bin/docker-entrypoint.sh && chmod +x /usr/bin/docker-entrypoint.sh",
		`CMD ["postgres"]`: `CMD ["sleep", "infinity"]`,
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("the README's Dockerfile has no %q", old)
		}
		text = strings.Replace(text, old, replacement, 1)
	}
	if err := os.WriteFile(dir+"/Dockerfile", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "docker build --quiet --force-rm --label cloud4-test --tag "+name+" "+dir)
	t.Cleanup(func() { run(t, "docker rmi --force "+name) })
	for _, flags := range [][]string{nil, {"--user", "12345:12345"}} {
		c := dockertest.Run(t, append(flags, "--health-interval", "1s"), name)
		dockertest.WaitFor(t, 30*time.Second, "healthy", func() bool {
			return c.Inspect(t, "{{.State.Health.Status}}") == "healthy"
		})
		if code, took := c.Stop(t); code != 143 || took > 2*time.Second {
			t.Errorf("docker stop with %v: want 143 within 2 s, got %d after %v", flags, code, took)
		}
	}
}
