// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	stdsyslog "log/syslog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"golang.org/x/sys/unix"
)

// patience is how long a slow machine has for what takes milliseconds.
const patience = 60 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: no %s", patience, what)
		}
	}
}

// syslog runs a socket until the test ends; stop ends it earlier.
func (b *bench) syslog(path string) (s *Syslog, stop func()) {
	b.t.Helper()
	s, err := OpenSyslog(b.sh, SyslogOptions{Path: path})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var stopped atomic.Bool
	stop = func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	}
	b.t.Cleanup(stop)
	return s, stop
}

func dial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// all gives every record in the spool with all of its attributes.
func (b *bench) all() []map[string]any {
	b.t.Helper()
	d, err := b.sp.Peek(100000, 64<<20)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []map[string]any
	for i := range d.Len() {
		var r otlp.Record
		if err := otlp.DecodeRecord(d.Record(i), &r); err != nil {
			b.t.Fatal(err)
		}
		m := map[string]any{"body": string(r.Body.Bytes)}
		for _, kv := range r.Attributes {
			if m[kv.Key] != nil {
				b.t.Errorf("attribute %s stands twice", kv.Key)
			}
			if m[kv.Key] = string(kv.Value.Bytes); kv.Value.Kind == otlp.KindInt {
				m[kv.Key] = kv.Value.Int()
			}
		}
		out = append(out, m)
	}
	return out
}

// TestSyslogCallers: programs as they are write to /dev/log, which leads to the socket in a mount namespace of theirs.
func TestSyslogCallers(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "log")
	b.syslog(path)
	callers := []struct{ needs, script string }{
		{"logger", `logger -p daemon.err -t unit "from logger"`},
		{"logger", `logger -p user.info --rfc5424 "from logger 5424"`},
		{"python3", `python3 -c 'import syslog; syslog.openlog("py", syslog.LOG_PID); syslog.syslog(syslog.LOG_WARNING, "from python")'`},
		{"busybox", `busybox logger -t bb "from busybox"`},
	}
	want := 0
	for _, c := range callers {
		if _, err := exec.LookPath(c.needs); err != nil {
			t.Logf("without %s", c.needs)
			continue
		}
		want++
		cmd := exec.Command("unshare", "--mount", "sh", "-c", `mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && ln -s "$1" /dev/log && `+c.script, "sh", path)
		if os.Geteuid() != 0 {
			cmd.Args = append([]string{"unshare", "--user", "--map-root-user"}, cmd.Args[1:]...)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c.script, err, out)
		}
	}
	w, err := stdsyslog.Dial("unixgram", path, stdsyslog.LOG_MAIL|stdsyslog.LOG_NOTICE, "gotag")
	do(t, err)
	do(t, w.Notice("from go"))
	do(t, w.Close())
	eventually(t, "message of each caller", func() bool { return len(b.all()) == want+1 })
	for _, r := range b.all() {
		name, _ := r[attrName].(string)
		caller := strings.Fields(r["body"].(string)[strings.Index(r["body"].(string), "from "):])[1]
		if caller == "go" {
			exe, err := os.Executable()
			do(t, err)
			caller = filepath.Base(exe)
			if r[attrPID] != int64(os.Getpid()) {
				t.Errorf("pid of this process is %v", r[attrPID])
			}
		}
		// A caller that ends at once may be gone before anybody can look its name up.
		if name != "" && !strings.HasPrefix(name, caller) {
			t.Errorf("%q is from %q", r["body"], name)
		}
		if r[attrUser] != int64(os.Geteuid()) || r[event.AttrSocket] != path {
			t.Errorf("%v", r)
		}
	}
	b.uniqueUIDs()
}

func TestSyslogMessages(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "log")
	_, stop := b.syslog(path)
	c := dial(t, path)
	const beyond = 40 << 10
	do(t, c.SetWriteBuffer(messageBytes+2*beyond))
	long := strings.Repeat("x", 200<<10)
	for _, text := range []string{
		"plain", "<13>NUL at the end\x00", "", "\x00", "<13>line\n", "<13>two\nlines", "<13>" + long, strings.Repeat("y", messageBytes+beyond),
		"<999>odd", "<", "<>x", "\xff\xfe",
	} {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	stop() // what was sent is taken
	var got []string
	for _, r := range b.all() {
		body := strings.TrimPrefix(r["body"].(string), "<13>")
		if cut := r[event.AttrCut]; (cut != nil) != strings.HasPrefix(body, "yyy") || cut != nil && cut != int64(beyond) {
			t.Errorf("%.10q: %v bytes cut", body, cut)
		}
		got = append(got, fmt.Sprintf("%.9s %d", body, len(body)))
	}
	want := "plain 5|NUL at th 14|line 4|two\nlines 9|xxxxxxxxx 204800|yyyyyyyyy 262144|<999>odd 8|< 1|<>x 3|\uFFFD 3"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket is still there")
	}
}

// TestSyslogNeverBlocks: nobody takes records on, and every caller gets on all the same. What was kept is the worst.
func TestSyslogNeverBlocks(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "log")
	stuck, entered := make(chan struct{}), make(chan struct{}, 1)
	b.sh.Emit = func(string, *otlp.Record) {
		select {
		case entered <- struct{}{}:
		default:
		}
		<-stuck
	}
	s, stop := b.syslog(path)
	c := dial(t, path)
	do(t, c.SetWriteDeadline(time.Now().Add(patience)))
	send := func(text string) {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send("<13>first")
	<-entered
	const each = 2 * mailboxMessages
	for i := range each {
		send(fmt.Sprintf("<15>debug %d", i))
		if i%8 == 0 {
			send(fmt.Sprintf("<11>error %d", i))
		}
	}
	eventually(t, "everything taken", func() bool { return s.Stat().Position == 1+each+each/8 })
	if st := s.Stat(); st.Lost == 0 {
		t.Error("nothing was lost: this tests nothing")
	}
	close(stuck)
	stop()
	kept := map[string]int{}
	lost := int64(0)
	for _, r := range b.all() {
		if n, ok := r["hub.loss.count"].(int64); ok {
			lost += n
			if r["hub.loss.reason"] != event.ReasonSlow {
				t.Errorf("%v", r)
			}
			continue
		}
		kept[r["body"].(string)[:5]]++
	}
	if kept["error"] != each/8 || int64(kept["debug"])+lost != each || lost != s.Stat().Lost {
		t.Errorf("kept %v, told of %d lost, counted %d; want all %d errors", kept, lost, s.Stat().Lost, each/8)
	}
	b.uniqueUIDs()
}

func TestSyslogPlace(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	open := func() error {
		s, err := OpenSyslog(b.sh, SyslogOptions{Path: path})
		if err == nil {
			do(t, s.close()) // as a kill does: the path stays
		}
		return err
	}
	do(t, open())
	do(t, open()) // in place of a dead one
	do(t, os.Remove(path))
	write(t, path, "a file")
	if err := open(); !errors.Is(err, ErrTaken) {
		t.Errorf("over a file: %v", err)
	}
	do(t, os.Remove(path))
	for _, network := range []string{"unix", "unixgram"} {
		fd, err := unix.Socket(unix.AF_UNIX, map[string]int{"unix": unix.SOCK_STREAM, "unixgram": unix.SOCK_DGRAM}[network], 0)
		do(t, err)
		do(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
		if network == "unix" {
			do(t, unix.Listen(fd, 1))
		}
		if err := open(); !errors.Is(err, ErrTaken) {
			t.Errorf("over a living %s: %v", network, err)
		}
		do(t, unix.Close(fd))
		do(t, open())
		do(t, os.Remove(path))
	}
	path = filepath.Join(dir, "nothing/log")
	if err := open(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v %v", names, err)
	}
}

// TestSyslogPathTaken: what happens to the path while the socket is open.
func TestSyslogPathTaken(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "log")
	s, err := OpenSyslog(b.sh, SyslogOptions{Path: path})
	do(t, err)
	buf := make([]byte, messageBytes)
	old := dial(t, path)
	_, err = old.Write([]byte("to the old one"))
	do(t, err)
	do(t, os.Remove(path))
	s.keep(t.Context(), buf)
	_, err = dial(t, path).Write([]byte("to the new one"))
	do(t, err)
	if _, err := old.Write([]byte("x")); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a writer to the old one is not told: %v", err)
	}
	do(t, s.drain(s.sock, buf, false))
	s.write(nil, true)
	b.want("to the old one", "to the new one")

	do(t, os.RemoveAll(filepath.Dir(path)))
	s.keep(t.Context(), buf)
	s.keep(t.Context(), buf)
	if n := strings.Count(b.said(), "cannot be made again"); n != 1 {
		t.Errorf("said %d times: %s", n, b.said())
	}
	do(t, os.Mkdir(filepath.Dir(path), 0o700))
	s.keep(t.Context(), buf)
	dial(t, path)

	do(t, os.Remove(path))
	other, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	do(t, err)
	defer other.Close()
	s.keep(t.Context(), buf)
	s.keep(t.Context(), buf)
	do(t, s.unlink())
	if _, err := os.Lstat(path); err != nil {
		t.Error("somebody else's socket was removed")
	}
	if n := strings.Count(b.said(), "go elsewhere"); n != 1 {
		t.Errorf("said %d times: %s", n, b.said())
	}
	do(t, s.close())
}

// TestSyslogForeignDescriptors: what somebody sends along does not fill our table.
func TestSyslogForeignDescriptors(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "log")
	_, stop := b.syslog(path)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	do(t, err)
	defer unix.Close(fd)
	do(t, unix.Connect(fd, &unix.SockaddrUnix{Name: path}))
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		do(t, err)
		return len(names)
	}
	before := count()
	for range 100 {
		do(t, unix.Sendmsg(fd, []byte("take this"), unix.UnixRights(0, 1, 2), nil, 0))
	}
	eventually(t, "all messages", func() bool { return len(b.all()) == 100 })
	if n := count(); n > before+10 {
		t.Errorf("%d descriptors, before %d", n, before)
	}
	stop()
}

func TestPrograms(t *testing.T) {
	p := programs{}
	c := unix.Ucred{Pid: int32(os.Getpid()), Uid: 1, Gid: 2}
	now := time.Now()
	first := p.of(c, now)
	if first.start == "" || first.comm == "" || p.of(c, now.Add(time.Hour)) != first {
		t.Errorf("%+v", first)
	}
	first.start = "1" // as if the number had gone to another process
	if p.of(c, now.Add(2*time.Hour)) == first {
		t.Error("taken for the one that was")
	}
	if gone := p.of(unix.Ucred{Pid: 1 << 30}, now); gone.comm != "" || len(gone.attrs) == 0 {
		t.Errorf("%+v", gone)
	}
	for i := range int32(2 * maxPrograms) {
		p.of(unix.Ucred{Uid: uint32(i)}, now)
	}
	if len(p) > maxPrograms {
		t.Errorf("%d remembered", len(p))
	}
}
