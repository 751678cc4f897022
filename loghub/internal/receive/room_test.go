// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/spiffe"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
)

// names lists the directory.
func (w *world) names() []string {
	w.t.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestRoom: when the directory is full, who has most loses his oldest file; who has less loses nothing to him.
func TestRoom(t *testing.T) {
	w := newWorld(t, Options{FileBytes: 50 << 10, TotalBytes: 400 << 10, Keep: 100})
	ids := id(t)
	small, big := w.client(ids(spiffe.ForHost("cloud4.internal", "vm1"))), w.client(ids(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")))
	send := func(c *http.Client, n int) {
		t.Helper()
		for i := range n {
			if resp, words := w.post(c, request("0", fmt.Sprintf("%d.%s", i, strings.Repeat("x", 20<<10)))); resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s", resp.Status, words)
			}
		}
	}
	send(small, 3)
	before := fmt.Sprint(w.messages("host.vm1.jsonl"), w.messages("host.vm1.jsonl.1"))
	send(big, 60)
	if after := fmt.Sprint(w.messages("host.vm1.jsonl"), w.messages("host.vm1.jsonl.1")); after != before {
		t.Error("the small peer lost files")
	}
	size, err := w.rc.store.measure()
	if err != nil || size > 400<<10 || size < 300<<10 || size != w.rc.store.size() {
		t.Errorf("%d bytes, accounted %d, %v", size, w.rc.store.size(), err)
	}
	got := w.messages("web.shop.vm1.jsonl")
	if last := got[len(got)-1]; !strings.HasPrefix(last, "59.") {
		t.Errorf("the newest record is %.5s", last)
	}
	if !strings.Contains(w.log.String(), "an old file was removed") {
		t.Errorf("nothing is said: %s", w.log)
	}
}

// TestNames: whose a file is, also where a service or a host is called like the end of a file's name.
func TestNames(t *testing.T) {
	s := &store{dir: t.TempDir()}
	for _, name := range []string{"web.jsonl.vm1.jsonl", "web.jsonl.vm1.jsonl.2", "host.jsonl.jsonl.3.gz", "web.shop.vm1.jsonl.1.gz.new", "other.txt"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte("12345"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := s.files()
	want := []oldFile{
		{"host.jsonl.jsonl.3.gz", "host.jsonl", 3, 5}, {"web.jsonl.vm1.jsonl", "web.jsonl.vm1", 0, 5}, {"web.jsonl.vm1.jsonl.2", "web.jsonl.vm1", 2, 5},
	}
	if diff := cmp.Diff(want, files, cmp.AllowUnexported(oldFile{})); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestLessLosesNothing: who has more than all others, and no old file, takes nothing from them; his only file goes.
func TestLessLosesNothing(t *testing.T) {
	gone := ""
	s := &store{dir: t.TempDir(), total: 1000, peers: map[string]*peerFile{}, evicted: func(f oldFile) { gone += f.name }}
	for name, size := range map[string]int{"big.jsonl": 600, "small.jsonl": 100, "small.jsonl.1": 200} {
		if err := os.WriteFile(filepath.Join(s.dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.evict("big", 800); !errors.Is(err, errFull) || gone != "" {
		t.Error(err, gone)
	}
	if err := s.evict("big", 700); err != nil || s.used != 300 || gone != "big.jsonl" {
		t.Error(err, gone)
	}
}

// TestFileInUse: the file that a peer is writing to is nobody else's room.
func TestFileInUse(t *testing.T) {
	s := &store{dir: t.TempDir(), total: 1000, peers: map[string]*peerFile{}, evicted: func(f oldFile) { t.Errorf("%s was removed", f.name) }}
	if err := os.WriteFile(filepath.Join(s.dir, "big.jsonl"), make([]byte, 900), 0o600); err != nil {
		t.Fatal(err)
	}
	s.peer("big")
	if err := s.evict("small", 200); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

// TestManyPeers: where there are more peers than files of full size have room, each still gets in what it sends, and its
// newest records stay.
func TestManyPeers(t *testing.T) {
	const peers, total = 40, 4 << 20
	w := newWorld(t, Options{FileBytes: 1 << 20, TotalBytes: total})
	ids := id(t)
	peer := func(i int) spiffe.ID {
		return ids(spiffe.ForContainer("cloud4.internal", "vm1", "shop", fmt.Sprintf("web%d", i), ""))
	}
	for round := range 4 {
		for i := range peers {
			if err := w.rc.take(peer(i), request("0", fmt.Sprintf("%d.%s", round, strings.Repeat("x", 50<<10)))); err != nil {
				t.Fatalf("round %d, peer %d: %v", round, i, err)
			}
		}
	}
	for i := range peers {
		got := w.messages(fmt.Sprintf("web%d.shop.vm1.jsonl", i))
		if len(got) == 0 || !strings.HasPrefix(got[len(got)-1], "3.") {
			t.Errorf("peer %d has lost its newest record", i)
		}
	}
	if size, err := w.rc.store.measure(); err != nil || size > total || size != w.rc.store.size() {
		t.Errorf("%d bytes, accounted %d, %v", size, w.rc.store.size(), err)
	}
}

// TestManyFiles: one look at many files makes room for many requests.
func TestManyFiles(t *testing.T) {
	const total = 10 * 2 * manyFiles
	s := &store{dir: t.TempDir(), total: total, peers: map[string]*peerFile{}, evicted: func(oldFile) {}}
	for i := range manyFiles {
		for _, name := range []string{"a%d.jsonl", "a%d.jsonl.1"} {
			if err := os.WriteFile(filepath.Join(s.dir, fmt.Sprintf(name, i)), make([]byte, 10), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.evict("new", 1); err != nil || s.used > total-total/spareParts || s.used < total-total/spareParts-20 {
		t.Errorf("%d of %d bytes are used: %v", s.used, total, err)
	}
	files, err := s.files()
	if err != nil || slices.IndexFunc(files, func(f oldFile) bool { return f.number == 0 }) < 0 || len(s.names) != manyFiles {
		t.Errorf("files that are written to went, %v", err)
	}
	for _, f := range files {
		if f.number == 1 && !slices.ContainsFunc(files, func(g oldFile) bool { return g.number == 0 && g.peer == f.peer }) {
			t.Errorf("%s is alone", f.name)
		}
	}
}

// TestSilentPeers: those who filled the directory and fell silent give way to one who comes.
func TestSilentPeers(t *testing.T) {
	dir := t.TempDir()
	for i := range 8 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("old%d.shop.vm1.jsonl", i)), bytes.Repeat([]byte("{}\n"), 50000-i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, Options{Dir: dir, TotalBytes: 8 * 150000})
	if err := w.rc.take(id(t)(spiffe.ForHost("cloud4.internal", "vm1")), request("0", "a")); err != nil {
		t.Fatal(err)
	}
	if err := w.rc.take(id(t)(spiffe.ForHost("cloud4.internal", "vm1")), request("0", strings.Repeat("x", 10000))); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "old0.shop.vm1.jsonl")); !errors.Is(err, fs.ErrNotExist) || len(w.names()) != 8 {
		t.Errorf("%v: %v", w.names(), err)
	}
}

// TestSlowIsNotMalformed: a sender must not take a request that was too slow for one whose records are bad.
func TestSlowIsNotMalformed(t *testing.T) {
	r, ok := errors.AsType[*refusal]((&Receiver{}).badBody(&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}))
	if !ok || r.status != http.StatusRequestTimeout {
		t.Errorf("%+v", r)
	}
}

// TestFloor: below the floor nothing is taken, and it is said when to come again.
func TestFloor(t *testing.T) {
	w := newWorld(t, Options{Floor: 1 << 62})
	resp, words := w.post(w.client(id(t)(spiffe.ForHost("cloud4.internal", "vm1"))), request("0", "u"))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "60" || !strings.Contains(words, "bytes left") || len(w.names()) != 0 {
		t.Errorf("%s %q %v", resp.Status, words, w.names())
	}
}

// TestPacked: old files are compressed, count as what they are, and are remembered after a restart.
func TestPacked(t *testing.T) {
	o := Options{FileBytes: 2000, Keep: 3, Pack: true}
	w := newWorld(t, o)
	web := id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))
	c := w.client(web)
	for i := range 100 {
		w.post(c, request("0", fmt.Sprintf("e.%d", i)))
	}
	const name = "web.shop.vm1.jsonl"
	if diff := cmp.Diff([]string{name, name + ".1.gz", name + ".2.gz", name + ".3.gz"}, w.names()); diff != "" {
		t.Error(diff)
	}
	if size, err := w.rc.store.measure(); err != nil || size != w.rc.store.size() {
		t.Errorf("%d bytes, accounted %d, %v", size, w.rc.store.size(), err)
	}
	f, err := os.Open(filepath.Join(w.dir, name+".1.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(gz)
	if err != nil || !bytes.HasSuffix(text, []byte("}\n")) {
		t.Errorf("%q %v", text, err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, name+".1.gz.new"), nil, 0o600); err != nil { // a crash
		t.Fatal(err)
	}
	current := len(w.messages(name))
	o.Dir = w.dir
	w2 := newWorld(t, o)
	if err := w2.rc.take(web, request("0", "e.99", fmt.Sprintf("e.%d", 100-current-1), "e.100")); err != nil {
		t.Fatal(err)
	}
	if got := w2.messages(name); got[len(got)-1] != "e.100" || len(got) != current+1 || len(w2.names()) != 4 {
		t.Errorf("%q in %v", got, w2.names())
	}
}

// TestDaily: a file of yesterday is not continued.
func TestDaily(t *testing.T) {
	w := newWorld(t, Options{Daily: true})
	c := w.client(id(t)(spiffe.ForHost("cloud4.internal", "vm1")))
	w.post(c, request("0", "a"))
	w.post(c, request("0", "b"))
	path := filepath.Join(w.dir, "host.vm1.jsonl")
	yesterday := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(path, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	w.post(c, request("0", "c"))
	if diff := cmp.Diff([][]string{{"a", "b"}, {"c"}}, [][]string{w.messages("host.vm1.jsonl.1"), w.messages("host.vm1.jsonl")}); diff != "" {
		t.Error(diff)
	}
}

// TestBudget: a peer that sends large bodies slowly gets no more memory than one body's, and the others theirs.
func TestBudget(t *testing.T) {
	b := newBudget(100)
	if !b.take("a", 60) || b.take("a", 60) || !b.take("a", 41) || !b.take("b", 101) {
		t.Error("shares of one peer")
	}
	b.give("a", 101)
	if b.used != 101 || len(b.by) != 1 || !b.take("late", 101) {
		t.Errorf("what was given back: %v", b.by)
	}
	w := newWorld(t, Options{BodyBytes: 1 << 20})
	c := w.client(id(t)(spiffe.ForHost("cloud4.internal", "vm1")))
	w.rc.budget.take("spiffe://cloud4.internal/host/vm1", 1<<20)
	resp, words := w.post(c, make([]byte, 64<<10))
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || !strings.Contains(words, "memory") {
		t.Errorf("%s %q", resp.Status, words)
	}
	w.rc.budget.give("spiffe://cloud4.internal/host/vm1", 1<<20)
	if resp, _ := w.post(c, request("0", "a")); resp.StatusCode != 200 || w.rc.budget.used != 0 {
		t.Errorf("%s, %d bytes are not given back", resp.Status, w.rc.budget.used)
	}
}

// TestSlowPeers: several peers that take what they get and keep it leave room for the others.
func TestSlowPeers(t *testing.T) {
	b := newBudget(16 << 20)
	greedy := func(peer string) (got int64) {
		for b.take(peer, 4<<10) {
			got += 4 << 10
		}
		return got
	}
	for i := range 4 {
		greedy(fmt.Sprint("slow", i))
	}
	if got := greedy("late"); got < 4<<20 {
		t.Errorf("behind four slow peers another gets %d bytes", got)
	}
	for i := range 4 {
		greedy(fmt.Sprint("more", i))
	}
	if got := greedy("later"); got < 1<<20 {
		t.Errorf("behind nine slow peers another gets %d bytes", got)
	}
	for i := range 100 {
		greedy(fmt.Sprint("many", i))
	}
	if b.used > b.total {
		t.Errorf("%d of %d bytes are taken", b.used, b.total)
	}
}

// TestConnections: a peer that keeps opening connections holds a few of them.
func TestConnections(t *testing.T) {
	w := newWorld(t, Options{})
	web := id(t)(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", ""))
	good, cut := 0, 0
	for range connsPerPeer + 5 {
		resp, err := w.client(web).Get(w.url) // a transport of its own, whose connection stays
		if err != nil {
			cut++
			continue
		}
		resp.Body.Close()
		good++
	}
	if good != connsPerPeer || cut != 5 {
		t.Errorf("%d connections, %d were cut", good, cut)
	}
	if resp, err := w.client(id(t)(spiffe.ForHost("cloud4.internal", "vm1"))).Get(w.url); err != nil {
		t.Errorf("another peer: %v", err)
	} else {
		resp.Body.Close()
	}
}

// TestMetrics: operators read what peers sent; containers do not.
func TestMetrics(t *testing.T) {
	w := newWorld(t, Options{})
	ids := id(t)
	web := w.client(ids(spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", "")))
	w.post(web, request("0", "a.1", "a.2"))
	w.post(web, request("0", "a.2"))
	w.post(web, []byte("garbage"))
	get := func(c *http.Client) (int, string) {
		t.Helper()
		resp, err := c.Get(strings.TrimSuffix(w.url, "/v1/logs") + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	code, text := get(w.client(ids(spiffe.ForOperator("cloud4.internal", "ops"))))
	for _, want := range []string{
		`loghub_receive_requests_total{peer="spiffe://cloud4.internal/host/vm1/stack/shop/service/web"} 2`,
		`loghub_receive_records_total{peer="spiffe://cloud4.internal/host/vm1/stack/shop/service/web"} 2`,
		`loghub_receive_duplicates_total{peer="spiffe://cloud4.internal/host/vm1/stack/shop/service/web"} 1`,
		`loghub_receive_refused_total{reason="invalid"} 1`, "loghub_receive_disk_free_bytes ", "loghub_receive_files_bytes ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %d %s", want, code, text)
		}
	}
	if code, text := get(web); code == 200 || strings.Contains(text, "requests_total") {
		t.Errorf("a container reads them: %d", code)
	}
}
