// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// events are the texts and paths of the history: "page pass→fail", "hub/restart warn→warn", a mark's text.
func events(t *testing.T, dir, query string) []string {
	t.Helper()
	code, body := ask(t, dir, "GET", "/v1/history"+query, "")
	var h ledger.History
	if err := json.Unmarshal([]byte(body), &h); err != nil || code != 200 || h.Schema != 1 {
		t.Fatalf("%d %s", code, body)
	}
	var out []string
	for _, e := range h.Events {
		if e.From != nil && e.To != nil {
			out = append(out, e.Path+" "+e.From.String()+"→"+e.To.String())
		} else {
			out = append(out, e.Path+e.Text)
		}
	}
	return out
}

func TestMuteAndHistory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir, setting.Settings{}, false)
	report := func(state string) {
		t.Helper()
		if code, body := ask(t, dir, "POST", "/v1/report", `{"name": "backup", "state": "`+state+`"}`); code != 204 {
			t.Fatal(code, body)
		}
	}
	mute := `{"path": "backup", "for": "1h", "reason": "disk ordered", "by": "ops"}`
	for body, code := range map[string]int{
		mute: 404, `{`: 400, `{"path": "backup", "for": "99d", "reason": "r", "by": "b"}`: 400,
	} {
		if got, text := ask(t, dir, "POST", "/v1/mutes", body); got != code {
			t.Errorf("%s: %d %s, want %d", body, got, text, code)
		}
	}
	report("warn")
	waitFor(t, 5*time.Second, func() bool { return strings.HasPrefix(states(t, dir), "warn backup=warn") })
	if code, body := ask(t, dir, "POST", "/v1/mutes", mute); code != 200 || !strings.Contains(body, `"until":`) {
		t.Fatal(code, body)
	}
	waitFor(t, 5*time.Second, func() bool { return strings.HasPrefix(states(t, dir), "pass backup=warn") })
	if code, body := ask(t, dir, "GET", "/v1/mutes", ""); code != 200 || !strings.Contains(body, "disk ordered") {
		t.Error(code, body)
	}
	// What gets worse is not what was muted.
	report("fail")
	waitFor(t, 5*time.Second, func() bool { return strings.HasPrefix(states(t, dir), "warn backup=fail") })
	if _, body := ask(t, dir, "GET", "/v1/mutes", ""); !strings.Contains(body, `"mutes":[]`) {
		t.Error(body)
	}
	all := strings.Join(events(t, dir, ""), "\n")
	for _, want := range []string{"backup is muted until", "by ops: disk ordered", "backup is not muted any more: it got worse: fail, was warn", "backup warn→fail", " pass→warn"} {
		if !strings.Contains(all, want) {
			t.Errorf("the history lacks %q:\n%s", want, all)
		}
	}
	if got := events(t, dir, "?path=backup&limit=1"); len(got) != 1 || !strings.HasPrefix(got[0], "backup ") {
		t.Errorf("of the check alone: %q", got)
	}
	if got := events(t, dir, "?since=1ms"); len(got) != 0 && len(got) == len(strings.Split(all, "\n")) {
		t.Errorf("of the last millisecond: %q", got)
	}
	for query, code := range map[string]int{
		"?path=bakcup": 404, "?path=hub/health": 200, "?since=soon": 400, "?limit=0": 400, "?limti=3": 400, "?since=2026-01-01T00:00:00Z": 200,
	} {
		if got, body := ask(t, dir, "GET", "/v1/history"+query, ""); got != code {
			t.Errorf("%s: %d %s", query, got, body)
		}
	}
	if code, _ := ask(t, dir, "DELETE", "/v1/mutes?path=backup", ""); code != 404 {
		t.Errorf("removing what is not muted: %d", code)
	}
	if code, body := ask(t, dir, "POST", "/v1/mutes", `{"path": "backup", "for": "1h", "reason": "r", "by": "b", "sticky": true}`); code != 200 {
		t.Error(code, body)
	}
	if code, body := ask(t, dir, "DELETE", "/v1/mutes?path=backup", ""); code != 204 {
		t.Error(code, body)
	}
}

// What is muted and what was outlive healthhub.
func TestKept(t *testing.T) {
	t.Parallel()
	dir, state := t.TempDir(), t.TempDir()
	run := func(do func(*Agent)) {
		init := newHubinit(false)
		a, stop := launchIn(t, Config{RunDir: dir, StateDir: state, Init: init})
		waitFor(t, 5*time.Second, init.isReady)
		do(a)
		stop()
	}
	run(func(*Agent) {
		if code, body := ask(t, dir, "POST", "/v1/report", `{"name": "backup", "state": "fail"}`); code != 204 {
			t.Fatal(code, body)
		}
		if code, body := ask(t, dir, "POST", "/v1/mutes", `{"path": "backup", "for": "1h", "reason": "r", "by": "b", "sticky": true}`); code != 200 {
			t.Fatal(code, body)
		}
	})
	run(func(*Agent) {
		if _, body := ask(t, dir, "GET", "/v1/mutes", ""); !strings.Contains(body, `"path":"backup"`) {
			t.Error(body)
		}
		if all := strings.Join(events(t, dir, ""), "\n"); !strings.Contains(all, "backup is muted until") || !strings.Contains(all, "restarted") {
			t.Error(all)
		}
	})
}

func TestChaos(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer site.Close()
	page := webCheck(site.URL)
	page.Class = setting.ClassLive
	start(t, dir, setting.Settings{Checks: map[string]setting.Check{"page": page}}, false)
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass page=pass hub/health=pass" })
	for body, code := range map[string]int{
		`{"check": "paeg", "state": "fail", "for": "2m"}`: 404, `{"check": "page", "state": "pass", "for": "2m"}`: 400,
		`{"check": "page", "state": "starting", "for": "2m"}`: 400, `{"check": "page", "state": "fail", "for": "61m"}`: 400,
		`{"check": "page", "state": "fail", "for": "0s"}`: 400, `{"check": "page", "state": "fail"}`: 400, `[`: 400,
	} {
		if got, text := ask(t, dir, "POST", "/v1/chaos", body); got != code {
			t.Errorf("%s: %d %s, want %d", body, got, text, code)
		}
	}
	force := func(d string) {
		t.Helper()
		if code, body := ask(t, dir, "POST", "/v1/chaos", `{"check": "page", "state": "fail", "for": "`+d+`"}`); code != 204 {
			t.Fatal(code, body)
		}
		waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "fail page=fail hub/health=pass" })
	}
	events, err := Client(dir).Get("http://healthhub/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	stream := bufio.NewScanner(events.Body)
	force("2s")
	for stream.Scan() && !strings.Contains(stream.Text(), `"path":"page"`) {
	}
	if !strings.Contains(stream.Text(), `"to":"fail"`) {
		t.Errorf("the events end with %q, %v", stream.Text(), stream.Err())
	}
	f, err := health.ReadFile(dir, health.HealthFile)
	if err != nil {
		t.Fatal(err)
	}
	var section Section
	if err := json.Unmarshal(f.Section, &section); err != nil || section.Ready != health.Pass {
		t.Errorf("Docker is told %v, %v: it would have the service restarted", section.Ready, err)
	}
	if code, body := ask(t, dir, "GET", "/livez", ""); code != 200 {
		t.Errorf("/livez: %d %s", code, body)
	}
	if n := f.Health.Children[0]; !n.HasFlag(health.FlagForced) || !strings.Contains(n.Text, "really pass") {
		t.Errorf("%+v", n)
	}
	if _, body := ask(t, dir, "GET", "/v1/chaos", ""); !strings.Contains(body, `"check":"page","state":"fail"`) {
		t.Error(body)
	}
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass page=pass hub/health=pass" }) // by itself
	force("1h")
	if code, body := ask(t, dir, "DELETE", "/v1/chaos?check=page", ""); code != 204 {
		t.Error(code, body)
	}
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass page=pass hub/health=pass" })
	if code, _ := ask(t, dir, "DELETE", "/v1/chaos?check=page", ""); code != 404 {
		t.Errorf("ended twice: %d", code)
	}
}

// Trying something out ends no mute.
func TestChaosKeepsMutes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir, setting.Settings{}, false)
	for _, step := range [][2]string{
		{"/v1/report", `{"name": "backup", "state": "warn"}`},
		{"/v1/mutes", `{"path": "backup", "for": "1h", "reason": "r", "by": "b"}`},
		{"/v1/chaos", `{"check": "backup", "state": "fail", "for": "1h"}`},
	} {
		if code, body := ask(t, dir, "POST", step[0], step[1]); code/100 != 2 {
			t.Fatalf("%s: %d %s", step[0], code, body)
		}
	}
	waitFor(t, 5*time.Second, func() bool { return states(t, dir) == "pass backup=fail hub/health=pass" })
	if _, body := ask(t, dir, "GET", "/v1/mutes", ""); !strings.Contains(body, `"path":"backup"`) {
		t.Errorf("the mute has gone: %s", body)
	}
}

// Everybody in the container may look and report; who changes what is told is root or healthhub's own user.
func TestOwners(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("another user's requests need root")
		}
		t.Skip("another user's requests need root")
	}
	dir := t.TempDir()
	start(t, dir, setting.Settings{}, false)
	for p := dir; p != "/tmp" && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const report, mute = `{"name": "backup", "state": "fail"}`, `{"path": "backup", "for": "1h", "reason": "r", "by": "b"}`
	for _, test := range []struct {
		uid                uint32
		method, path, body string
		want               int
	}{
		{65534, "POST", "/v1/report", report, 204},
		{65534, "GET", "/v1/mutes", "", 200},
		{65534, "GET", "/v1/history", "", 200},
		{65534, "POST", "/v1/mutes", mute, 403},
		{65534, "DELETE", "/v1/mutes?path=backup", "", 403},
		{65534, "POST", "/v1/chaos", `{"check": "backup", "state": "warn", "for": "1m"}`, 403},
		{65534, "DELETE", "/v1/chaos?check=backup", "", 403},
		{65534, "POST", "/v1/settle?for=1s", "", 403},
		{0, "POST", "/v1/mutes", mute, 200},
	} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return dialAs(int(test.uid), filepath.Join(dir, Socket))
		}}}
		req, err := http.NewRequestWithContext(t.Context(), test.method, "http://healthhub"+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != test.want {
			t.Errorf("uid %d %s %s: %s, want %d", test.uid, test.method, test.path, resp.Status, test.want)
		}
	}
}

// dialAs connects as another user: the kernel tells the other end who the thread was that connected.
func dialAs(uid int, path string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "as")
	defer f.Close()
	const keep = ^uintptr(0) // -1
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
		return nil, errno
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep); errno != 0 {
		panic(errno) // this thread is of no use any more
	}
	if err != nil {
		return nil, err
	}
	return net.FileConn(f)
}
