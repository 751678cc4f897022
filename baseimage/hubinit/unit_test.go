// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"a/tool": 0o755, "b/tool": 0o755, "a/plain": 0o644, "b/plain": 0o755, "c/plain": 0o644} {
		os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755)
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	at := func(names ...string) string {
		for i, n := range names {
			names[i] = filepath.Join(dir, n)
		}
		return strings.Join(names, ":")
	}
	for _, test := range []struct{ name, path, want, wantErr string }{
		{"tool", at("a", "b"), at("a/tool"), ""},
		{"tool", at("b", "a"), at("b/tool"), ""},
		{"plain", at("a", "b"), at("b/plain"), ""}, // the one that can be executed
		{"plain", at("a", "c"), "", "not executable"},
		{"none", at("a"), "", "not found in PATH=" + at("a")},
		{"./x", at("a"), "./x", ""},
		{"", at("a"), "", "empty"},
		{"tool", "a", "a/tool", ""}, // relative to the service's directory
	} {
		got, err := findProgram(test.name, test.path, dir)
		if got != test.want || (err == nil) != (test.wantErr == "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
			t.Errorf("%q in %s: %q, %v", test.name, test.path, got, err)
		}
	}
}

func TestELFLoader(t *testing.T) {
	path, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if loader := elfLoader(head(path)); !strings.HasPrefix(loader, "/lib") {
		t.Errorf("the loader of %s is %q", path, loader)
	}
}

// FuzzELFLoader: headers are read from any file somebody names as a service.
func FuzzELFLoader(f *testing.F) {
	f.Add(head("/bin/sh"))
	f.Add([]byte("\x7fELF\x01\x02"))
	f.Fuzz(func(t *testing.T, data []byte) { elfLoader(data) })
}

func TestParseStat(t *testing.T) {
	got, ok := parseStat("7 (a ) R 1) S 3 4 5 0 -1")
	if want := (process{parent: 3, session: 5}); !ok || got != want {
		t.Errorf("got %+v %v", got, ok)
	}
	if _, ok := parseStat("7 (a"); ok {
		t.Error("half a line was taken")
	}
}

func TestServiceEnvFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, serviceEnvFile)
	if got, err := readServiceEnv(dir); got != nil || err != nil {
		t.Errorf("absent: %q %v", got, err)
	}
	os.WriteFile(file, []byte("A=1\x00B=x=y\nz\x00HUB_SLOT=9\x00LD_PRELOAD=/srv/x.so\x00PATH=/srv\x00BASH_ENV=/srv/x\x00=\x00none\x00C="), 0o600)
	got, err := readServiceEnv(dir)
	if diff := cmp.Diff([]string{"A=1", "B=x=y\nz", "C="}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	os.Rename(file, file+".real")
	os.Symlink(file+".real", file)
	if got, err := readServiceEnv(dir); got != nil || err == nil {
		t.Errorf("through a link: %q %v", got, err)
	}
	os.Remove(file)
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readServiceEnv(dir); got != nil || err == nil {
		t.Errorf("from a pipe: %q %v", got, err)
	}
}

func TestLookupAccount(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	os.WriteFile(passwd, []byte("root:x:0:0:root:/root:/bin/sh\nweb:x:100:101:Web:/srv/web:/bin/sh\n77:x:5:6::/odd:\nbroken:x:a:b:::\n"), 0o644)
	os.WriteFile(group, []byte("web:x:101:\nlog:x:4:root,web\ntls:x:9:web\n"), 0o644)
	for spec, want := range map[string]account{
		"web":     {uid: 100, gid: 101, groups: []uint32{4, 9}, home: "/srv/web"},
		"100":     {uid: 100, gid: 101, groups: []uint32{4, 9}, home: "/srv/web"},
		"web:log": {uid: 100, gid: 4, home: "/srv/web"},
		"web:7":   {uid: 100, gid: 7, home: "/srv/web"},
		"4711":    {uid: 4711},
		"4711:12": {uid: 4711, gid: 12},
		"77":      {uid: 5, gid: 6, home: "/odd"}, // a name wins
	} {
		got, err := lookupAccount(spec, passwd, group)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(account{})); diff != "" || err != nil {
			t.Errorf("%s: %s %v", spec, diff, err)
		}
	}
	for _, spec := range []string{"nobody", "web:none", "broken", "-1"} {
		if got, err := lookupAccount(spec, passwd, group); err == nil {
			t.Errorf("%s: %+v", spec, got)
		}
	}
}

// TestWatchSeesWrites is the fact that the stall detection rests on: an
// edge-triggered watch tells a full pipe that moves from one that does not.
func TestWatchSeesWrites(t *testing.T) {
	s := &supervisor{}
	p, err := s.openPipe("stdout")
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(p.r)
	defer syscall.Close(p.w)
	ps := &logPipes{all: []*logPipe{p}, epoll: -1}
	ps.watchWrites()
	defer syscall.Close(ps.epoll)
	line := []byte(strings.Repeat("x", 2500)) // takes a page of the pipe for itself
	for !p.full(unread(p.r)) {
		syscall.Write(p.w, line)
	}
	for pollFD(p.w, pollOut, 0) {
		syscall.Write(p.w, line)
	}
	if level := unread(p.r); level > pipeSize(p.r)*3/4 {
		t.Errorf("%d bytes: the case of a pipe that is full below 75 %% is not met", level)
	}
	ps.written()
	if ps.written()[0] {
		t.Error("a write is seen where none was")
	}
	before := unread(p.r)
	syscall.Read(p.r, make([]byte, len(line)))
	if ps.written()[0] {
		t.Error("a read is taken for a write")
	}
	syscall.Write(p.w, line)
	if !ps.written()[0] || unread(p.r) != before {
		t.Error("a write is not seen")
	}
}

func TestAlarms(t *testing.T) {
	a := alarms{}
	var rang []string
	ring := func(name string) func() { return func() { rang = append(rang, name) } }
	a.set("later", time.Hour, ring("later"))
	a.set("replaced", 0, ring("wrong"))
	a.set("replaced", time.Hour, ring("wrong"))
	a.set("cleared", 0, ring("wrong"))
	a.clear("cleared", "never set")
	a.set("now", 0, func() { ring("now")(); a.set("again", 0, ring("again")) })
	if a.next() != 0 {
		t.Errorf("next in %v", a.next())
	}
	a.run()
	a.run()
	if diff := cmp.Diff([]string{"now", "again"}, rang); diff != "" {
		t.Error(diff)
	}
	if next := a.next(); next < 59*time.Minute {
		t.Errorf("next in %v", next)
	}
}

func TestOOMCount(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string) {
		file := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const v1 = "11:cpu,cpuacct:/docker/x\n5:memory:/docker/x\n"
	const v2 = "0::/\n"
	if kills, ok := countOOM(oomFiles(root, v1+v2)); ok {
		t.Errorf("counted %d where nothing counts", kills)
	}
	write("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
	if kills, ok := countOOM(oomFiles(root, v1)); kills != 3 || !ok {
		t.Errorf("version 1 in a cgroup namespace: %d %v", kills, ok)
	}
	write("memory/docker/x/memory.oom_control", "oom_kill 4\n")
	if kills, ok := countOOM(oomFiles(root, v1)); kills != 4 || !ok {
		t.Errorf("version 1: %d %v", kills, ok)
	}
	write("memory.events", "low 0\noom 9\noom_kill 5\noom_group_kill 0\n")
	if kills, ok := countOOM(oomFiles(root, v2)); kills != 5 || !ok {
		t.Errorf("version 2: %d %v", kills, ok)
	}
}
