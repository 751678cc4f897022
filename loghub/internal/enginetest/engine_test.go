// SPDX-License-Identifier: AGPL-3.0-or-later

package enginetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud4.internal/hub/internal/identity/identitytest"
	"cloud4.internal/hub/internal/spiffe"
	"github.com/google/go-cmp/cmp"
)

// loghub is the program under test.
var loghub string

func TestMain(m *testing.M) {
	know("../..", "../../../internal")
	dir, err := os.MkdirTemp("", "loghub-")
	if err != nil {
		panic(err)
	}
	loghub = filepath.Join(dir, "loghub")
	build := exec.Command("go", "build", "-tags", "nopgx,nomysql,nobadger,nobbolt,grpcnotrace,urfave_cli_no_docs", "-o", loghub, "cloud4.internal/hub/loghub")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	code := 1
	if said, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building loghub: %v\n%s", err, said)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// know looks at the sources of the program, which go test does not see being built: a result in its cache counts no more once
// they have changed.
func know(roots ...string) {
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				_, err = os.Stat(path)
			}
			return err
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	web     = must(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))
	genesis = must(spiffe.ForGenesis("cloud4.internal", "log"))
)

// said collects what a program writes.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// container is a loghub that reads a pipe on stdin and the files of a directory.
type container struct {
	t     *testing.T
	stdin io.WriteCloser
	files string
	log   *said
	cmd   *exec.Cmd
}

// startContainer starts loghub with settings of the section log; id, if given, is its identity's directory.
func startContainer(t *testing.T, log map[string]any, id string, env ...string) *container {
	t.Helper()
	dir := t.TempDir()
	c := &container{t: t, files: filepath.Join(dir, "logs"), log: &said{}}
	state, run := filepath.Join(dir, "state"), filepath.Join(dir, "run")
	for _, d := range []string{c.files, state, run} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if id != "" {
		if err := os.Symlink(id, filepath.Join(state, "identity")); err != nil {
			t.Fatal(err)
		}
	}
	log["files"] = map[string]any{"access": map[string]any{"path": c.files + "/*.log"}}
	log["stdout"] = "off"
	settings := must(json.Marshal(map[string]any{"log": log, "identity": map[string]any{"trust_domain": "cloud4.internal", "host": "vm1", "stack": "shop", "service": "web"}}))
	config := filepath.Join(dir, "hub.json")
	if err := os.WriteFile(config, settings, 0o600); err != nil {
		t.Fatal(err)
	}
	c.cmd = exec.Command(loghub, "--config", config, "run")
	c.cmd.Env = append([]string{"HUB_RUN_DIR=" + run, "HUB_STATE_DIR=" + state, "HUB_SLOT=0", "TZ=UTC"}, env...)
	c.cmd.Stderr = c.log
	c.stdin = must(c.cmd.StdinPipe())
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = c.cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(Patience):
			_ = c.cmd.Process.Kill()
			<-ended
			t.Error("loghub does not stop")
		}
		if t.Failed() {
			t.Logf("loghub said:\n%s", c.log)
		}
	})
	return c
}

// Lines of each kind that write writes, and records that become of them.
const (
	plainLines  = 6000
	accessLines = 2000
	allRecords  = plainLines + accessLines + 1
)

// write writes lines of several kinds, some of them hard.
func (c *container) write() {
	c.t.Helper()
	var text strings.Builder
	for i := range plainLines {
		fmt.Fprintf(&text, "line %05d %s\n", i, strings.Repeat("ü", 40))
	}
	fmt.Fprintf(&text, `{"time":%q,"level":"warn","message":"first\n\tsecond \"quoted\"","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","n":-7,"ok":true,"user":{"id":7}}`+"\n",
		time.Now().UTC().Format(time.RFC3339Nano))
	if _, err := io.WriteString(c.stdin, text.String()); err != nil {
		c.t.Fatal(err)
	}
	text.Reset()
	for i := range accessLines {
		fmt.Fprintf(&text, "192.0.2.7 - - [%s] \"GET /item/%d HTTP/1.1\" 200 612 \"-\" \"curl/8.5.0\"\n", time.Now().UTC().Format("02/Jan/2006:15:04:05 -0700"), i)
	}
	if err := os.WriteFile(filepath.Join(c.files, "access.log"), []byte(text.String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// want checks what VictoriaLogs has of what write wrote.
func (c *container) want(v *VictoriaLogs, extra map[string]string) {
	t := c.t
	t.Helper()
	Until(t, "all records", func() bool {
		return v.Query(`* | stats count_uniq("log.record.uid") n`)[0]["n"] == fmt.Sprint(allRecords)
	})
	for filter, n := range map[string]int{
		`_msg:~"^line [0-9]{5} ü{40}$"`:                                           plainLines,
		`http.request.method:=GET http.response.status_code:=200 "/item/"`:        accessLines,
		`{service.name="web",service.namespace="shop",host.name="vm1"}`:           allRecords,
		`log.file.path:~"access.log$" hub.files:=access "service.instance.id":=0`: accessLines,
		`trace_id:=0af7651916cd43dd8448eb211c80319c`:                              1,
	} {
		// Its indexes follow in a moment.
		Until(t, fmt.Sprintf("%d records for %s", n, filter), func() bool { return v.Count(filter) == fmt.Sprint(n) })
	}
	rows := v.Query(`trace_id:=0af7651916cd43dd8448eb211c80319c`)
	got := map[string]string{}
	want := map[string]string{
		"_msg": "first\n\tsecond \"quoted\"", "severity": "warn", "span_id": "b7ad6b7169203331", "n": "-7", "ok": "true", "user": `{"id":7}`,
	}
	for k, v := range extra {
		want[k] = v
	}
	for k := range want {
		got[k] = rows[0][k]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\nall of it: %v", diff, rows[0])
	}
}

// TestVictoriaLogs: what is written is there to the line, with its attributes, in one stream.
func TestVictoriaLogs(t *testing.T) {
	v := StartVictoriaLogs(t)
	c := startContainer(t, map[string]any{"otlp": "http://" + v.Address, "engine": "victorialogs"}, "")
	c.write()
	c.want(v, map[string]string{"_stream": `{host.name="vm1",service.instance.id="0",service.name="web",service.namespace="shop"}`})
}

// TestDoor: the same through nginx with mutual TLS, HTTP/2, small bodies and connections that end after five requests. Who sent it is
// what the certificate says.
func TestDoor(t *testing.T) {
	ca := identitytest.New(t)
	door := ca.Dir(t, genesis)
	v := StartVictoriaLogs(t)
	address := StartDoor(t, filepath.Join(door, "id.pem"), filepath.Join(door, "roots.pem"), v.Address)
	c := startContainer(t, map[string]any{"otlp": "https://" + address, "engine": "victorialogs"}, ca.Dir(t, web))
	for i := range 12 { // one request each, so that connections end
		fmt.Fprintf(c.stdin, "before %d\n", i)
		Until(t, "line", func() bool { return v.Count("before") == fmt.Sprint(i+1) })
	}
	c.write()
	Until(t, "all records", func() bool { return v.Count("* !before") == fmt.Sprint(allRecords) })
	if n := v.Count(`genesis.peer:="web.shop.vm1"`); n != fmt.Sprint(allRecords+12) {
		t.Errorf("%s records have the sender's name: %v", n, v.Query("* | limit 1"))
	}
}

// TestCollector: through the Collector, which verifies clients itself and refuses bodies of 100 kB, to VictoriaLogs.
func TestCollector(t *testing.T) {
	ca := identitytest.New(t)
	dir := ca.Dir(t, genesis)
	v := StartVictoriaLogs(t)
	address := StartCollector(t, filepath.Join(dir, "id.pem"), filepath.Join(dir, "roots.pem"),
		fmt.Sprintf(`{logs_endpoint: "http://%s/insert/opentelemetry/v1/logs", headers: {VL-Stream-Fields: "host.name,service.namespace,service.name"}}`, v.Address))
	c := startContainer(t, map[string]any{"otlp": "https://" + address, "engine": "collector"}, ca.Dir(t, web))
	c.write()
	c.want(v, nil)
}

// TestFromCollector: loghub receive takes what another's encoder makes of our records.
func TestFromCollector(t *testing.T) {
	ca := identitytest.New(t)
	dir := ca.Dir(t, genesis)
	sender := ca.Dir(t, must(spiffe.ForGenesis("cloud4.internal", "config")))
	state, events, receive := t.TempDir(), t.TempDir(), FreeAddress(t)
	if err := os.Symlink(dir, filepath.Join(state, "identity")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HUB_STATE_DIR", state)
	start(t, receive, loghub, "receive", "--dir", events, "--listen", receive)
	address := StartCollector(t, filepath.Join(dir, "id.pem"), filepath.Join(dir, "roots.pem"),
		fmt.Sprintf(`{endpoint: "https://%s", tls: {ca_file: %s/roots.pem, cert_file: %[2]s/id.pem, key_file: %[2]s/id.pem}}`, receive, sender))
	c := startContainer(t, map[string]any{"otlp": "https://" + address}, ca.Dir(t, web))
	c.write()
	lines := func() []string {
		data, _ := os.ReadFile(filepath.Join(events, "genesis.config.jsonl")) // not there yet, or there
		return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	}
	Until(t, "all records", func() bool { return len(lines()) >= allRecords })
	seen := map[string]bool{}
	for _, line := range lines() {
		var rec map[string]any
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		uid, _ := rec["log.record.uid"].(string)
		seen[uid] = true
		if rec["cloud4.peer"] != "spiffe://cloud4.internal/genesis/config" || rec["service.name"] != "web" {
			t.Fatalf("from whom? %s", line)
		}
		if rec["trace_id"] == nil {
			continue
		}
		if rec["message"] != "first\n\tsecond \"quoted\"" || rec["level"] != "warn" || rec["n"] != -7.0 || rec["ok"] != true {
			t.Errorf("the hard one: %s", line)
		}
	}
	if len(seen) != allRecords {
		t.Errorf("%d records are there", len(seen))
	}
	table, err := exec.Command(loghub, "gaps", events).CombinedOutput()
	if want := fmt.Sprintf(" %d ", plainLines+1); err != nil || strings.Count(string(table), want) < 3 { // to, records, complete to
		t.Errorf("gaps: %v\n%s", err, table)
	}
}
