// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// needRoot ends a test of what only root can prepare. Where CI=true there is no way round it.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

func TestOpenLog(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	do(t, os.MkdirAll(at("logs/sub"), 0o755))
	do(t, os.MkdirAll(at("secret"), 0o755))
	write(t, at("logs/sub/a.log"), "good\n")
	write(t, at("secret/a.log"), "secret\n")
	write(t, at("never/../logs/b.log"), "b\n")
	for name, target := range map[string]string{
		"logs/root.log": at("logs/sub/a.log"), "logs/relative.log": "sub/../sub/a.log",
		"logs/rootdir": at("logs/sub"), "logs/chain.log": "root.log",
		"logs/user.log": at("secret/a.log"), "logs/userdir": at("secret"), "logs/viauser.log": "userdir/a.log",
		"logs/loop.log": "loop.log", "logs/broken.log": "nothing",
		"logs/proc.log": "/proc/self/environ", "logs/stdout.log": "/dev/stdout", "logs/hidden.log": at("secret/a.log"),
	} {
		do(t, os.Symlink(target, at(name)))
	}
	foreign(t, at("logs/user.log"))
	foreign(t, at("logs/userdir"))
	do(t, unix.Mkfifo(at("logs/fifo.log"), 0o600))
	do(t, unix.Mknod(at("logs/device.log"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	tests := []struct{ path, text, err string }{
		{"logs/sub/a.log", "good\n", ""},
		{"logs/root.log", "good\n", ""},
		{"logs/relative.log", "good\n", ""},
		{"logs/rootdir/a.log", "good\n", ""},
		{"logs/chain.log", "good\n", ""},
		{"logs/user.log", "", "user.log is a link, and root does not own it"},
		{"logs/userdir/a.log", "", "userdir is a link, and root does not own it"},
		{"logs/viauser.log", "", "userdir is a link, and root does not own it"},
		{"logs/hidden.log", "", "files below " + at("secret") + " are no logs"},
		{"secret/a.log", "", "are no logs"},
		{"logs/loop.log", "", "too many levels"},
		{"logs/broken.log", "", "no such file"},
		{"logs/nothing.log", "", "no such file"},
		{"logs/b.log/x", "", "not a directory"},
		{"logs/proc.log", "", "it leads to /proc/self/environ: files below /proc are no logs"},
		{"logs/stdout.log", "", "are no logs"},
		{"logs/fifo.log", "", "no regular file"},
		{"logs/device.log", "", "no regular file"},
		{"logs/sub", "", "no regular file"},
	}
	for _, tt := range tests {
		for name, open := range map[string]func(string) (*os.File, error){
			"openat2": func(path string) (*os.File, error) { return openLog(path, at("secret")) },
			"step by step": func(path string) (*os.File, error) {
				if why := forbidden(path, at("secret")); why != "" {
					return nil, &os.PathError{Op: why, Path: path, Err: unix.EPERM}
				}
				fd, err := openWalking(path, []string{at("secret")})
				if err != nil {
					return nil, err
				}
				return os.NewFile(uintptr(fd), path), judge(fd)
			},
		} {
			f, err := open(at(tt.path))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%s, %s: %v, want %s", tt.path, name, err, tt.err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, %s: %v", tt.path, name, err)
				continue
			}
			if text, err := io.ReadAll(f); string(text) != tt.text || err != nil {
				t.Errorf("%s, %s: %q %v", tt.path, name, text, err)
			}
			do(t, f.Close())
		}
	}
	for _, path := range []string{
		"/proc/1/environ", "/run/secrets/x", "/var/run/secrets/x", "/var/lib/hub/0/identity/id.pem", "/dev/null", "/sys/kernel/profiling",
	} {
		if f, err := openLog(path); err == nil {
			t.Errorf("%s can be opened", path)
			f.Close()
		}
	}
}

// TestOpenLogSwapped: while a path is opened again and again, its directory becomes a link to a secret and back. What
// is opened is never the secret.
func TestOpenLogSwapped(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, name := range []string{"logs/app", "secret"} {
		do(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
		write(t, filepath.Join(dir, name, "a.log"), name)
	}
	path, app := filepath.Join(dir, "logs/app/a.log"), filepath.Join(dir, "logs/app")
	do(t, os.Symlink(filepath.Join(dir, "secret"), app+".link"))
	foreign(t, app+".link")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default: // exchange the directory and the link
				_ = unix.Renameat2(unix.AT_FDCWD, app, unix.AT_FDCWD, app+".link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	opened, refused := 0, 0
	for end := time.Now().Add(patience); (opened < 200 || refused < 200) && time.Now().Before(end); {
		open := func() (int, error) { return openWalking(path, nil) }
		if (opened+refused)%2 == 0 {
			open = func() (int, error) {
				f, err := openLog(path)
				if err != nil {
					return -1, err
				}
				defer f.Close()
				return unix.Dup(int(f.Fd()))
			}
		}
		fd, err := open()
		if err != nil {
			refused++
			continue
		}
		opened++
		b := make([]byte, 20)
		n, _ := unix.Read(fd, b)
		do(t, unix.Close(fd))
		if got := string(b[:n]); got != "logs/app" {
			t.Errorf("read %q", got)
			break
		}
	}
	close(stop)
	<-done
	if opened == 0 || refused == 0 {
		t.Errorf("opened %d times, refused %d times: this tests nothing", opened, refused)
	}
}

// TestFilesUnmatched: a pattern without a file is listed until there is one.
func TestFilesUnmatched(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	pattern := filepath.Join(dir, "logs", "*.log")
	f := b.files(pattern)
	f.lookNow(false)
	got, more := f.Skipped()
	if diff := cmp.Diff([]Skip{{pattern, "no file matches so far"}}, got); diff != "" || more != 0 {
		t.Error(diff, more)
	}
	do(t, os.Mkdir(filepath.Join(dir, "logs"), 0o755))
	write(t, filepath.Join(dir, "logs", "a.log"), "there\n")
	f.lookNow(false)
	if got, _ = f.Skipped(); len(got) > 0 {
		t.Error(got)
	}
	b.want("there")
}

// TestFilesSkipped: what is not read is listed, said once, and taken up when it may be read.
func TestFilesSkipped(t *testing.T) {
	needRoot(t)
	b := newBench(t)
	dir := t.TempDir()
	do(t, os.Chmod(filepath.Dir(dir), 0o755))
	path := filepath.Join(dir, "locked.log")
	write(t, path, "inside\n")
	do(t, os.Chmod(path, 0))
	do(t, unix.Mkfifo(filepath.Join(dir, "fifo.log"), 0o600))
	write(t, filepath.Join(dir, "old.log.gz"), "x")
	write(t, filepath.Join(dir, "renamed.log"), "\x1f\x8b\x08...")
	for _, name := range []string{"fifo.log", "old.log.gz", "renamed.log"} {
		do(t, os.Chmod(filepath.Join(dir, name), 0o644))
	}
	f := b.files(filepath.Join(dir, "*"))
	look := func() {
		var done sync.WaitGroup
		done.Go(func() { // without root's right to read everything, on a thread that ends with it
			runtime.LockOSThread()
			if _, err := unix.SetfsuidRetUid(65534); err != nil {
				t.Error(err)
			}
			f.lookNow(false)
			f.lookNow(false)
		})
		done.Wait()
	}
	want := func(want ...Skip) {
		t.Helper()
		got, more := f.Skipped()
		for i := range got {
			got[i].Path = filepath.Base(got[i].Path)
			got[i].Reason = got[i].Reason[strings.LastIndex(got[i].Reason, ": ")+1:]
		}
		if diff := cmp.Diff(want, got); diff != "" || more != 0 {
			t.Error(diff, more)
		}
	}
	fifo := Skip{"fifo.log", "it is no regular file"}
	gz, renamed := Skip{"old.log.gz", "it is compressed"}, Skip{"renamed.log", "it is compressed"}
	look()
	want(fifo, Skip{"locked.log", " permission denied"}, gz, renamed)
	look()
	do(t, os.Chmod(path, 0o644))
	do(t, os.Remove(filepath.Join(dir, "old.log.gz")))
	look()
	b.want("inside")
	want(fifo, renamed)
	if n := strings.Count(b.said(), "is not read"); n != 4 {
		t.Errorf("said %d times:\n%s", n, b.said())
	}
	for i := range maxSkipped + 7 {
		do(t, os.Symlink("/dev/null", filepath.Join(dir, strconv.Itoa(i))))
	}
	look()
	if list, more := f.Skipped(); len(list) != maxSkipped || more != 9 {
		t.Errorf("%d are named, %d counted", len(list), more)
	}
}
