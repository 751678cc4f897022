// SPDX-License-Identifier: AGPL-3.0-or-later

package dashboard

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
)

func get(t *testing.T, server *httptest.Server, path string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Get(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestOrder(t *testing.T) {
	_, body := get(t, failed().open(t), "/")
	at := 0
	for _, word := range []string{
		"3 things fail, 2 more want a look", "What is wrong", ">port</a>", "connection refused", "loghub tail db.shop.vm1", "Because of it:", ">web.shop.vm1 › cart</a>",
		"missing", ">queue</a>", "What changed", `<small>host</small> <a href="./?at=vm1">vm1</a>`, `>db.shop.vm1</a>`, `>worker.shop.vm1</a>`, `>cache.cloud.vm1</a>`,
		`>backup.cloud.vm2</a>`, `<small>host</small> <a href="./?at=pi">pi</a>`, "as of",
	} {
		i := strings.Index(body[at:], word)
		if i < 0 {
			t.Fatalf("%q does not come where it should: worst first", word)
		}
		at += i
	}
}

func TestVerdict(t *testing.T) {
	critical := health.FlagCritical
	for want, n := range map[string]health.Node{
		"All is well|✓ well · vm1": host("vm1", service("a", "")),
		"1 thing fails|✕ 1 failing · vm1": host("vm1",
			container("a", check("x", health.Fail, "", critical))),
		"1 thing wants a look|! 1 to look at · vm1": host("vm1", container("a", check("x", health.Fail, ""))),
		"1 thing is not known, 1 more wants a look|? 1 unknown · vm1": host("vm1",
			container("a", check("x", health.Unknown, "", critical)), container("b", check("x", health.Warn, ""))),
		"2 things are starting|… 2 starting · vm1": host("vm1",
			container("a", check("x", health.Starting, "")), container("b", check("y", health.Starting, ""))),
		"Nobody knows how it is|? unknown · vm1":   host("vm1"),
		"Nothing looks into it|✓ unchecked · bare": container("bare"),
		"It wants a look|! warn · web":             {Kind: health.KindGroup, Name: "web", State: health.Warn},
		"It fails|✕ fail · page":                   check("page", health.Fail, "", critical),
	} {
		head, title := verdict(&n, blame([]*health.Node{&n}))
		if got := head + "|" + title; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Nothing is fetched from elsewhere, nothing that a check said is more than text, and a nonce is good for one answer.
func TestPolicy(t *testing.T) {
	s := failed()
	s.node.Children[0].Children[0].Children[0].Text = `<script>alert(1)</script>`
	server := s.open(t)
	resp, body := get(t, server, "/")
	nonces := regexp.MustCompile(`nonce="([^"]*)"`).FindAllStringSubmatch(body, -1)
	if len(nonces) != 2 {
		t.Fatalf("%d nonces: the style's and the script's", len(nonces))
	}
	for _, n := range nonces {
		if want := "'nonce-" + n[1] + "'"; strings.Count(resp.Header.Get("Content-Security-Policy"), want) != 2 {
			t.Errorf("policy %q, want %s", resp.Header.Get("Content-Security-Policy"), want)
		}
		if _, other := get(t, server, "/"); strings.Contains(other, n[1]) {
			t.Error("two answers have one nonce")
		}
	}
	markup := regexp.MustCompile(`(?s)<style.*?</style>|<script nonce.*?</script>`).ReplaceAllString(body, "")
	for _, bad := range []string{"src=", " style=", "onload", "onclick", "ZgotmplZ", "<script>"} {
		if strings.Contains(markup, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if part := regexp.MustCompile(`https?://`).FindAllString(body, -1); len(part) > 0 {
		t.Errorf("the page names %d addresses elsewhere", len(part))
	}
	if _, part := get(t, server, "/?part=1"); strings.Contains(part, "<script") || strings.Contains(part, "<style") ||
		!strings.Contains(part, `<main id="main"`) {
		t.Error("the part for the script is not the page without style and script")
	}
}

func TestPaths(t *testing.T) {
	server := failed().open(t)
	for path, want := range map[string]string{
		"?at=vm1":                       "<small>host</small> vm1",
		"?at=vm1/db.shop.vm1":           "<small>container</small> db.shop.vm1",
		"?at=vm1/db.shop.vm1/port":      "<small>check</small> port",
		"?at=vm1/db.shop.vm1/hub/init/": "<small>check</small> hub/init",
		"?at=db.shop.vm1/port":          "<small>check</small> port",
	} {
		if resp, body := get(t, server, "/"+path); resp.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	for _, path := range []string{"?at=vm9", "?at=vm1/nothing", "?at=..", "?at=vm1//db.shop.vm1",
		"?at=" + strings.Repeat("a", 2000), "?at=%3Cscript%3E"} {
		if resp, body := get(t, server, "/"+path); resp.StatusCode != 404 || strings.Contains(body, "<script>") {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// What a machine checks of itself is shown where it is in trouble; what cannot be looked at is no trouble.
func TestMachine(t *testing.T) {
	odd := check("host/temperature", health.Unknown, "no sensor here", health.FlagUnsupported)
	_, body := get(t, scene{node: fleet(host("vm1", service("web.shop.vm1", ""), odd, check("host/disk", health.Pass, ""),
		check("host/clock", health.Warn, "")))}.open(t), "/")
	rows, folded, _ := strings.Cut(body, "2 checks of the machine")
	if !strings.Contains(rows, ">host/clock</a></th>") || strings.Contains(rows, ">host/disk<") ||
		!strings.Contains(folded, ">host/disk<") || !strings.Contains(folded, ">host/temperature<") {
		t.Error("trouble is folded away, or what is none is not")
	}
}

// A group lists its members; it and what a machine checks of itself stand beside hosts and containers, and are no containers.
func TestGroups(t *testing.T) {
	member := func(name, hostName string, s health.State) health.Node {
		c := container(name, check("page", s, "", health.FlagCritical))
		c.SetFlag(health.FlagGrouped+"web", true)
		return host(hostName, c)
	}
	n := fleet(member("web.shop.vm1", "vm1", health.Fail), member("web.shop.vm2", "vm2", health.Pass))
	n.Children = append(n.Children, health.Node{Kind: health.KindGroup, Name: "web", State: health.Warn,
		Text: "redundancy lost: 1 of 2"},
		check("disk", health.Pass, "12 % used"))
	server := scene{node: n}.open(t)
	_, body := get(t, server, "/")
	for _, want := range []string{"2 containers on 2 hosts", ">Groups</h2>", `<a href="./?at=web">web</a>`,
		"redundancy lost: 1 of 2", ">Checks</h2>", "12 % used"} {
		if !strings.Contains(body, want) {
			t.Errorf("the fleet does not say %q", want)
		}
	}
	if _, body = get(t, server, "/?at=web"); !strings.Contains(body, `<a href="./?at=vm1/web.shop.vm1">`) ||
		!strings.Contains(body, `<a href="./?at=vm2/web.shop.vm2">`) {
		t.Error("the group does not list its members")
	}
}

// Every link leads somewhere.
func TestLinks(t *testing.T) {
	for name, s := range map[string]scene{"failed": failed(), "muted": mutedScene(), "stale": stale()} {
		server := s.open(t)
		seen, next := map[string]bool{}, []string{"./"}
		for len(next) > 0 {
			path := next[0]
			next = next[1:]
			resp, body := get(t, server, strings.TrimPrefix(path, "."))
			if resp.StatusCode != 200 {
				t.Errorf("%s: %s: %s", name, path, resp.Status)
			}
			for _, link := range regexp.MustCompile(`href="(\./[^"]*)"`).FindAllStringSubmatch(body, -1) {
				if path := strings.ReplaceAll(link[1], "&amp;", "&"); !seen[path] {
					seen[path] = true
					next = append(next, path)
				}
			}
		}
		if len(seen) < 40 {
			t.Errorf("%s: only %d pages", name, len(seen))
		}
	}
}

// Pages stay small, whatever there is.
func TestSize(t *testing.T) {
	big := huge().open(t)
	for path, limit := range map[string]int{"/": 60, "/?at=n000": 60, "/?at=n050": 60, "/?at=n000&all=1": 200, "/?part=1": 30} {
		if _, body := get(t, big, path); len(body) > limit<<10 {
			t.Errorf("fleet of 10,000: %s has %d KiB, want at most %d", path, len(body)>>10, limit)
		}
	}
	if _, body := get(t, failed().open(t), "/"); len(body) > 60<<10 {
		t.Errorf("a page has %d KiB", len(body)>>10)
	}
	var most []health.Node // that are shown without asking
	for i := range maxOpen {
		most = append(most, service(fmt.Sprintf("web.stack%02d.vm1", i), "200 OK"))
	}
	if _, body := get(t, scene{node: host("vm1", most...), events: night()}.open(t), "/"); len(body) > 60<<10 {
		t.Errorf("a host of %d containers has %d KiB", maxOpen, len(body)>>10)
	}
	_, body := get(t, big, "/?at=n050")
	if !strings.Contains(body, "100 are well") || strings.Contains(body, " open>") {
		t.Error("what is well is not folded away")
	}
	if _, body := get(t, big, "/?at=n050&all=1"); strings.Count(body, "<tr id=") != 100 {
		t.Error("not everything is shown")
	}
}

// Everything that is not a state is told in words.
func TestRemarks(t *testing.T) {
	for name, s := range map[string]struct {
		scene
		path string
		want []string
	}{
		"muted": {mutedScene(), "/", []string{"All is well<small>, 1 muted", "“waits for the weekend”, says operator/desk",
			"or until it gets worse", ">1 muted</span>",
			"unexpected", "forked", "unchecked", "page forced"}},
		"forced": {mutedScene(), "/?at=vm2/trial.lab.vm2/page", []string{"It is not what was seen"}},
		"stale": {stale(), "/", []string{"stale", "74 % of it is fresh", "93 % of the containers looked into",
			"would be 100 if all that is unknown were well"}},
		"missing":  {failed(), "/?at=vm2/backup.cloud.vm2", []string{"missing", "never"}},
		"flapping": {degraded(), "/?at=vm1/mail.post.vm1/page", []string{"flapping", "changes its mind too often"}},
		"values": {degraded(), "/?at=pi/nas.store.pi/disk", []string{"88 %", "warns at 85 %, fails at 95 %",
			"11200 since its agent started", "took 1.4 ms"}},
	} {
		_, body := get(t, s.open(t), s.path)
		for _, want := range s.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the page does not say %q", name, want)
			}
		}
	}
}

// A snapshot that nobody renews is told by the server too, for those without script.
func TestOldSnapshot(t *testing.T) {
	s := healthy()
	s.at = ago(3 * time.Minute)
	if _, body := get(t, s.open(t), "/"); !strings.Contains(body, `class="frozen"`) ||
		!strings.Contains(body, "has not looked at anything for 3 min") {
		t.Error("it is not told")
	}
	if _, body := get(t, healthy().open(t), "/"); strings.Contains(body, `class="frozen"`) {
		t.Error("it is told of a new one")
	}
}

func TestStrip(t *testing.T) {
	now := time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)
	at := func(clock string) time.Time {
		when, err := time.Parse("15:04", clock)
		if err != nil {
			t.Fatal(err)
		}
		return now.Truncate(24 * time.Hour).Add(time.Duration(when.Hour())*time.Hour + time.Duration(when.Minute())*time.Minute)
	}
	turn := func(clock string, from, to health.State) record.Event {
		return record.Event{At: at(clock), Path: "a", From: &from, To: &to}
	}
	before := record.Event{At: now.Add(-48 * time.Hour), Path: "b"}
	n := health.Node{State: health.Pass, Since: at("03:15")}
	for name, test := range map[string]struct {
		events []record.Event
		state  health.State
		want   []string
		words  string
	}{
		"a short failure": {[]record.Event{before, turn("03:12", health.Pass, health.Fail),
			turn("03:15", health.Fail, health.Pass)}, health.Pass,
			[]string{"pass 07:00-03:12", "fail 03:12-03:15", "pass 03:15-07:00"},
			"Last 24 hours: 99.8 % up; fail from 03:12 to 03:15 UTC."},
		"nothing noted": {[]record.Event{before}, health.Pass, []string{"pass 03:15-07:00"},
			"Last 24 hours: 100 % up; known since 03:15 UTC."},
		"new": {[]record.Event{before, {At: at("06:00"), Path: "a", To: ptr(health.Warn)}}, health.Warn,
			[]string{"warn 06:00-07:00"}, "Last 24 hours: 100 % up; warn from 06:00 to 07:00 UTC; known since 06:00 UTC."},
		"a flag alone": {[]record.Event{before, turn("03:12", health.Pass, health.Pass)}, health.Pass,
			[]string{"pass 07:00-07:00"}, "Last 24 hours: 100 % up."},
		"a clock that went back": {[]record.Event{before, turn("06:30", health.Pass, health.Fail),
			turn("06:20", health.Fail, health.Pass)}, health.Pass,
			[]string{"fail 07:00-06:20", "pass 06:20-07:00"}, "Last 24 hours: 2.8 % up; fail from 07:00 to 06:20 UTC."},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDiary(test.events, now)
			n := n
			n.State = test.state
			var got []string
			for _, s := range d.spells("a", &n) {
				got = append(got, fmt.Sprintf("%s %s-%s", s.state, s.from.Format("15:04"), s.to.Format("15:04")))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if words := d.strip("a", &n).Words; words != test.words {
				t.Errorf("%q, want %q", words, test.words)
			}
		})
	}
	var many []record.Event
	for i := range 600 {
		states := []health.State{health.Pass, health.Fail}
		many = append(many, record.Event{At: now.Add(time.Duration(i-600) * time.Minute), Path: "a", From: &states[i%2],
			To: &states[1-i%2]})
	}
	if s := newDiary(many, now).strip("a", &n); len(s.Bands) != maxBands {
		t.Errorf("%d bands, want %d", len(s.Bands), maxBands)
	}
}

// What a check did to its container and its host is told once.
func TestNews(t *testing.T) {
	s := healthy()
	up := event(time.Minute, "vm1/web.cloud.vm1/page", health.Starting, health.Pass,
		"200 OK in 31 ms") // as whenever something starts
	p := drawer{now: time.Now(), root: &s.node, diary: newDiary(append(s.events, up), time.Now())}
	list, disturbed := p.news([]*health.Node{&s.node})
	var got []string
	for _, n := range list {
		got = append(got, fmt.Sprintf("%s>%s %s %s", n.From, n.To, n.Path[len(n.Path)-1].Name, n.Lasted))
	}
	p.ask.all = true
	if list, _ := p.news([]*health.Node{&s.node}); len(list) != len(got)+1 {
		t.Errorf("all of it is %d changes, want one more than %d", len(list), len(got))
	}
	want := []string{"pass>warn page 22 min", "pass>fail page 3 min", "warn>pass disk "}
	if diff := cmp.Diff(want, got); diff != "" || disturbed != 2 {
		t.Errorf("%d disturbances: %s", disturbed, diff)
	}
}

func TestQuantity(t *testing.T) {
	for _, test := range []struct {
		value float64
		unit  string
		want  string
	}{
		{.0014, "s", "1.4 ms"}, {93, "s", "93 s"}, {7200, "s", "2 h"}, {1536, "By", "1.5 KiB"}, {45.6 * (1 << 30), "By", "45.6 GiB"},
		{.88, "1", "88 %"},
		{61.2, "Cel", "61.2 °C"}, {12345, "c", "12345"}, {3, "jobs", "3 jobs"},
	} {
		if got := quantity(test.value, test.unit); got != test.want {
			t.Errorf("%v %s: %q, want %q", test.value, test.unit, got, test.want)
		}
	}
}

// A page is drawn anew once a second at most, and at once when there is something new.
func TestDrawnOnce(t *testing.T) {
	s := healthy()
	d := New(s.configured())
	at := request{}
	first := d.answer(at)
	if again := d.answer(at); &again.body[0] != &first.body[0] {
		t.Error("drawn twice in a second")
	}
	for i := range 3 * maxDrawn {
		d.answer(request{path: fmt.Sprint("x", i)})
	}
	if len(d.drawn) > maxDrawn {
		t.Errorf("%d pages are kept, at most %d", len(d.drawn), maxDrawn)
	}
}

func BenchmarkDraw(b *testing.B) {
	for name, s := range map[string]scene{"homelab": failed(), "10000 containers": huge()} {
		b.Run(name, func(b *testing.B) {
			d := New(s.configured())
			snapshot := d.Source()
			for b.Loop() {
				d.draw(snapshot, time.Now(), request{})
			}
		})
	}
}
