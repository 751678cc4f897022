// SPDX-License-Identifier: AGPL-3.0-or-later

// Package dockertest owns how tests use the Docker engine of the machine: whether they run at all, starting a
// container that is gone when its test ends, and asking it things.
//
// Tests of containers run when HUB_DOCKER=1, which `make test` sets. Without it they say that they are not run;
// where CI=true they fail instead, because there nobody reads what was not run.
//
// It speaks to the engine through the docker command, which is what users have. Containers it makes carry the
// label cloud4-test and a name that begins with cloud4-test-; it touches no others.
package dockertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// commandTimeout bounds one docker command; building an image has its own.
const commandTimeout = 60 * time.Second

// Main runs the tests of a package if this machine is meant to, and returns the exit code.
func Main(m *testing.M) int {
	if os.Getenv("HUB_DOCKER") != "1" {
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, "the container tests must run where CI=true: set HUB_DOCKER=1, as `make test` does")
			return 1
		}
		fmt.Fprintln(os.Stderr, "the container tests are not run: they need HUB_DOCKER=1, a Docker engine and `make image`")
		return 0
	}
	if _, err := Try(context.Background(), "version", "--format", "{{.Server.Version}}"); err != nil {
		fmt.Fprintln(os.Stderr, "HUB_DOCKER=1, but no Docker engine answers:", err)
		return 1
	}
	return m.Run()
}

// Try runs docker with args and returns what it wrote to stdout, without the last newline; an error holds stderr.
func Try(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	out := strings.TrimSuffix(stdout.String(), "\n")
	if err != nil {
		return out, fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// Docker runs docker with args and fails the test if it does not succeed.
func Docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := Try(context.Background(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Container is one container, by id or name.
type Container string

// Run starts a container in the background: flags of docker run, then image and command. It is removed with its
// anonymous volumes when the test ends; a failed test shows its last lines.
func Run(t testing.TB, flags []string, image string, command ...string) Container {
	t.Helper()
	name := "cloud4-test-" + strings.ToLower(rand.Text()[:10])
	args := append([]string{"run", "--detach", "--name", name, "--label", "cloud4-test"}, flags...)
	c := Container(name)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s (%s) said:\n%s", name, strings.Join(command, " "), c.Logs(t, "--tail", "30"))
		}
		if out, err := Try(context.Background(), "rm", "--force", "--volumes", name); err != nil {
			t.Logf("removing %s: %v %s", name, err, out)
		}
	})
	Docker(t, append(append(args, image), command...)...)
	return c
}

// Inspect returns one value of the container's state, by a Go template: "{{.State.ExitCode}}".
func (c Container) Inspect(t testing.TB, format string) string {
	t.Helper()
	return Docker(t, "inspect", "--format", format, string(c))
}

// InspectJSON decodes the whole state of a container or image.
func InspectJSON(t testing.TB, name string, into any) {
	t.Helper()
	list := []json.RawMessage{}
	if err := json.Unmarshal([]byte(Docker(t, "inspect", name)), &list); err != nil || len(list) != 1 {
		t.Fatalf("inspecting %s: %v", name, err)
	}
	if err := json.Unmarshal(list[0], into); err != nil {
		t.Fatalf("inspecting %s: %v", name, err)
	}
}

// Running reports whether the container runs.
func (c Container) Running(t testing.TB) bool {
	t.Helper()
	return c.Inspect(t, "{{.State.Running}}") == "true"
}

// Wait waits until the container has ended and returns its exit code.
func (c Container) Wait(t testing.TB) int {
	t.Helper()
	code, err := strconv.Atoi(Docker(t, "wait", string(c)))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// Stop does what docker stop does and returns the exit code and how long it took.
func (c Container) Stop(t testing.TB, flags ...string) (code int, took time.Duration) {
	t.Helper()
	start := time.Now()
	Docker(t, append(append([]string{"stop"}, flags...), string(c))...)
	took = time.Since(start)
	return c.Wait(t), took
}

// Logs returns what the container wrote to stdout and stderr; flags are those of docker logs.
func (c Container) Logs(t testing.TB, flags ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", append(append([]string{"logs"}, flags...), string(c))...).CombinedOutput()
	if err != nil {
		t.Logf("reading the logs of %s: %v", c, err)
	}
	return string(out)
}

// Stdout returns what the container wrote to stdout alone.
func (c Container) Stdout(t testing.TB) string {
	t.Helper()
	return Docker(t, "logs", string(c))
}

// Exec runs a command in the container and returns its stdout and exit code.
func (c Container) Exec(t testing.TB, command ...string) (string, int) {
	t.Helper()
	out, err := Try(context.Background(), append([]string{"exec", string(c)}, command...)...)
	var exit *exec.ExitError
	if err == nil {
		return out, 0
	}
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return out, exit.ExitCode()
	}
	t.Fatal(err)
	return "", 0
}

// Shell runs a script in the container and fails the test if it does not succeed.
func (c Container) Shell(t testing.TB, script string) string {
	t.Helper()
	out, err := Try(context.Background(), "exec", string(c), "sh", "-ec", script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// WaitFor polls until ok holds and fails the test, naming what, when it does not in time.
func WaitFor(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(within)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
