// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// How a container sees its groups: version 2 with a namespace of its own; version 1, whose mount shows its own group
// alone under the path of the machine; and a unit on a machine.
var (
	version2 = files{
		"/proc/self/cgroup":    "0::/\n",
		"/proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n",
		"/proc/meminfo":        "MemTotal:        8000000 kB\nMemFree: 100 kB\nMemAvailable:    2000000 kB\n",

		"/sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
		"/sys/fs/cgroup/memory.max":         "1000000000\n",
		"/sys/fs/cgroup/memory.current":     "900000000\n",
		"/sys/fs/cgroup/memory.stat":        "anon 700000000\nfile 200000000\ninactive_file 200000000\n",
		"/sys/fs/cgroup/memory.events":      "low 0\nhigh 0\nmax 5\noom 3\noom_kill 2\n",
	}
	version1 = files{
		"/proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n",
		"/proc/self/mountinfo": "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n" +
			"35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:9 - cgroup cgroup rw,memory\n",
		"/proc/meminfo": "MemTotal:        8000000 kB\n",

		"/sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000000\n",
		"/sys/fs/cgroup/memory/memory.usage_in_bytes": "990000000\n",
		"/sys/fs/cgroup/memory/memory.stat":           "inactive_file 1\ntotal_inactive_file 10000000\n",
		"/sys/fs/cgroup/memory/memory.oom_control":    "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
	}
)

// with is a copy of f with some files changed; "" takes one away.
func (f files) with(changes files) files {
	f = maps.Clone(f)
	maps.Copy(f, changes)
	maps.DeleteFunc(f, func(_, text string) bool { return text == "" })
	return f
}

func TestMemory(t *testing.T) {
	const noLimit1 = "9223372036854771712\n"
	for name, test := range map[string]struct {
		tree  files
		check setting.Check
		state health.State
		text  string
		used  float64
	}{
		"version 2": {version2, setting.Check{}, health.Pass, "70 % of 1.0 GB used", 0.7},
		"version 1": {version1, setting.Check{}, health.Fail, "98 % of 1.0 GB used (fail at 97%)", 0.98},
		"warns":     {version2, setting.Check{Warn: "70%"}, health.Warn, "(warn at 70%)", 0.7},
		"by rest":   {version2, setting.Check{Fail: "301MB"}, health.Fail, "(fail at 301MB)", 0.7},
		"version 2 without a limit": {version2.with(files{"/sys/fs/cgroup/memory.max": "max\n"}), setting.Check{},
			health.Pass, "700 MB used, without a limit: 8.5 % of the machine's 8.2 GB", 0.0854},
		"version 1 without a limit": {version1.with(files{"/sys/fs/cgroup/memory/memory.limit_in_bytes": noLimit1}), setting.Check{},
			health.Pass, "without a limit", 0.1196},
		"limit of a group above": {version2.with(files{
			"/proc/self/cgroup":                                      "0::/system.slice/hub.service\n",
			"/sys/fs/cgroup/memory.max":                              "", // the machine's uppermost group has none
			"/sys/fs/cgroup/system.slice/memory.max":                 "800000000\n",
			"/sys/fs/cgroup/system.slice/memory.current":             "790000000\n",
			"/sys/fs/cgroup/system.slice/memory.stat":                "inactive_file 0\n",
			"/sys/fs/cgroup/system.slice/hub.service/memory.max":     "max\n",
			"/sys/fs/cgroup/system.slice/hub.service/memory.current": "1000\n",
			"/sys/fs/cgroup/system.slice/hub.service/memory.stat":    "inactive_file 0\n",
		}), setting.Check{}, health.Fail, "98 % of 800 MB used", 0.9875},
		"host": {version2, setting.Check{Scope: setting.ScopeHost}, health.Pass, "75 % of 8.2 GB used", 0.75},
		"a machine's uppermost group": {version2.with(files{"/sys/fs/cgroup/memory.max": "", "/sys/fs/cgroup/memory.current": ""}),
			setting.Check{}, health.Pass, "75 % of 8.2 GB used", 0.75},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind = setting.KindMemory
			r := newLook(t, test.check, test.tree.plant(t))(t.Context())
			expect(t, r, test.state, test.text)
			acceptable(t, r)
			if used := measured(t, r, "used").Value; used < test.used-0.0001 || used > test.used+0.0001 {
				t.Errorf("used %v, want %v", used, test.used)
			}
		})
	}
}

// What the kernel does not count is said to be so, and never 0.
func TestMemoryUnsupported(t *testing.T) {
	for name, test := range map[string]struct {
		tree files
		text string
	}{
		"controller off": {version2.with(files{"/sys/fs/cgroup/memory.max": "", "/sys/fs/cgroup/memory.current": "",
			"/sys/fs/cgroup/cgroup.controllers": "cpu\n"}), "cgroup_enable=memory"},
		"nothing mounted":       {version2.with(files{"/proc/self/mountinfo": "1 2 0:1 / / rw - ext4 /dev/sda rw\n"}), "no control group"},
		"version 1, no file":    {version1.with(files{"/sys/fs/cgroup/memory/memory.usage_in_bytes": ""}), "this kernel has none here"},
		"version 1, unmounted":  {version1.with(files{"/proc/self/mountinfo": "1 2 0:1 / / rw - ext4 /dev/sda rw\n"}), "no control group"},
		"no /proc":              {files{}, "this kernel has none here"},
		"an old kernel's, host": {files{"/proc/meminfo": "MemTotal: 5 kB\nMemFree: 1 kB\n"}, "does not say what is available"},
	} {
		t.Run(name, func(t *testing.T) {
			check := setting.Check{Kind: setting.KindMemory}
			if strings.HasSuffix(name, "host") {
				check.Scope = setting.ScopeHost
			}
			wantUnsupported(t, newLook(t, check, test.tree.plant(t))(t.Context()), test.text)
		})
	}
}

// A kill is told for the window, whatever is used since.
func TestMemoryKills(t *testing.T) {
	for name, test := range map[string]struct {
		tree  files
		scope string
		path  string
		text  string // with the number of kills
	}{
		"version 2": {version2, "", "/sys/fs/cgroup/memory.events", "oom 9\noom_kill %d\n"},
		"version 1": {version1.with(files{"/sys/fs/cgroup/memory/memory.usage_in_bytes": "1000\n"}), "", "/sys/fs/cgroup/memory/memory.oom_control", "under_oom 0\noom_kill %d\n"},
		"host":      {version2, setting.ScopeHost, "/proc/vmstat", "nr_free_pages 5\noom_kill %d\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root := test.tree.plant(t)
				set := func(n int) { files{test.path: fmt.Sprintf(test.text, n)}.add(t, root) }
				set(7)
				look := newLook(t, setting.Check{Kind: setting.KindMemory, Scope: test.scope, Window: time.Minute}, root)
				expect(t, look(t.Context()), health.Pass, " used") // before healthhub: nobody knows when
				time.Sleep(10 * time.Second)
				set(9)
				expect(t, look(t.Context()), health.Warn, "2 processes killed")
				time.Sleep(30 * time.Second)
				r := look(t.Context())
				expect(t, r, health.Warn, "killed for want of memory in the last 1m; ")
				if v := measured(t, r, "oom_kills"); v.Value != 9 || v.Unit != "c" {
					t.Errorf("%+v", v)
				}
				time.Sleep(time.Minute)
				look(t.Context())
				time.Sleep(time.Second)
				expect(t, look(t.Context()), health.Pass, " used")
			})
		})
	}
	r := newLook(t, setting.Check{Kind: setting.KindMemory}, version2.with(files{"/sys/fs/cgroup/memory.events": ""}).plant(t))(t.Context())
	expect(t, r, health.Pass, "")
	for _, v := range r.Values {
		if v.Name == "oom_kills" {
			t.Errorf("kills that nobody counts: %+v", v)
		}
	}
}

// A real group with a real limit, and a process in it that takes more.
func TestMemoryOfThisMachine(t *testing.T) {
	r := newLook(t, setting.Check{Kind: setting.KindMemory, Scope: setting.ScopeHost}, "")(t.Context())
	acceptable(t, r)
	if v := measured(t, r, "limit").Value; v < 64e6 {
		t.Errorf("%v bytes of memory", v)
	}
	needRoot(t)
	const controller = "memory"
	real, err := tree("").findCgroup(controller)
	if err != nil {
		t.Fatal(err)
	}
	if real.v2 {
		if err := os.WriteFile(real.top+"/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(real.top, "hub-probe-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	limit, own, fstype, super := "/memory.limit_in_bytes", "4:memory:/", "cgroup", "rw,memory"
	if real.v2 {
		limit, own, fstype, super = "/memory.max", "0::/", "cgroup2", "rw"
	}
	if err := os.WriteFile(dir+limit, []byte("33554432"), 0); err != nil {
		t.Fatal(err)
	}
	root := files{
		"/proc/self/cgroup":    own + filepath.Base(dir) + "\n",
		"/proc/self/mountinfo": "35 31 0:32 / /groups rw - " + fstype + " cgroup " + super + "\n",
		"/proc/meminfo":        "MemTotal:        8000000 kB\n",
	}.plant(t)
	if err := os.Symlink(real.top, root+"/groups"); err != nil {
		t.Fatal(err)
	}
	look := newLook(t, setting.Check{Kind: setting.KindMemory}, root)
	expect(t, look(t.Context()), health.Pass, " of 34 MB used")
	// tail keeps the last line, and this one does not end.
	hungry := exec.Command("sh", "-c", "echo $$ >"+dir+"/cgroup.procs && exec tail -n1 /dev/zero")
	if err := hungry.Run(); err == nil || hungry.ProcessState.ExitCode() != -1 {
		t.Fatalf("the process that takes too much: %v", err)
	}
	expect(t, look(t.Context()), health.Warn, "1 process killed for want of memory")
}

func BenchmarkMemory(b *testing.B) { benchLook(b, setting.Check{Kind: setting.KindMemory}, "") }
func BenchmarkMemoryHost(b *testing.B) {
	benchLook(b, setting.Check{Kind: setting.KindMemory, Scope: setting.ScopeHost}, "")
}
