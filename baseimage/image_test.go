// SPDX-License-Identifier: AGPL-3.0-or-later

package baseimage

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/baseimage/dockertest"
	"github.com/google/go-cmp/cmp"
)

// image is what `make image` builds.
const image = "cloud4/base"

func TestMain(m *testing.M) { os.Exit(dockertest.Main(m)) }

// hubsOff leaves hubinit alone in the container, for what is hubinit's own.
var hubsOff = []string{"--env", "HUB_HUBS=none"}

func TestImageConfiguration(t *testing.T) {
	var got struct {
		Config struct {
			Entrypoint, Cmd  []string
			User, StopSignal string
			Volumes          map[string]struct{}
			Labels           map[string]string
			Healthcheck      struct {
				Test              []string
				Interval, Timeout time.Duration
			}
		}
	}
	dockertest.InspectJSON(t, image, &got)
	config := got.Config
	if diff := cmp.Diff([]string{"hubinit"}, config.Entrypoint); diff != "" {
		t.Error("entry point:", diff)
	}
	if diff := cmp.Diff([]string{"CMD", "hubinit", "probe"}, config.Healthcheck.Test); diff != "" {
		t.Error("health check:", diff)
	}
	if config.Healthcheck.Interval == 0 || config.Healthcheck.Timeout == 0 {
		t.Error("health check: interval and timeout must be stated, the engine's 30 s are slow")
	}
	if len(config.Cmd) != 0 || config.User != "" || config.StopSignal != "" {
		t.Errorf("command, user and stop signal are the user's: got %q %q %q", config.Cmd, config.User, config.StopSignal)
	}
	if _, ok := config.Volumes["/var/lib/hub"]; !ok || len(config.Volumes) != 1 {
		t.Errorf("volumes: want /var/lib/hub alone, got %v", config.Volumes)
	}
	for _, label := range []string{"title", "description", "licenses", "version", "revision", "base.name"} {
		if config.Labels["org.opencontainers.image."+label] == "" {
			t.Errorf("label org.opencontainers.image.%s is missing", label)
		}
	}
	if got := config.Labels["org.opencontainers.image.licenses"]; got != "AGPL-3.0-or-later" {
		t.Errorf("licence label: %q", got)
	}
}

func TestImageFiles(t *testing.T) {
	c := dockertest.Run(t, hubsOff, image, "sleep", "infinity")
	t.Run("modes", func(t *testing.T) {
		// Asked of a container that hubinit has not touched: as root it tightens the first two.
		got := dockertest.Docker(t, "run", "--rm", "--label", "cloud4-test", "--entrypoint", "stat", image, "-c", "%a %U %n",
			"/run/hub", "/var/lib/hub", "/etc/hub", "/etc/hub/hub.json", "/etc/hub/hub.d", "/etc/hub/init.d", "/etc/hub/stop.d",
			"/usr/local/bin/hubinit", "/usr/local/bin/confighub", "/usr/local/bin/healthhub", "/usr/local/bin/loghub")
		want := strings.Join([]string{
			"1777 root /run/hub", "1777 root /var/lib/hub", "755 root /etc/hub", "644 root /etc/hub/hub.json",
			"755 root /etc/hub/hub.d", "755 root /etc/hub/init.d", "755 root /etc/hub/stop.d",
			"755 root /usr/local/bin/hubinit", "755 root /usr/local/bin/confighub",
			"755 root /usr/local/bin/healthhub", "755 root /usr/local/bin/loghub",
		}, "\n")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("no set-id file of ours", func(t *testing.T) {
		const find = "find / -xdev -perm /6000 -type f | sort"
		parent := dockertest.Docker(t, "run", "--rm", "--label", "cloud4-test", "--entrypoint", "sh",
			c.Inspect(t, `{{index .Config.Labels "org.opencontainers.image.base.name"}}`), "-c", find)
		if diff := cmp.Diff(parent, c.Shell(t, find)); diff != "" {
			t.Error("against the parent image:", diff)
		}
	})
	t.Run("nothing left behind by apt", func(t *testing.T) {
		if got := c.Shell(t, "ls /var/lib/apt/lists; find /var/cache/apt -type f -size +0; find /var/log -name '*.log'"); got != "" {
			t.Errorf("found %s", got)
		}
	})
	t.Run("account for USER", func(t *testing.T) {
		if got := c.Shell(t, "getent passwd nonroot"); !strings.HasPrefix(got, "nonroot:x:65532:65532:") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("certificates of the public authorities", func(t *testing.T) {
		c.Shell(t, "test -s /etc/ssl/certs/ca-certificates.crt")
	})
	t.Run("every program says its version", func(t *testing.T) {
		for _, program := range []string{"hubinit", "confighub", "healthhub", "loghub"} {
			if out := c.Shell(t, program+" --version 2>&1"); !strings.Contains(out, program) {
				t.Errorf("%s --version: %q", program, out)
			}
		}
	})
	t.Run("settings of the image pass the strict check", func(t *testing.T) {
		c.Shell(t, "confighub --check && healthhub --check && loghub --check")
	})
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name    string
		flags   []string
		command []string
		want    int
		says    string
	}{
		{"success", nil, []string{"true"}, 0, ""},
		{"the service's own", nil, []string{"sh", "-c", "exit 42"}, 42, ""},
		{"highest", nil, []string{"sh", "-c", "exit 255"}, 255, ""},
		{"killed by KILL", nil, []string{"sh", "-c", "kill -KILL $$"}, 137, ""},
		{"killed by SEGV", nil, []string{"sh", "-c", "kill -SEGV $$"}, 139, ""},
		{"not found", nil, []string{"no-such-program"}, 127, "no-such-program"},
		{"not executable", nil, []string{"/etc/passwd"}, 126, "/etc/passwd"},
		{"no command", nil, nil, 2, "CMD"},
		{"counted as success", []string{"--env", "HUB_SUCCESS_CODES=143"}, []string{"sh", "-c", "exit 143"}, 0, ""},
		{"not counted as success", []string{"--env", "HUB_SUCCESS_CODES=143"}, []string{"sh", "-c", "exit 3"}, 3, ""},
		{"wrong setting of the init", []string{"--env", "HUB_HUBS=nonsense"}, []string{"true"}, 78, "HUB_HUBS"},
	}
	for _, hubs := range []string{"none", "loghub,healthhub,confighub"} {
		for _, test := range tests {
			t.Run(fmt.Sprintf("%s, hubs %s", test.name, hubs), func(t *testing.T) {
				t.Parallel()
				flags := test.flags
				if !slices.Contains(flags, "HUB_HUBS=nonsense") {
					flags = append([]string{"--env", "HUB_HUBS=" + hubs}, flags...)
				}
				c := dockertest.Run(t, flags, image, test.command...)
				if got := c.Wait(t); got != test.want {
					t.Errorf("exit code: want %d, got %d", test.want, got)
				}
				if logs := c.Logs(t); !strings.Contains(logs, test.says) {
					t.Errorf("logs: want %q in them, got:\n%s", test.says, logs)
				}
			})
		}
	}
}

func TestStop(t *testing.T) {
	tests := []struct {
		name    string
		service string
		flags   []string
		want    int
		within  time.Duration
	}{
		{"a service that ends by itself", `trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done`, nil, 7, 2 * time.Second},
		{"a service that does not care", `echo up; exec sleep infinity`, nil, 143, 2 * time.Second},
		{"a service that needs 15 s", `trap 'sleep 15; exit 9' TERM; echo up; while :; do sleep 0.1; done`,
			[]string{"--time", "20"}, 9, 18 * time.Second},
		{"a service that never ends", `trap '' TERM; echo up; while :; do sleep 0.1; done`,
			[]string{"--time", "2"}, 137, 5 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := dockertest.Run(t, nil, image, "sh", "-c", test.service)
			dockertest.WaitFor(t, 20*time.Second, "the service says it is up", func() bool {
				return strings.Contains(c.Stdout(t), "up")
			})
			code, took := c.Stop(t, test.flags...)
			if code != test.want || took > test.within {
				t.Errorf("want code %d within %v, got %d after %v", test.want, test.within, code, took)
			}
		})
	}
}

func TestStopSignalIsTheServices(t *testing.T) {
	c := dockertest.Run(t, []string{"--stop-signal", "QUIT"}, image,
		"sh", "-c", `trap 'echo got QUIT; exit 0' QUIT; trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done`)
	dockertest.WaitFor(t, 20*time.Second, "the service says it is up", func() bool { return strings.Contains(c.Stdout(t), "up") })
	if code, _ := c.Stop(t); code != 0 || !strings.Contains(c.Stdout(t), "got QUIT") {
		t.Errorf("want the service to get QUIT and end with 0, got code %d", code)
	}
}

func TestProbe(t *testing.T) {
	fast := []string{"--health-interval", "1s", "--health-retries", "2"}
	health := func(c dockertest.Container) string { return c.Inspect(t, "{{.State.Health.Status}}") }
	t.Run("healthy without any setting", func(t *testing.T) {
		t.Parallel()
		c := dockertest.Run(t, fast, image, "sleep", "infinity")
		dockertest.WaitFor(t, 20*time.Second, "healthy", func() bool { return health(c) == "healthy" })
	})
	t.Run("healthy with the hubs off", func(t *testing.T) {
		t.Parallel()
		c := dockertest.Run(t, append(fast, hubsOff...), image, "sleep", "infinity")
		dockertest.WaitFor(t, 20*time.Second, "healthy", func() bool { return health(c) == "healthy" })
	})
	t.Run("unhealthy when the entry point is bypassed", func(t *testing.T) {
		t.Parallel()
		c := dockertest.Run(t, append(fast, "--entrypoint", "sleep", "--health-start-period", "1s"), image, "infinity")
		dockertest.WaitFor(t, 20*time.Second, "unhealthy", func() bool { return health(c) == "unhealthy" })
		if out := c.Inspect(t, "{{range .State.Health.Log}}{{.Output}}{{end}}"); !strings.Contains(out, "hubinit") {
			t.Errorf("want the probe to say that hubinit does not run, got %q", out)
		}
	})
	t.Run("follows a critical check", func(t *testing.T) {
		t.Parallel()
		settings := `{"health": {"checks": {"file": {"kind": "exec", "command": ["test", "-e", "/tmp/well"],
			"interval": "1s", "fall": 1, "rise": 1, "criticality": "critical"}}}}`
		c := dockertest.Run(t, append(fast, "--env", "SETTINGS="+settings, "--entrypoint", "sh"), image,
			"-c", `echo "$SETTINGS" >/etc/hub/hub.d/test.json; touch /tmp/well; exec hubinit sleep infinity`)
		dockertest.WaitFor(t, 20*time.Second, "healthy", func() bool { return health(c) == "healthy" })
		c.Shell(t, "rm /tmp/well")
		dockertest.WaitFor(t, 20*time.Second, "unhealthy", func() bool { return health(c) == "unhealthy" })
	})
}

// TestLeastRights runs the whole life of a container with all that can be taken from it taken.
func TestLeastRights(t *testing.T) {
	least := []string{"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", "12345:12345"}
	tests := []struct {
		name  string
		flags []string
		says  string
	}{
		{"with a volume and /run/hub", []string{"--tmpfs", "/run/hub:noexec,nosuid,mode=1777"}, ""},
		{"as root without capabilities", []string{"--tmpfs", "/run/hub:noexec,nosuid,mode=1777", "--user", "0"}, ""},
		{"with no writable state", []string{"--tmpfs", "/run/hub:noexec,nosuid,mode=1777",
			"--tmpfs", "/var/lib/hub:ro"}, "/var/lib/hub"},
		{"with nothing writable at all", []string{"--tmpfs", "/var/lib/hub:ro"}, "/run/hub"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := dockertest.Run(t, append(slices.Clone(least), test.flags...), image,
				"sh", "-c", `trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done`)
			dockertest.WaitFor(t, 20*time.Second, "the service says it is up", func() bool {
				return strings.Contains(c.Stdout(t), "up")
			})
			if code, took := c.Stop(t); code != 5 || took > 2*time.Second {
				t.Errorf("want code 5 within 2 s, got %d after %v", code, took)
			}
			if logs := c.Logs(t); !strings.Contains(logs, "bye") || !strings.Contains(logs, test.says) {
				t.Errorf("want the last line of the service and %q in the logs, got:\n%s", test.says, logs)
			}
		})
	}
}

// TestServiceSurroundings holds what a service may count on and what it must never see.
func TestServiceSurroundings(t *testing.T) {
	const report = `echo "cwd=$(pwd) umask=$(umask) one=$ONE"; ls /proc/self/fd | tr '\n' ' '; echo
grep -E '^Sig(Blk|Ign)' /proc/self/status | tr -d '\n'; echo; env | grep -E '^HUB_(TOKEN|.*_FDS?)' ; echo done`
	c := dockertest.Run(t, []string{"--workdir", "/srv", "--env", "ONE=1", "--env", "HUB_TOKEN=secret"}, image, "sh", "-c", report)
	c.Wait(t)
	out := c.Stdout(t)
	for _, want := range []string{
		"cwd=/srv umask=0022 one=1", "SigBlk:\t0000000000000000SigIgn:\t0000000000000000", "done",
		"0 1 2 3 \n", // 3 is the directory that ls itself reads
	} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q, got:\n%s", want, out)
		}
	}
	if strings.Contains(out, "HUB_TOKEN") || strings.Contains(out, "_FD") {
		t.Errorf("the service sees what is the hubs' own:\n%s", out)
	}
}

// TestBadSettings holds the first law: a mistake in the settings of a hub costs that hub, not the service.
func TestBadSettings(t *testing.T) {
	for section, mistake := range map[string]string{
		"health": `{"health": {"checks": {"page": {"kind": "nonsense"}}}}`,
		"log":    `{"log": {"stdout": "nonsense"}}`,
	} {
		t.Run(section, func(t *testing.T) {
			t.Parallel()
			c := dockertest.Run(t, []string{"--env", "MISTAKE=" + mistake, "--entrypoint", "sh"}, image, "-c",
				`echo "$MISTAKE" >/etc/hub/hub.d/test.json; exec hubinit sh -c "echo up; exec sleep infinity"`)
			dockertest.WaitFor(t, 20*time.Second, "the service says it is up", func() bool {
				return strings.Contains(c.Logs(t), "up")
			})
			dockertest.WaitFor(t, 10*time.Second, "the hub is off in init.json", func() bool {
				return strings.Contains(strings.ReplaceAll(c.Shell(t, "cat /run/hub/init.json"), " ", ""), `"state":"off"`)
			})
			if logs := c.Logs(t); !strings.Contains(logs, "test.json:1") || !strings.Contains(logs, "nonsense") {
				t.Errorf("want the mistake with its line in the logs, got:\n%s", logs)
			}
		})
	}
}

// TestSecondStart holds that a stopped container starts again, as after a reboot of the host.
func TestSecondStart(t *testing.T) {
	c := dockertest.Run(t, nil, image, "sh", "-c", `echo up; exec sleep infinity`)
	for round := 1; round <= 3; round++ {
		dockertest.WaitFor(t, 20*time.Second, fmt.Sprintf("start %d", round), func() bool {
			return strings.Count(c.Stdout(t), "up") == round
		})
		if code, took := c.Stop(t); code != 143 || took > 2*time.Second {
			t.Fatalf("stop %d: code %d after %v", round, code, took)
		}
		if round < 3 {
			dockertest.Docker(t, "start", string(c))
		}
	}
}
