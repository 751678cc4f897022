// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/hubfile"
)

// write makes a file of that size that was changed so long ago.
func write(t *testing.T, path string, bytes int, age time.Duration) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, bytes), 0o644); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	bytes := func(b hubfile.Bytes) *hubfile.Bytes { return &b }
	write(t, dir+"/f", 100, time.Hour)
	write(t, dir+"/future", 100, -time.Hour)
	write(t, dir+"/b/1.tar.zst", 3000, 50*time.Hour)
	write(t, dir+"/b/x/2.tar.zst", 0, 20*time.Hour)
	write(t, dir+"/b/3.tar", 5000, time.Hour)
	if err := os.Mkdir(dir+"/b/4.tar.zst", 0o755); err != nil { // a directory is no backup
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		check setting.Check
		state health.State
		text  string
	}{
		"exists":          {setting.Check{Path: "/f"}, health.Pass, "/f has 100 B and is 1h old"},
		"absent":          {setting.Check{Path: "/g"}, health.Fail, "/g does not exist"},
		"old":             {setting.Check{Path: "/f", MaxAge: time.Minute}, health.Fail, "/f is 1h old, at most 1m is allowed"},
		"young enough":    {setting.Check{Path: "/f", MaxAge: 2 * time.Hour}, health.Pass, ""},
		"too young":       {setting.Check{Path: "/f", MinAge: 2 * time.Hour}, health.Fail, "/f is 1h old, at least 2h is wanted"},
		"small":           {setting.Check{Path: "/f", MinSize: bytes(101)}, health.Fail, "/f has 100 B, at least 101B is wanted"},
		"large":           {setting.Check{Path: "/f", MaxSize: bytes(99)}, health.Fail, "at most 99B is allowed"},
		"future":          {setting.Check{Path: "/future", MaxAge: time.Minute}, health.Warn, "in the future"},
		"future, no age":  {setting.Check{Path: "/future"}, health.Pass, "is 0s old"},
		"must not be":     {setting.Check{Path: "/f", Absent: true}, health.Fail, "/f is there, and must not be"},
		"is not":          {setting.Check{Path: "/g", Absent: true}, health.Pass, "is not there"},
		"newest":          {setting.Check{Path: "/b/*.zst", MaxAge: 26 * time.Hour}, health.Fail, "/b/1.tar.zst is 50h old"},
		"newest below":    {setting.Check{Path: "/b/**/*.zst", MaxAge: 26 * time.Hour}, health.Pass, "/b/x/2.tar.zst has 0 B and is 20h old"},
		"newest is empty": {setting.Check{Path: "/b/**/*.zst", MinSize: bytes(1)}, health.Fail, "/b/x/2.tar.zst has 0 B"},
		"one of two":      {setting.Check{Path: "/b/{1,2}.tar*"}, health.Pass, "/b/1.tar.zst"},
		"none matches":    {setting.Check{Path: "/b/*.gz"}, health.Fail, "no file matches /b/*.gz"},
		"no directory":    {setting.Check{Path: "/nowhere/*.gz"}, health.Fail, "no file matches"},
		"none may match":  {setting.Check{Path: "/b/*.gz", Absent: true}, health.Pass, ""},
		"some match":      {setting.Check{Path: "/b/*.tar", Absent: true}, health.Fail, "/b/3.tar is there"},
	} {
		t.Run(name, func(t *testing.T) {
			test.check.Kind = setting.KindFile
			r := newLook(t, test.check, dir)(t.Context())
			expect(t, r, test.state, test.text)
			acceptable(t, r)
		})
	}
	r := newLook(t, setting.Check{Kind: setting.KindFile, Path: "/b/**/*.zst", MaxAge: 26 * time.Hour}, dir)(t.Context())
	if v := measured(t, r, "age"); v.Value < 20*3600 || v.Value > 20*3600+60 || v.Fail == nil || *v.Fail != 26*3600 {
		t.Errorf("%+v", v)
	}
	if v := measured(t, r, "matches"); v.Value != 2 {
		t.Errorf("%+v", v)
	}
}

func TestFileGlobIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		write(t, filepath.Join(dir, strconv.Itoa(i)), 0, time.Duration(i)*time.Hour)
	}
	if f, err := newest("", dir+"/*", 5); err != nil || f.matches != 5 || f.path != dir+"/0" {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := newest("", dir+"/*", 4); err == nil || !strings.Contains(err.Error(), "matches more than 4 files") {
		t.Error(err)
	}
}

// A file that may not be looked at is neither there nor absent. Root may look at everything, so another user does.
func TestFileUnreadable(t *testing.T) {
	if path := os.Getenv("TEST_UNREADABLE"); path != "" {
		for _, path := range []string{path + "/f", path + "/*", filepath.Dir(path) + "/**/f"} {
			for _, absent := range []bool{false, true} {
				r := newLook(t, setting.Check{Kind: setting.KindFile, Path: path, Absent: absent}, "")(t.Context())
				expect(t, r, health.Unknown, " is not for this user (")
				if !r.Blind || r.Action == "" {
					t.Errorf("%+v", r)
				}
			}
		}
		return
	}
	dir, err := os.MkdirTemp("", "unreadable") // t.TempDir is below directories of this user alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	write(t, dir+"/closed/f", 1, 0)
	for path, mode := range map[string]os.FileMode{dir: 0o755, dir + "/closed": 0} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(dir+"/closed", 0o755)
	asOther(t, "TestFileUnreadable", "TEST_UNREADABLE="+dir+"/closed")
}

// asOther runs a test of this program as a user without rights: this one, unless that is root.
func asOther(t *testing.T, test string, env ...string) {
	t.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "as-other")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "probe.test")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-test.run=^"+test+"$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), append(env, "TMPDIR="+dir)...)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as another user: %v\n%s", err, out)
	}
}

func BenchmarkFile(b *testing.B) {
	benchLook(b, setting.Check{Kind: setting.KindFile, Path: "/etc/passwd"}, "")
}
func BenchmarkFileGlob(b *testing.B) {
	dir := b.TempDir()
	for i := range 100 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	benchLook(b, setting.Check{Kind: setting.KindFile, Path: dir + "/*"}, "")
}
