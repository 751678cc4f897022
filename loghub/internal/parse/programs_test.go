// SPDX-License-Identifier: AGPL-3.0-or-later

package parse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/rs/zerolog"
)

// These tests run the programs that are installed: a version that writes otherwise than the corpus is noticed.

const nobody = 65534 // some programs refuse root

// installed finds a program that .ci/needs installs; PostgreSQL's are in directories of their versions.
func installed(t *testing.T, name string) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/"} {
		if found, _ := filepath.Glob(pattern + name); len(found) > 0 {
			return slices.Max(found)
		}
	}
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed: see .ci/needs", name)
	} else if err != nil {
		t.Skipf("%s is not installed: see .ci/needs", name)
	}
	return path
}

// own is a directory of nobody's, with a name short enough for sockets.
func own(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fmt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// unprivileged is a command that runs in dir, as nobody where we are root, and ends with the test.
func unprivileged(t *testing.T, dir, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

// dialed waits for a unix socket.
func dialed(t *testing.T, path string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unix", path)
		if err == nil {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// reads says whether every line is read as the format, but those that begin with one of spare, and which levels there are.
func reads(t *testing.T, format string, lines []byte, levels []string, spare ...string) {
	t.Helper()
	if len(lines) == 0 {
		t.Fatal("nothing was written")
	}
	seen := map[string]bool{}
	for line := range bytes.Lines(lines) {
		line = bytes.TrimRight(line, "\n")
		p := parse.New(parse.Options{})
		rec := otlp.Record{Observed: uint64(time.Now().UnixNano())}
		p.Parse(line, &rec)
		seen[parse.Level(rec.Severity)] = true
		if p.Format() == format && rec.Time != 0 && len(rec.Attributes) > 0 && time.Since(time.Unix(0, int64(rec.Time))) < time.Hour {
			continue
		}
		if !slices.ContainsFunc(spare, func(s string) bool { return strings.HasPrefix(strings.TrimLeft(string(line), " "), s) }) && len(line) > 0 {
			t.Errorf("read as %s, at %d: %s", p.Format(), rec.Time, line)
		}
	}
	for _, level := range levels {
		if !seen[level] {
			t.Errorf("no line of %s is %q", format, level)
		}
	}
}

func TestNginx(t *testing.T) {
	path, dir := installed(t, "nginx"), own(t)
	socket, conf := filepath.Join(dir, "s"), filepath.Join(dir, "conf")
	text := strings.ReplaceAll(`daemon off; master_process off; pid DIR/pid; error_log DIR/error info; events {}
http { access_log DIR/access; client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/c;
server { listen unix:DIR/s; root DIR; location /up { proxy_pass http://127.0.0.1:1; } } }`, "DIR", dir)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := unprivileged(t, dir, path, "-e", filepath.Join(dir, "error"), "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dialed(t, socket).Close()
	client := http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	for _, target := range []string{"/conf?a=1", "/none", "/up/x", "/a%22b%5c"} {
		r, err := client.Get("http://web.example.net" + target)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
	}
	c := dialed(t, socket)
	fmt.Fprintf(c, "\x16\x03\x01 garbage\r\n\r\n")
	c.Read(make([]byte, 100))
	c.Close()
	cmd.Process.Signal(syscall.SIGQUIT)
	cmd.Wait()
	for name, levels := range map[string][]string{"access": {"info"}, "error": {"info", "error"}} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		reads(t, map[string]string{"access": "access", "error": "nginx-error"}[name], bytes.ToValidUTF8(data, []byte("\uFFFD")), levels)
	}
}

func TestRedis(t *testing.T) {
	path, dir := installed(t, "redis-server"), own(t)
	socket := filepath.Join(dir, "s")
	cmd := unprivileged(t, dir, path, "--port", "0", "--unixsocket", socket, "--loglevel", "debug", "--save", "", "--logfile", filepath.Join(dir, "log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := dialed(t, socket)
	fmt.Fprintf(c, "SHUTDOWN NOSAVE\r\n") // at a signal, handler and server write at once
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	c.Close()
	data, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	reads(t, "redis", data, []string{"info", "warn"}, ".", "_", "'", "`", "(", "|", "Redis", "Running", "Port", "PID", "Valkey", "https")
}

func TestPostgres(t *testing.T) {
	path, dir := installed(t, "postgres"), own(t)
	if out, err := unprivileged(t, dir, installed(t, "initdb"), "-D", "data", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, tt := range []struct{ prefix, zone string }{
		{"%m [%p] ", "UTC"},
		{"%m [%p] %q%u@%d ", "Europe/Berlin"},
		{"%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ", "America/Sao_Paulo"}, // whose abbreviation is -03
	} {
		cmd := unprivileged(t, dir, path, "--single", "-D", "data", "-c", "log_line_prefix="+tt.prefix, "-c", "log_timezone="+tt.zone,
			"-c", "log_error_verbosity=verbose", "postgres")
		cmd.Stdin = strings.NewReader("select 1/0;\nselect * from nothere;\ndo $$ begin raise warning 'careful'; end $$;\n")
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, said.Bytes())
		}
		t.Run(tt.prefix, func(t *testing.T) { readsPostgres(t, said.Bytes(), tt.zone) })
	}
}

func readsPostgres(t *testing.T, lines []byte, zone string) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	levels := map[string]bool{}
	for line := range bytes.Lines(lines) {
		if line[0] == '\t' {
			continue // of the line before
		}
		p := parse.New(parse.Options{Loc: loc})
		rec := otlp.Record{Observed: uint64(time.Now().UnixNano())}
		p.Parse(bytes.TrimRight(line, "\n"), &rec)
		levels[parse.Level(rec.Severity)] = true
		if age := time.Since(time.Unix(0, int64(rec.Time))); p.Format() != "postgres" || age < -time.Minute || age > time.Hour {
			t.Errorf("read as %s, %v old: %s", p.Format(), age, line)
		}
	}
	for _, level := range []string{"info", "warn", "error"} {
		if !levels[level] {
			t.Errorf("no line is %q in %s", level, lines)
		}
	}
}

// TestGoConsoles: what zerolog's console writer and the standard library's log write comes back.
func TestGoConsoles(t *testing.T) {
	var b bytes.Buffer
	z := zerolog.New(zerolog.ConsoleWriter{Out: &b, NoColor: true, TimeFormat: time.RFC3339}).With().Timestamp().Caller().Logger()
	z.Error().Err(errors.New(`a "b" c`)).Int("n", 3).Str("s", "two words").Msg("it broke: x=1 y")
	z.Trace().Msg("quiet")
	reads(t, "zerolog", b.Bytes(), []string{"error", "trace"})
	p := parse.New(parse.Options{})
	var rec otlp.Record
	line, _, _ := bytes.Cut(b.Bytes(), []byte("\n"))
	p.Parse(line, &rec)
	got := map[string]string{}
	for _, kv := range rec.Attributes {
		got[kv.Key] = string(kv.Value.Bytes)
	}
	if string(rec.Body.Bytes) != "it broke: x=1 y" || got["error"] != `a "b" c` || got["s"] != "two words" {
		t.Errorf("%s: %q, %v", line, rec.Body.Bytes, got)
	}
	b.Reset()
	for _, flags := range []int{log.Lshortfile, log.Llongfile | log.Lmicroseconds} {
		log.New(&b, "", log.LstdFlags|flags).Print("WARN: low on ink")
	}
	reads(t, "go", b.Bytes(), []string{"warn"})
}
