// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// What df says of this machine's / is what the look says.
func TestDiskIsDf(t *testing.T) {
	out, err := exec.Command("df", "-B1", "--output=pcent,avail", "/").Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(out))
	wantPart, _ := strconv.ParseFloat(strings.TrimSuffix(words[len(words)-2], "%"), 64)
	wantFree, _ := strconv.ParseFloat(words[len(words)-1], 64)
	r := newLook(t, setting.Check{Kind: setting.KindDisk}, "")(t.Context())
	acceptable(t, r)
	if part := measured(t, r, "used").Value * 100; part > wantPart || part < wantPart-1.5 { // df rounds up
		t.Errorf("%v %% used, df says %v: %s", part, wantPart, r.Text)
	}
	if free := measured(t, r, "free").Value; math.Abs(free-wantFree) > 500e6 { // others write meanwhile
		t.Errorf("%v free, df says %v", free, wantFree)
	}
	r = newLook(t, setting.Check{Kind: setting.KindInode}, "")(t.Context())
	acceptable(t, r)
	expect(t, r, health.Pass, "inodes used")
}

func TestDiskLevels(t *testing.T) {
	for name, test := range map[string]struct {
		warn, fail string
		state      health.State
		text       string
	}{
		"has room":        {"100%", "100%", health.Pass, " used, "},
		"warns":           {"0.0001%", "100%", health.Warn, "(warn at 0.0001%)"},
		"fails":           {"0.0001%", "0.001%", health.Fail, "(fail at 0.001%)"},
		"little left":     {"", "8000000TB", health.Fail, "(fail at 8000000TB)"},
		"part, much left": {"0.0001% 1B", "100%", health.Pass, ""},
		"both":            {"0.0001% 9000000TB", "100%", health.Warn, "(warn at 0.0001% 9000000TB)"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLook(t, setting.Check{Kind: setting.KindDisk, Path: "/", Warn: test.warn, Fail: test.fail}, "")(t.Context())
			expect(t, r, test.state, test.text)
		})
	}
}

func TestDiskThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		kind, path string
		check      func(t *testing.T, r Result)
	}{
		"no such path":  {setting.KindDisk, dir + "/x", func(t *testing.T, r Result) { expect(t, r, health.Fail, "does not exist") }},
		"no size":       {setting.KindDisk, "/proc", func(t *testing.T, r Result) { wantUnsupported(t, r, "has no size") }},
		"no inodes":     {setting.KindInode, "/proc", func(t *testing.T, r Result) { wantUnsupported(t, r, "does not count inodes") }},
		"below a root":  {setting.KindInode, "/", func(t *testing.T, r Result) { expect(t, r, health.Pass, "/: ") }},
		"below no root": {setting.KindInode, "/x", func(t *testing.T, r Result) { expect(t, r, health.Fail, "/x does not exist") }},
	} {
		t.Run(name, func(t *testing.T) {
			root := ""
			if strings.HasPrefix(name, "below") {
				root = dir
			}
			test.check(t, newLook(t, setting.Check{Kind: test.kind, Path: test.path}, root)(t.Context()))
		})
	}
}

// A memory disk of its own: full, then read-only.
func TestDiskFillsUp(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,nr_inodes=64"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	disk := newLook(t, setting.Check{Kind: setting.KindDisk, Path: dir}, "")
	inode := newLook(t, setting.Check{Kind: setting.KindInode, Path: dir}, "")
	expect(t, disk(t.Context()), health.Pass, "0 % of 1.0 MB used, 1.0 MB left")
	expect(t, inode(t.Context()), health.Pass, " of 64 inodes used")
	if err := os.WriteFile(filepath.Join(dir, "f"), make([]byte, 900<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, disk(t.Context()), health.Warn, "87 % of 1.0 MB used, 127 kB left (warn at 85% 50GB)")
	for i := range 61 {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, inode(t.Context()), health.Fail, "(fail at 95%)")
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	expect(t, disk(t.Context()), health.Warn, "127 kB left, mounted read-only (warn at 85% 50GB)")
}

// needRoot ends a test that needs root where there is none; CI has it.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

// A storage that never answers fails in time, costs one thread, and an answer that comes too late is not told.
func TestSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, calls := make(chan struct{}), atomic.Int32{}
		look := steady("/mnt/nas", func() Result {
			n := calls.Add(1)
			<-release
			return pass("call %d", n)
		})
		short := func() Result {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			return look(ctx)
		}
		expect(t, short(), health.Fail, "/mnt/nas gives no answer for 5s: its storage hangs")
		time.Sleep(time.Minute)
		expect(t, short(), health.Fail, "no answer for 1m10s")
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
		close(release)
		synctest.Wait()
		expect(t, short(), health.Pass, "call 2")
		expect(t, short(), health.Pass, "call 3")
	})
}

// A look that breaks does not take the program with it.
func TestSteadyBreaks(t *testing.T) {
	if r := steady("/x", func() Result { panic("no") })(t.Context()); !r.Blind || !strings.Contains(r.Text, "broke: no") {
		t.Errorf("%+v", r)
	}
}

func BenchmarkDisk(b *testing.B)  { benchLook(b, setting.Check{Kind: setting.KindDisk}, "") }
func BenchmarkInode(b *testing.B) { benchLook(b, setting.Check{Kind: setting.KindInode}, "") }

func benchLook(b *testing.B, check setting.Check, root string) {
	b.ReportAllocs()
	look := newLook(b, check, root)
	for b.Loop() {
		look(b.Context())
	}
}
