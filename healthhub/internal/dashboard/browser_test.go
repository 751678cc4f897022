// SPDX-License-Identifier: AGPL-3.0-or-later

package dashboard

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/healthhub/internal/door"
	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
)

var shots = flag.String("screenshots", "", "`DIR` to which pictures of all scenes are written, for eyes to judge")

// TestBrowser looks at the pages with a real browser. Where there is none, that is a failure in CI, and elsewhere said.
func TestBrowser(t *testing.T) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is not there: .ci/needs installs it")
		}
		t.Skip("chromium is not there: what only a browser can show is not tested")
	}
	// The sandbox needs what root in a container has not; the pages are our own.
	alloc, cancel := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.UserDataDir(t.TempDir()))...)
	t.Cleanup(cancel)
	all, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	if err := chromedp.Do(all); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, *tab)
	}{
		{"looks", looks}, {"injection", injection}, {"keyboard", keyboard}, {"without script", withoutScript},
		{"read aloud", aloud}, {"live", live}, {"frozen", frozen}, {"login", login},
		{"reduced motion", reducedMotion},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newTab(t, all)) })
	}
}

// tab is a page of the browser.
type tab struct {
	ctx context.Context

	mu   sync.Mutex
	said []string // the console's errors and warnings, broken policies among them
}

func newTab(t *testing.T, all context.Context) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(all)
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(stop)
	b := &tab{ctx: ctx}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.Type == chromedp.ConsoleDebug || m.Type == chromedp.ConsoleInfo {
				continue // advice
			}
			b.mu.Lock()
			b.said = append(b.said, fmt.Sprintf("%s: %s", m.Type, m.Text))
			b.mu.Unlock()
		}
	}()
	return b
}

// quiet fails if the console has said anything.
func (b *tab) quiet(t *testing.T, where string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.said) > 0 {
		t.Errorf("%s: the browser complains: %q", where, b.said)
		b.said = nil
	}
}

func (b *tab) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// shoot writes a picture of the page, where pictures are wanted.
func (b *tab) shoot(t *testing.T, name string) {
	t.Helper()
	if *shots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ask evaluates an expression in the page.
func ask[T any](t *testing.T, b *tab, expression string) T {
	t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits for an expression to become true.
func (b *tab) until(t *testing.T, expression string) {
	t.Helper()
	b.wait(t, expression, func() bool { return ask[bool](t, b, expression) })
}

func (b *tab) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-b.ctx.Done():
			t.Fatalf("%s: does not come", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// command sends the browser a command that chromedp has no word for.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, params)
		return err
	})
}

// media chooses what the reader prefers.
func media(name, value string) chromedp.Action[chromedp.Void] {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: name, Value: value}},
	})
}

func screen(wide, high int64) chromedp.Action[chromedp.Void] {
	return chromedp.EmulateViewport(wide, high, chromedp.EmulateScale(1))
}

// judge is a script that returns what is wrong with a page: wider than the screen, text or signs too pale (WCAG 2.2,
// 1.4.3 and 1.4.11, AA), ids given twice, pictures without words, no landmarks, more than one first heading.
//
//go:embed testdata/judge.js
var judge string

// Every scene can be read, in light and dark, on a desk and on a phone, and the browser has nothing to say against it.
func looks(t *testing.T, b *tab) {
	old := failed()
	old.at = ago(3 * time.Minute)
	servers := map[string]*httptest.Server{
		"healthy": healthy().open(t), "degraded": degraded().open(t), "failed": failed().open(t), "stale": stale().open(t),
		"muted": mutedScene().open(t), "huge": huge().open(t), "frozen": old.open(t), "starting": starting().open(t),
	}
	b.do(t, command(emulation.SetLocaleOverride, emulation.SetLocaleOverrideParams{Locale: "en-GB"}))
	for _, shot := range []struct {
		name, scene, query string
	}{
		{"healthy", "healthy", ""}, {"degraded", "degraded", ""}, {"failed", "failed", ""}, {"stale", "stale", ""},
		{"muted", "muted", ""}, {"huge", "huge", ""}, {"frozen", "frozen", ""}, {"starting", "starting", ""},
		{"host", "failed", "?at=vm1"}, {"container", "failed", "?at=vm1/db.shop.vm1"},
		{"check", "degraded", "?at=pi/nas.store.pi/disk"}, {"hugehost", "huge", "?at=n001"}, {"lost", "healthy", "?at=nowhere"},
	} {
		for _, form := range []struct {
			name       string
			wide, high int64
			scheme     string
			rare       bool // not of all scenes
		}{
			{"", 1180, 760, "light", false}, {"-dark", 1180, 760, "dark", true}, {"-tablet", 800, 1000, "light", true},
			{"-phone", 360, 740, "light", false}, {"-phone-dark", 360, 740, "dark", true},
		} {
			name := shot.name + form.name
			if form.rare && !slices.Contains([]string{"healthy", "failed", "muted", "stale", "check"}, shot.name) {
				continue
			}
			b.do(t, screen(form.wide, form.high), media("prefers-color-scheme", form.scheme),
				chromedp.Navigate(servers[shot.scene].URL+"/"+shot.query))
			for _, bad := range ask[[]string](t, b, judge) {
				t.Errorf("%s: %s", name, bad)
			}
			if shot.name != "lost" { // a 404 is told
				b.quiet(t, name)
			}
			b.shoot(t, name)
		}
	}
}

// poison is what a check, a name or an operator could say to become more than text.
var poison = []string{
	`</script><script>hit=1</script>`, `"><img src=x onerror=hit=1>`, `'><svg onload=hit=1>`, `javascript:hit=1`, `</title><script>hit=1</script>`, `</style><script>hit=1</script>`,
	`<a href="javascript:hit=1">click</a>`, "\x1b[31mred\x1b[0m", "\u202egnp.exe\u2066", `{{.Nonce}}`, `--><script>hit=1</script>`, `&lt;script&gt;hit=1&lt;/script&gt;`, "\x00\r\n\t",
	`<iframe srcdoc="<script>parent.hit=1</script>">`, `<meta http-equiv=refresh content="0;url=javascript:hit=1">`, `<base href=//evil.example>`, `" autofocus onfocus=hit=1 x="`,
}

// injection finds that nothing that stands in a tree becomes an element, a link elsewhere or a script: not in the
// first page, and not in what the script swaps in.
func injection(t *testing.T, b *tab) {
	tainted := func(s string) scene {
		named := func(n string) string { return n + s }
		c := check(named("page"), health.Fail, s, health.FlagCritical)
		c.Action = s
		c.Flags = append(c.Flags, s, health.FlagSuppressedBy+s)
		c.Values = []health.Value{{Name: named("v"), Value: 1, Unit: s, Warn: ptr(.5), Fail: ptr(.8)}}
		m := check("muted", health.Fail, s, health.FlagMuted)
		gone := health.Node{Kind: health.KindContainer, Name: named("gone"), State: health.Fail,
			Flags: []string{health.FlagMissing}, Text: s, Action: s}
		n := fleet(host(named("vm1"), container(named("web"), c, m), gone))
		n.Name, n.Text, n.Action = named("f"), s, s
		path := named("vm1") + "/" + named("web")
		e := event(time.Minute, path+"/"+named("page"), health.Pass, health.Fail, s)
		lost := event(time.Minute, named("was"), health.Pass, health.Fail, s)
		return scene{node: n, events: []record.Event{e, lost}, mutes: []mute.Mute{{Path: path + "/muted", By: s, Reason: s,
			Until: time.Now().Add(time.Hour)}}}
	}
	census := `(() => { const n = {}; for (const e of document.querySelectorAll("*")) n[e.localName] = (n[e.localName] || 0) + 1; return n })()`
	pages := func(s scene) []string { // the root, and the check
		return []string{"/", strings.TrimPrefix(link(s.node.Children[0].Name+"/"+s.node.Children[0].Children[0].Name+"/"+s.node.Children[0].Children[0].Children[0].Name), ".")}
	}
	var want []map[string]int
	plain := tainted("x")
	server := plain.open(t)
	for _, path := range pages(plain) {
		b.do(t, chromedp.Navigate(server.URL+path))
		want = append(want, ask[map[string]int](t, b, census))
	}
	clean := func(what string, want map[string]int) {
		t.Helper()
		if diff := cmp.Diff(want, ask[map[string]int](t, b, census)); diff != "" {
			t.Errorf("%s became elements: %s", what, diff)
		}
		if ask[bool](t, b, `typeof hit !== "undefined"`) {
			t.Errorf("%s ran", what)
		}
		for _, href := range ask[[]string](t, b, `[...document.querySelectorAll("a")].map((a) => a.href)`) {
			if !strings.HasPrefix(href, server.URL+"/") {
				t.Errorf("%s became a link to %s", what, href)
			}
		}
		b.quiet(t, what)
	}
	for _, s := range poison {
		bad := tainted(s)
		// One server, so that the browser's connections last: what it shows is exchanged.
		server.Config.Handler = bad.handler()
		for i, path := range pages(bad) {
			b.do(t, chromedp.Navigate(server.URL+path))
			clean(fmt.Sprintf("%q", s), want[i])
		}
	}
	// Swapped in by the script, all at once.
	server.Config.Handler = plain.handler()
	all := strings.Join(poison, " ")
	even := tainted(strings.Repeat("x", len(all))) // names of that length have no path any more
	b.do(t, chromedp.Navigate(even.open(t).URL+"/"))
	swapped := ask[map[string]int](t, b, census)
	b.do(t, chromedp.Navigate(server.URL+"/"))
	ask[bool](t, b, `window.same = document.querySelector("h1"), true`)
	bad := tainted(all)
	server.Config.Handler = bad.handler()
	ask[bool](t, b, `document.dispatchEvent(new Event("visibilitychange"))`)
	b.until(t, `document.title.includes("svg onload")`)
	clean("what was swapped in", swapped)
	if !ask[bool](t, b, `window.same === document.querySelector("h1")`) {
		t.Error("the page was not swapped, but made anew")
	}
}

// keyboard walks through a page with the tabulator alone: everything that can be used comes by, in its order, in
// sight, and marked.
func keyboard(t *testing.T, b *tab) {
	many := huge()
	b.do(t, screen(1180, 760), chromedp.Navigate(many.open(t).URL+"/?at=n001"))
	all := ask[int](t, b,
		`document.querySelectorAll("header a, main a:not(details:not([open]) > :not(summary) a), summary, footer a, a.skip").length`)
	var walked []string
	for range all + 1 {
		b.do(t, chromedp.KeyEvent(kb.Tab))
		at := ask[struct {
			Name   string
			Index  int
			Marked bool
			Seen   bool
		}](t, b, `(() => {
			const e = document.activeElement, r = e.getBoundingClientRect(), s = getComputedStyle(e);
			return { Name: e.localName + " " + e.textContent.trim().slice(0, 40), Index: [...document.querySelectorAll("*")].indexOf(e),
				Marked: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2, Seen: r.top >= 0 && r.bottom <= innerHeight + 1 && r.width > 0 && r.left >= 0 };
		})()`)
		if strings.HasPrefix(at.Name, "body") {
			break
		}
		walked = append(walked, fmt.Sprintf("%06d %s", at.Index, at.Name))
		if !at.Marked || !at.Seen {
			t.Errorf("%s has the focus: marked %v, in sight %v", at.Name, at.Marked, at.Seen)
		}
	}
	if len(walked) != all || !slices.IsSorted(walked) || !strings.Contains(walked[0], "To the content") {
		t.Errorf("%d stops of %d, begun with %s; sorted: %v", len(walked), all, walked[0], slices.IsSorted(walked))
	}
	// The first stop leads past the head of the page; a fold opens and closes by key.
	b.do(t, chromedp.Navigate(many.open(t).URL+"/?at=n001"), chromedp.KeyEvent(kb.Tab+kb.Enter+kb.Tab))
	if got := ask[string](t, b, `document.activeElement.closest("main") ? "in" : document.activeElement.outerHTML`); got != "in" {
		t.Errorf("after the skip link the focus is at %s", got)
	}
	ask[bool](t, b, `document.querySelector("summary").focus(), true`)
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.until(t, `document.querySelector("summary").parentNode.open`)
	b.do(t, chromedp.KeyEvent(" "))
	b.until(t, `!document.querySelector("summary").parentNode.open`)
	b.quiet(t, "keyboard")
}

// aloud is the page as a screen reader gets it: landmarks, headings, tables, and a name for whatever can be used or
// stands for something. On the phone too, where the tables are laid out as cards.
func aloud(t *testing.T, b *tab) {
	server := failed().open(t)
	for _, wide := range []int64{1180, 360} {
		b.do(t, screen(wide, 740), chromedp.Navigate(server.URL+"/"))
		tree, err := chromedp.Call(b.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
		if err != nil {
			t.Fatal(err)
		}
		text := func(v *accessibility.Value) string {
			if v == nil {
				return ""
			}
			return strings.Trim(string(v.Value), `"`)
		}
		heard := map[string]bool{}
		for _, n := range tree.Nodes {
			role, name := text(n.Role), text(n.Name)
			if n.Ignored {
				continue
			}
			heard[role], heard[role+" "+name] = true, true
			if name == "" && slices.Contains([]string{"link", "image", "img", "heading", "region", "button", "columnheader"}, role) {
				t.Errorf("a %s has no name", role)
			}
		}
		for _, want := range []string{
			"banner", "navigation Where you are", "main", "contentinfo", "status", "link To the content",
			"heading fleet cloud4.internal: 3 things fail, 2 more want a look", "heading What is wrong", "region What is wrong", "heading host vm1",
			"table", "columnheader Last 24 hours", "rowheader db.shop.vm1", "link db.shop.vm1", "row", "cell",
		} {
			if !heard[want] {
				t.Errorf("%d wide: a reader does not hear of %q", wide, want)
			}
		}
	}
	b.quiet(t, "read aloud")
}

func withoutScript(t *testing.T, b *tab) {
	b.do(t, command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}),
		chromedp.Navigate(failed().open(t).URL+"/"))
	if got := ask[string](t, b, `document.querySelector("meta[http-equiv=refresh]").content`); got != fmt.Sprint(refreshSeconds) {
		t.Errorf("it asks for itself again every %q s", got)
	}
	text := ask[string](t, b, `document.body.innerText`)
	for _, want := range []string{"3 things fail, 2 more want a look", "connection refused", "loghub tail db.shop.vm1",
		"for 23 min", "As of " + time.Now().UTC().Format("15:"), "UTC", "asks again every 15 s"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(text, "frozen") {
		t.Error("it says that it is frozen")
	}
	for _, bad := range ask[[]string](t, b, judge) {
		t.Error(bad)
	}
	b.quiet(t, "without script")
}

// live changes what there is under the reader's eyes, who neither loses place nor focus, nor what was unfolded.
func live(t *testing.T, b *tab) {
	var mu sync.Mutex
	now := page.Snapshot{Node: ptr(many()), Generation: 1, At: time.Now()}
	source := func() page.Snapshot { mu.Lock(); defer mu.Unlock(); return now }
	documents := page.New(source)
	var streams atomic.Int32
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		streams.Add(1)
		defer streams.Add(-1)
		documents.Handler().ServeHTTP(w, r)
	})
	mux.Handle("GET /{$}", New(Config{Source: source}))
	server := httptest.NewServer(mux)
	defer server.Close()
	defer server.CloseClientConnections()
	b.do(t, screen(1180, 500), chromedp.Navigate(server.URL+"/"))
	b.until(t, `document.getElementById("pulse-word").textContent === "Live, as of"`)
	if got := ask[string](t, b,
		`document.title + "|" + document.querySelector("h1").lastChild.data`); got != "✓ well · vm1|All is well" {
		t.Fatal(got)
	}
	ask[bool](t, b, `document.querySelector("summary").click(), document.querySelector("details a").focus(), scrollTo(0, 300), window.row = document.activeElement.parentNode, true`)
	change := func(s health.State) time.Duration {
		t.Helper()
		mu.Lock()
		n := many(container("new.shop.vm1", since(check("page", s, "what was seen", health.FlagCritical), time.Second)))
		now = page.Snapshot{Node: &n, Generation: now.Generation + 1, At: time.Now()}
		next := now
		mu.Unlock()
		begin := time.Now()
		documents.Tell(next, []record.Event{{At: time.Now(), Path: "new.shop.vm1/page", Kind: health.KindCheck, To: &s}})
		b.until(t, fmt.Sprintf(`document.title.startsWith(%q)`, marks[s]))
		return time.Since(begin)
	}
	t.Logf("a change is on the page after %s", change(health.Fail))
	for what, want := range map[string]string{
		`document.querySelector("h1").lastChild.data`:                              "1 thing fails",
		`document.querySelector("[role=status] h1") ? "told" : ""`:                 "told",
		`document.querySelector("#causes .way").innerText`:                         "new.shop.vm1 › page",
		`String(document.querySelector("details").open)`:                           "true",
		`String(document.activeElement === row.querySelector("a"))`:                "true",
		`String(document.querySelector("link[rel=icon]").href.includes("d6303d"))`: "true",
		`String(scrollY > 250)`:                                                    "true",
	} {
		if got := ask[string](t, b, what); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	// Ages tick by themselves.
	before := ask[string](t, b, `document.querySelector("#causes .ago").textContent`)
	b.until(t, fmt.Sprintf(`document.querySelector("#causes .ago").textContent !== %q`, before))
	change(health.Pass)
	if got := ask[string](t, b,
		`document.querySelector("h1").lastChild.data + document.querySelector("details").open`); got != "All is welltrue" {
		t.Error(got)
	}
	// In the background it holds no stream; back in sight it does again.
	b.wait(t, "a stream", func() bool { return streams.Load() == 1 })
	const turn = `document.dispatchEvent(new Event("visibilitychange"))`
	ask[bool](t, b, `Object.defineProperty(document, "hidden", { value: true, configurable: true }), `+turn)
	b.wait(t, "no stream", func() bool { return streams.Load() == 0 })
	ask[bool](t, b, `delete document.hidden, `+turn)
	b.wait(t, "a stream again", func() bool { return streams.Load() == 1 })
	b.quiet(t, "live")
}

// many is a host with more containers than are shown without asking.
func many(more ...health.Node) health.Node {
	for i := range maxOpen + 5 {
		more = append(more, service(fmt.Sprintf("c%02d.shop.vm1", i), "200 OK"))
	}
	return host("vm1", more...)
}

// frozen pages say so: when the server is silent, and when it answers with what is old.
func frozen(t *testing.T, b *tab) {
	server := healthy().open(t)
	b.do(t, chromedp.Navigate(server.URL+"/"))
	b.until(t, `document.getElementById("pulse-word").textContent === "Live, as of" && document.getElementById("frozen").hidden`)
	server.CloseClientConnections()
	server.Close()
	ask[string](t, b, `document.body.dataset.frozen = "1"`) // seconds, instead of thirty
	b.until(t, `!document.getElementById("frozen").hidden`)
	for what, want := range map[string]string{
		`document.getElementById("frozen").innerText`:                      "Nothing was heard from the server for",
		`document.querySelector("[role=alert]").innerText`:                 "This page is frozen.",
		`document.getElementById("pulse").innerText`:                       "Frozen, as of",
		`getComputedStyle(document.getElementById("verdict")).filter`:      "saturate",
		`document.getElementById("pulse").classList.contains("live") + ""`: "false",
	} {
		if got := ask[string](t, b, what); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	old := healthy()
	old.at = ago(3 * time.Minute)
	b.do(t, chromedp.Navigate(old.open(t).URL+"/"))
	b.until(t, `document.getElementById("frozen-why").textContent.includes("has not looked at anything for 3 min")`)
}

// login leads through the door, and leaves the token nowhere.
func login(t *testing.T, b *tab) {
	tokens := door.OpenTokens(t.TempDir())
	token, err := tokens.Make()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(door.New(door.Config{Next: failed().handler(), Tokens: tokens}))
	defer server.Close()
	defer server.CloseClientConnections()
	b.do(t, screen(360, 740), chromedp.Navigate(server.URL+"/?at=vm1/db.shop.vm1"))
	enter := func(word string) {
		t.Helper()
		b.until(t, `document.activeElement.id === "token"`)
		b.do(t, chromedp.KeyEvent(word+kb.Enter))
	}
	for _, bad := range ask[[]string](t, b, judge) {
		if !strings.Contains(bad, "landmark") {
			t.Error(bad)
		}
	}
	enter("wrong")
	b.until(t, `document.querySelector("[role=alert]")?.innerText.includes("not the read token") ?? false`)
	b.shoot(t, "login")
	enter(token)
	b.until(t, `document.title === "✕ 1 failing · db.shop.vm1"`)
	b.until(t, `document.getElementById("pulse-word")?.textContent === "Live, as of"`) // the cookie opens the stream too
	if got := ask[string](t, b, `document.cookie + location.search + document.documentElement.outerHTML`); strings.Contains(got, token) ||
		strings.Contains(got, "healthhub=") {
		t.Error("the page knows the token, or the cookie")
	}
	b.mu.Lock()
	for _, line := range b.said { // the browser tells of 401 itself
		if !strings.Contains(line, "401") {
			t.Error(line)
		}
	}
	b.mu.Unlock()
}

func reducedMotion(t *testing.T, b *tab) {
	server := healthy().open(t)
	for value, want := range map[string]string{"reduce": "none", "no-preference": "beat"} {
		b.do(t, media("prefers-reduced-motion", value), chromedp.Navigate(server.URL+"/"))
		b.until(t, `document.getElementById("pulse").classList.contains("live")`)
		if got := ask[string](t, b, `getComputedStyle(document.getElementById("pulse"), "::before").animationName`); got != want {
			t.Errorf("%s: animation %s, want %s", value, got, want)
		}
	}
}
