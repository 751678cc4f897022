// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
	"cloud4.internal/hub/loghub/internal/receive"
	"github.com/klauspost/compress/gzip"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// TestMain runs loghub itself when the test binary is started as it.
func TestMain(m *testing.M) {
	if os.Getenv("LOGHUB_TEST_MAIN") != "" {
		os.Unsetenv("LOGHUB_TEST_MAIN")
		main()
	}
	os.Exit(m.Run())
}

func waitFor(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(d)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("after %s: no %s", d, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pipe is a pipe both ends of which the test holds, as hubinit does.
type pipe struct {
	r *os.File // non-blocking
	w *os.File // blocking
}

func newPipe(t *testing.T) pipe {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	p := pipe{os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")}
	t.Cleanup(func() { p.r.Close(); p.w.Close() })
	return p
}

// container is the surroundings of one loghub: what hubinit would give it.
type container struct {
	t        *testing.T
	run      string
	state    string
	settings string
	pipes    map[string]pipe
	out, err *os.File // the container's own; nil: files in run
	memory   *os.File
	secrets  *os.File // what confighub hands over; nil: nothing
	env      []string
	program  string // loghub itself; "": this test binary as loghub
}

func newContainer(t *testing.T, settings string) *container {
	t.Helper()
	dir := t.TempDir()
	c := &container{t: t, run: filepath.Join(dir, "run"), state: filepath.Join(dir, "state"),
		settings: filepath.Join(dir, "hub.json"), pipes: map[string]pipe{}}
	for _, d := range []string{c.run, filepath.Join(c.state, "identity")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(c.settings, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stdout", "stderr", "hubs"} {
		c.pipes[name] = newPipe(t)
	}
	c.out = must(os.OpenFile(filepath.Join(dir, "out"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600))
	c.err = must(os.OpenFile(filepath.Join(dir, "err"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600))
	t.Cleanup(func() { c.out.Close(); c.err.Close() })
	return c
}

// enrol copies an identity into the container's state.
func (c *container) enrol(ca *identitytest.CA, id spiffe.ID) {
	c.t.Helper()
	ca.Issue(c.t, id, filepath.Join(c.state, "identity"))
}

// hub is a running loghub.
type hub struct {
	cmd   *exec.Cmd
	log   *lockedBuffer
	done  chan struct{}
	ready bool
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (c *container) start() *hub {
	c.t.Helper()
	h := c.begin()
	if !h.ready {
		c.t.Fatalf("loghub did not get ready\n%s", h.log)
	}
	return h
}

// begin starts loghub and waits until it is ready, or dead.
func (c *container) begin() *hub {
	c.t.Helper()
	program := c.program
	if program == "" {
		program = os.Args[0]
	}
	h := &hub{cmd: exec.Command(program), log: &lockedBuffer{}, done: make(chan struct{})}
	h.cmd.Args = []string{"loghub", "--config", c.settings, "run"}
	fds := []string{}
	add := func(f *os.File) int {
		h.cmd.ExtraFiles = append(h.cmd.ExtraFiles, f)
		return 2 + len(h.cmd.ExtraFiles)
	}
	for name, p := range c.pipes {
		fds = append(fds, fmt.Sprintf("%s=%d", name, add(p.r)))
	}
	ready := newPipe(c.t)
	ctl := newPipe(c.t)
	h.cmd.Env = append([]string{
		"LOGHUB_TEST_MAIN=1", "HUB_LOG_SYSLOG=off", "HUB_RUN_DIR=" + c.run, "HUB_STATE_DIR=" + c.state, "HUB_SLOT=0",
		"HUB_LOG_FDS=" + strings.Join(fds, ","),
		fmt.Sprintf("HUB_OUT_FDS=stdout=%d,stderr=%d", add(c.out), add(c.err)),
		fmt.Sprintf("HUB_READY_FD=%d", add(ready.w)),
		fmt.Sprintf("HUB_CTL_FD=%d", add(ctl.w)),
	}, c.env...)
	if c.memory != nil {
		h.cmd.Env = append(h.cmd.Env, fmt.Sprintf("HUB_SPOOL_FD=%d", add(c.memory)))
	}
	if c.secrets != nil {
		h.cmd.Env = append(h.cmd.Env, fmt.Sprintf("HUB_SECRETS_FD=%d", add(c.secrets)))
	}
	h.cmd.Stderr = h.log
	if err := h.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ready.w.Close()
	go func() {
		_ = h.cmd.Wait()
		close(h.done)
	}()
	c.t.Cleanup(func() { h.kill() })
	if err := ready.r.SetReadDeadline(time.Now().Add(60 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, 1)
	n, _ := ready.r.Read(b)
	h.ready = n == 1 && b[0] == '\n'
	return h
}

func (h *hub) kill() {
	_ = h.cmd.Process.Kill()
	<-h.done
}

// stop sends TERM and returns how long loghub took to end.
func (h *hub) stop(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-h.done:
	case <-time.After(10 * time.Second):
		t.Fatalf("loghub does not stop\n%s", h.log)
	}
	return time.Since(start)
}

// genesis is a loghub receive in this process, on a port of its own that
// survives stop and start.
type genesis struct {
	t        *testing.T
	ca       *identitytest.CA
	id       string // directory of its identity
	files    *identity.Files
	dir      string
	address  string
	rc       *receive.Receiver
	requests atomic.Int64
	// front, if set, may answer a request in the receiver's stead.
	front atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
	srv   *http.Server

	read  int64 // of the receiver's file, by count
	lines int   // in there
}

var logID = must(spiffe.ForGenesis("cloud4.internal", "log"))

var webID = must(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))

func newGenesis(t *testing.T, opts ...identitytest.Option) *genesis {
	t.Helper()
	ca := identitytest.New(t, opts...)
	g := &genesis{t: t, ca: ca, dir: t.TempDir()}
	g.id = ca.Dir(t, logID)
	g.files = identity.Open(g.id)
	var err error
	g.rc, err = receive.New(receive.Options{Dir: g.dir, PeerQuota: 1 << 30, FileBytes: 1 << 30, Own: g.files.ID, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	g.start()
	t.Cleanup(func() {
		if g.srv != nil {
			g.srv.Close()
		}
	})
	return g
}

func (g *genesis) url() string { return "https://" + g.address }

func (g *genesis) start() {
	g.t.Helper()
	address := g.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.address = ln.Addr().String()
	srv := mtls.Server(g.files, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.requests.Add(1)
		if front := g.front.Load(); front != nil && (*front)(w, r) {
			return
		}
		g.rc.ServeHTTP(w, r)
	}), func(f mtls.Refusal) {})
	g.srv = srv
	go func() {
		if err := srv.ServeTLS(ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
			g.t.Error(err)
		}
	}()
}

func (g *genesis) stop() { g.srv.Close() }

// event is a line of the receiver.
type received map[string]any

func (r received) text(key string) string { s, _ := r[key].(string); return s }

// events reads what arrived from web.shop.vm1, in order.
func (g *genesis) events() []received {
	g.t.Helper()
	f, err := os.Open(filepath.Join(g.dir, "web.shop.vm1.jsonl"))
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []received
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 4<<20)
	for sc.Scan() {
		var r received
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			continue // being written
		}
		out = append(out, r)
	}
	return out
}

// count is how many lines have arrived. Each look reads what came since the last one: all of it again, under the
// race detector, would take the processor from those that are waited for.
func (g *genesis) count() int {
	f, err := os.Open(filepath.Join(g.dir, "web.shop.vm1.jsonl"))
	if err != nil {
		return g.lines
	}
	defer f.Close()
	fresh := must(io.ReadAll(io.NewSectionReader(f, g.read, math.MaxInt64-g.read)))
	g.read += int64(len(fresh))
	g.lines += bytes.Count(fresh, []byte{'\n'})
	return g.lines
}

// waitCount waits for n lines, for as long as some arrive: how fast they do is the machine's affair.
func (g *genesis) waitCount(n int, c *container, h *hub) {
	g.t.Helper()
	had, since := g.count(), time.Now()
	for had < n {
		if now := g.count(); now > had {
			had, since = now, time.Now()
		}
		if time.Since(since) > 60*time.Second {
			_, state := c.logState()
			g.t.Fatalf("%d of %d lines, and none for a minute\n%+v\n%s", had, n, state, h.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (g *genesis) messages(filter func(received) bool) []string {
	var out []string
	for _, e := range g.events() {
		if filter == nil || filter(e) {
			out = append(out, e.text("message"))
		}
	}
	return out
}

func (g *genesis) waitMessages(want int, filter func(received) bool) []string {
	g.t.Helper()
	var got []string
	waitFor(g.t, 20*time.Second, fmt.Sprintf("%d events", want), func() bool {
		got = g.messages(filter)
		return len(got) >= want
	})
	return got
}

// logState reads log.json.
func (c *container) logState() (health.Node, section) {
	c.t.Helper()
	f, err := health.ReadFile(c.run, health.LogFile)
	if err != nil {
		return health.Node{}, section{}
	}
	var s section
	if err := json.Unmarshal(f.Section, &s); err != nil {
		c.t.Fatal(err)
	}
	return f.Health, s
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// readBody unpacks a request and gives it back.
func readBody(r *http.Request) (text string, restore func()) {
	packed := must(io.ReadAll(r.Body))
	body := packed
	if r.Header.Get("Content-Encoding") == "gzip" {
		body = must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(packed)))))
	}
	return string(body), func() { r.Body = io.NopCloser(bytes.NewReader(packed)) }
}
