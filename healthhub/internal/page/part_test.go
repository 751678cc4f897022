// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
)

var update = flag.Bool("update", false, "write testdata anew")

// villageTime is when the village was looked at.
var villageTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// village is a fleet with something of everything, the same at every time.
func village() *health.Node {
	at := func(n health.Node, name string, state health.State, text string, flags ...string) health.Node {
		n.Kind, n.Name, n.State, n.Text = health.KindCheck, name, state, text
		n.Since, n.ObservedAt = villageTime.Add(-time.Hour), villageTime.Add(-5*time.Second)
		for _, flag := range flags {
			n.SetFlag(flag, true)
		}
		return n
	}
	sum := func(kind, name string, state health.State, score int, text string, children ...health.Node) health.Node {
		return health.Node{
			Kind: kind, Name: name, State: state, Score: &score, Text: text, Since: villageTime.Add(-time.Hour), ObservedAt: villageTime.Add(-5 * time.Second),
			Extent: &health.Extent{ScoreHigh: min(score+10, 100), Confidence: 0.75, Coverage: 1}, Children: children,
		}
	}
	level := 0.9
	page := at(health.Node{Runs: 360, Took: 0.0125, Action: "look into its log", Values: []health.Value{
		{Name: "total", Value: 0.0125, Unit: "s"}, {Name: "size", Value: 5120, Unit: "By"},
	}}, "page", health.Fail, "500 after 12 ms", health.FlagCritical, health.FlagLive)
	web := sum(health.KindContainer, "web.shop.vm1", health.Fail, 6, "page: fail: 500 after 12 ms",
		page, at(health.Node{Runs: 9}, "hub/log", health.Pass, "shipping"))
	replica := sum(health.KindContainer, "api.shop.vm1/2", health.Pass, 100, "", at(health.Node{Runs: 12}, "port", health.Pass, "127.0.0.1:80 answers"))
	backup := sum(health.KindContainer, "backup.ops.vm1", health.Pass, 100, "",
		at(health.Node{Runs: 1}, "age", health.Warn, "the newest is 30 h old", health.FlagMuted))
	backup.SetFlag(health.FlagMutes+"1", true)
	disk := at(health.Node{Runs: 4, Values: []health.Value{{Name: "used", Value: 0.92, Unit: "1", Warn: &level}}}, "host/disk", health.Warn, "92 % of / is used")
	vm1 := sum(health.KindHost, "vm1", health.Fail, 12, "web.shop.vm1: page: fail: 500 after 12 ms", disk, web, replica, backup)
	db := at(health.Node{Runs: 7}, "port", health.Unknown, "127.0.0.1:5432 answers", health.FlagCritical, health.FlagStale)
	store := sum(health.KindContainer, "db.shop.vm2", health.Unknown, 30, "", db)
	vm2 := sum(health.KindHost, "vm2", health.Unknown, 30, "", store)
	vm2.SetFlag(health.FlagStale, true)
	vm2.Children[0].SetFlag(health.FlagStale, true)
	fleet := sum(health.KindFleet, "fleet", health.Fail, 8, "vm1: web.shop.vm1: page: fail: 500 after 12 ms", vm1, vm2)
	fleet.SetFlag(health.FlagMutes+"1", true)
	return &fleet
}

// The documents are interfaces: what changes in them shows here. `go test -update` writes them anew.
func TestDocuments(t *testing.T) {
	fleet := village()
	handler := func(n *health.Node) http.Handler {
		return New(func() Snapshot { return Snapshot{Node: n, Generation: 7, At: villageTime} }).Handler()
	}
	for file, test := range map[string]struct {
		root *health.Node
		path string
	}{
		"health-fleet.json":      {fleet, "/health"},
		"health-container.json":  {&fleet.Children[0], "/health/web.shop.vm1"},
		"health-check.json":      {fleet, "/health/vm1/host/disk"},
		"summary-fleet.json":     {fleet, "/v1/summary"},
		"summary-host.json":      {&fleet.Children[0], "/v1/summary"},
		"summary-container.json": {&fleet.Children[0].Children[1], "/v1/summary"},
		"part-container.json":    {fleet, "/v1/summary/api.shop.vm1/2"},
		"part-check.json":        {fleet, "/v1/summary/web.shop.vm1/page"},
		"snapshot-host.json":     {&fleet.Children[1], "/v1/snapshot"},
		"metrics-fleet.txt":      {fleet, "/metrics"},
		"metrics-container.txt":  {&fleet.Children[0].Children[1], "/metrics"},
		"badge-container.svg":    {fleet, "/badge/web.shop.vm1.svg"},
	} {
		w := httptest.NewRecorder()
		handler(test.root).ServeHTTP(w, httptest.NewRequest(http.MethodGet, test.path, nil))
		got := w.Body.Bytes()
		if strings.HasSuffix(file, ".json") {
			var b bytes.Buffer
			if err := json.Indent(&b, got, "", "  "); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			got = b.Bytes()
		}
		file = filepath.Join("testdata", file)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// A part has the status of its own state at /health, and always 200 in the summary.
func TestParts(t *testing.T) {
	server, _ := show(t, *village())
	for path, want := range map[string][2]int{
		"fleet": {503, 503}, "vm1": {503, 503}, "web.shop.vm1": {503, 503}, "vm1/web.shop.vm1/page": {503, 503}, "web.shop.vm1/hub/log": {200, 200},
		"api.shop.vm1/2": {200, 200}, "backup.ops.vm1/age": {200, 429}, "vm1/host/disk": {200, 429}, "vm2": {503, 503}, "db.shop.vm2/port": {503, 503},
	} {
		plain, body := get(t, server.URL+"/health/"+path)
		consul, _ := get(t, server.URL+"/health/"+path+"?compat=consul")
		if got := [2]int{plain.StatusCode, consul.StatusCode}; got != want || plain.Header.Get("Content-Type") != "application/health+json" {
			t.Errorf("%s: %v, want %v: %s", path, got, want, body)
		}
		flat, body := get(t, server.URL+"/v1/summary/"+path)
		if flat.StatusCode != 200 || flat.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s", path, flat.Status)
		}
		if again, _ := get(t, server.URL+"/v1/summary/"+path, "If-None-Match", flat.Header.Get("ETag")); again.StatusCode != 304 {
			t.Errorf("%s again: %s", path, again.Status)
		}
		var doc struct{ Status string }
		if err := json.Unmarshal([]byte(body), &doc); err != nil || doc.Status == "" {
			t.Errorf("%s: %v: %s", path, err, body)
		}
	}
	fleet := *village()
	fleet.Children = append(fleet.Children, fleet.Children[0])
	fleet.Children[2].Name = "vm3"
	server, _ = show(t, fleet)
	if resp, body := get(t, server.URL+"/health/web.shop.vm1"); resp.StatusCode != 400 || !strings.Contains(body, "say which") {
		t.Errorf("two of one name: %s %s", resp.Status, body)
	}
}

// What is asked for is kept for a generation, but not without end.
func TestPartsKept(t *testing.T) {
	var d drawing
	draw := func(Snapshot) []byte { return nil }
	if first := d.part("a", jsonText, draw); d.part("a", jsonText, draw) != first {
		t.Error("made twice")
	}
	for i := range 2 * maxParts {
		d.part(fmt.Sprint(i), jsonText, draw)
	}
	if len(d.parts.made) != maxParts {
		t.Errorf("%d are kept", len(d.parts.made))
	}
}

// FuzzBadge: whatever is asked for, and whatever a node is called, the answer is an image that is well-formed, or an error.
func FuzzBadge(f *testing.F) {
	for _, path := range []string{"web.shop.vm1", "fleet", "vm1/web.shop.vm1/page", "", "../x", `<script>`, `a"b`, "%2e%2e", "\x00", "..", "a//b"} {
		f.Add(path, "name")
		f.Add("x", path)
	}
	fleet := village()
	f.Fuzz(func(t *testing.T, path, name string) {
		handler := New(func() Snapshot { return Snapshot{Node: fleet, Generation: 1} }).Handler()
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: "/badge/" + path + ".svg"}
		handler.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
			wellFormed(t, w.Body)
		case http.StatusBadRequest, http.StatusNotFound, http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		default:
			t.Errorf("%q: %d", path, w.Code)
		}
		if health.CheckName(health.KindContainer, name) == nil { // as where names come in
			wellFormed(t, bytes.NewReader(badge(&health.Node{Kind: health.KindContainer, Name: name})))
		}
	})
}

// wellFormed fails unless an image has what it must have and no element that could do anything.
func wellFormed(t *testing.T, r io.Reader) {
	t.Helper()
	for decoder := xml.NewDecoder(r); ; {
		token, err := decoder.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && !strings.Contains(" svg title rect path g text ", " "+e.Name.Local+" ") {
			t.Errorf("element %s", e.Name.Local)
		}
	}
}

func TestBadge(t *testing.T) {
	server, _ := show(t, *village())
	for path, want := range map[string]string{
		"web.shop.vm1": "web.shop.vm1: fail 6", "web.shop.vm1/page": "page: fail", "backup.ops.vm1/age": "age: warn, muted", "vm2": "vm2: unknown 30, stale",
	} {
		resp, body := get(t, server.URL+"/badge/"+path+".svg")
		if resp.Header.Get("Content-Type") != "image/svg+xml" || resp.Header.Get("Content-Security-Policy") == "" || resp.Header.Get("ETag") == "" {
			t.Errorf("%s: %v", path, resp.Header)
		}
		if !strings.Contains(body, "<title>"+want) || !strings.Contains(body, `aria-label="`+want) {
			t.Errorf("%s: want %q in %s", path, want, body)
		}
	}
	long := badge(&health.Node{Kind: health.KindContainer, Name: strings.Repeat("a", 200)})
	if !bytes.Contains(long, []byte("…")) || bytes.Contains(long, []byte(strings.Repeat("a", badgeName))) {
		t.Errorf("%s", long)
	}
}
