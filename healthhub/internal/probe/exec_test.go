// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

func TestExec(t *testing.T) {
	for name, test := range map[string]struct {
		script, convention string
		state              health.State
		text               string
		blind              bool
	}{
		"passes":         {"echo fine", "", health.Pass, "fine", false},
		"says nothing":   {"exit 0", "", health.Pass, "exit code 0", false},
		"fails":          {"echo no >&2; exit 3", "", health.Fail, "exit code 3: no", false},
		"shell could":    {"exit 127", "", health.Unknown, "127", true},
		"docker":         {"exit 1", "docker", health.Fail, "exit code 1", false},
		"docker, shell":  {"exit 127", "docker", health.Fail, "127", false},
		"nagios ok":      {"echo OK - 3 users", "nagios", health.Pass, "OK - 3 users", false},
		"nagios warns":   {"echo WARNING - 9 users; exit 1", "nagios", health.Warn, "WARNING - 9 users", false},
		"nagios fails":   {"exit 2", "nagios", health.Fail, "exit code 2", false},
		"nagios unknown": {"echo what; exit 3", "nagios", health.Unknown, "what", false},
		"killed":         {"echo bye; kill -9 $$", "", health.Fail, "killed by SIGKILL: bye", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := look(t, setting.Check{Kind: setting.KindExec, Command: []string{"/bin/sh", "-c", test.script}, Convention: test.convention}, 5*time.Second)
			expect(t, got, test.state, test.text)
			if got.Blind != test.blind {
				t.Errorf("blind %t", got.Blind)
			}
		})
	}
	absent := setting.Check{Kind: setting.KindExec, Command: []string{"/nowhere/check"}}
	if got := look(t, absent, time.Second); !got.Blind {
		t.Errorf("a program that is not there: %+v", got)
	}
	absent.Convention = setting.ConventionDocker
	expect(t, look(t, absent, time.Second), health.Fail, "no such file")
}

func TestExecOutputIsBounded(t *testing.T) {
	got := look(t, setting.Check{Kind: setting.KindExec, Command: []string{"/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"}}, 20*time.Second)
	if len(got.Text) > health.MaxTextBytes || len(got.Text) < 4000 {
		t.Errorf("%d bytes of text", len(got.Text))
	}
}

func gone(t *testing.T, pidFile string) {
	t.Helper()
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, 5*time.Second, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ") // dead; its new parent may be slow to reap it
	})
}

func waitFor(t *testing.T, within time.Duration, done func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s", within)
		}
	}
}

func BenchmarkExec(b *testing.B) {
	f, err := New(setting.Check{Kind: setting.KindExec, Command: []string{"/bin/true"}}, Place{RunDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, f)
}
