// SPDX-License-Identifier: AGPL-3.0-or-later

package record

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func check(name string, s health.State, flags ...string) health.Node {
	return health.Node{Kind: health.KindCheck, Name: name, State: s, Flags: flags, Text: s.String() + " it is"}
}

func container(name string, s health.State, checks ...health.Node) health.Node {
	return health.Node{Kind: health.KindContainer, Name: name, State: s, Children: checks}
}

func host(s health.State, containers ...health.Node) *health.Node {
	return &health.Node{Kind: health.KindHost, Name: "vm1", State: s, Children: containers}
}

// told is events in short: "web/page pass>fail".
func told(events []Event) string {
	name := func(s *health.State) string {
		if s == nil {
			return "-"
		}
		return s.String()
	}
	var out []string
	for _, e := range events {
		if e.Kind == KindMark {
			out = append(out, e.Text)
			continue
		}
		out = append(out, fmt.Sprintf("%s %s>%s", e.Path, name(e.From), name(e.To)))
	}
	return strings.Join(out, ", ")
}

func TestNote(t *testing.T) {
	p, f := health.Pass, health.Fail
	for name, test := range map[string]struct {
		before, after *health.Node
		want          string
	}{
		"nothing yet":       {nil, host(p, container("web", p, check("page", p))), " ->pass"},
		"the same":          {host(p, container("web", p)), host(p, container("web", p)), ""},
		"leaf first":        {host(p, container("web", p, check("page", p))), host(f, container("web", f, check("page", f))), "web/page pass>fail, web pass>fail,  pass>fail"},
		"only a text":       {host(p, container("web", p, check("page", p))), host(p, container("web", p, health.Node{Kind: "check", Name: "page", Text: "x"})), ""},
		"came":              {host(p), host(p, container("web", p, check("page", p))), "web ->pass"},
		"went":              {host(p, container("a", p), container("web", p, check("page", p))), host(p, container("a", p)), "web pass>-"},
		"came in between":   {host(p, container("a", p), container("c", p)), host(p, container("a", p), container("b", p), container("c", f)), "b ->pass, c pass>fail"},
		"another order":     {host(p, container("a", p), container("c", p)), host(p, container("c", p), container("a", f)), "a pass>fail"},
		"named alike":       {host(p, check("a", p), container("a", p)), host(p, check("a", p), container("a", f)), "a pass>fail"},
		"a name with slash": {host(p, container("web/1", p, check("hub/log", p))), host(p, container("web/1", p, check("hub/log", f))), "web/1/hub/log pass>fail"},
		"a telling flag":    {host(p, check("a", f)), host(p, check("a", f, health.FlagMuted)), "a fail>fail"},
		"a flag goes":       {host(p, check("a", p, health.FlagForced)), host(p, check("a", p)), "a pass>pass"},
		"a silent flag":     {host(p, check("a", f)), host(p, check("a", f, health.FlagSuppressedBy+"db")), ""},
		"flapping begins":   {host(p, check("a", p)), host(p, check("a", f, health.FlagFlapping)), "a pass>fail"},
		"flapping goes on":  {host(p, check("a", health.Warn, health.FlagFlapping)), host(p, check("a", f, health.FlagFlapping)), ""},
		"flapping and flag": {host(p, check("a", f, health.FlagFlapping)), host(p, check("a", f, health.FlagFlapping, health.FlagMuted)), "a fail>fail"},
		"flapping ends":     {host(p, check("a", f, health.FlagFlapping)), host(p, check("a", p)), "a fail>pass"},
	} {
		t.Run(name, func(t *testing.T) {
			r := New("", 100)
			got := r.Note(test.before, test.after, noon)
			if diff := cmp.Diff(test.want, told(got)); diff != "" {
				t.Error(diff)
			}
			kept, complete := r.Since(0)
			if !complete || told(kept) != told(got) {
				t.Errorf("kept %q, complete %t", told(kept), complete)
			}
		})
	}
}

func TestEvent(t *testing.T) {
	r := New("", 10)
	long := strings.Repeat("ä<", 1000)
	n := health.Node{
		Kind: health.KindCheck, Name: "page", State: health.Fail, Flags: []string{health.FlagStale}, Text: long, Action: "look at it",
	}
	r.Note(host(health.Pass, check("page", health.Pass)), host(health.Pass, n), noon.Add(1234567*time.Nanosecond).In(time.FixedZone("", 3600)))
	events, _ := r.Since(0)
	if len(events) != 1 {
		t.Fatalf("%d events", len(events))
	}
	e := events[0]
	if len(e.Text) > maxText || !strings.HasSuffix(e.Text, "…") {
		t.Errorf("a text of %d bytes ending in %.10q", len(e.Text), e.Text[len(e.Text)-4:])
	}
	e.Text = ""
	want := Event{
		Seq: 1, At: noon.Add(time.Millisecond), Path: "page", Kind: "check", From: new(health.Pass), To: new(health.Fail),
		Flags: []string{health.FlagStale}, Action: "look at it",
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	wire := `{"seq":1,"at":"2026-03-01T12:00:00.001Z","path":"page","kind":"check","from":"pass","to":"fail","flags":["stale"],"action":"look at it"}` + "\n"
	if diff := cmp.Diff(wire, string(line(&e))); diff != "" {
		t.Error(diff)
	}
}

func TestSince(t *testing.T) {
	r := New("", 10)
	for i := range 25 {
		r.Mark(fmt.Sprint(i+1), noon)
	}
	for name, test := range map[string]struct {
		seq      uint64
		want     string
		complete bool
	}{
		"the last":      {25, "", true},
		"two":           {23, "24, 25", true},
		"all kept":      {15, "16, 17, 18, 19, 20, 21, 22, 23, 24, 25", true},
		"one too early": {14, "16, 17, 18, 19, 20, 21, 22, 23, 24, 25", false},
		"the first":     {0, "16, 17, 18, 19, 20, 21, 22, 23, 24, 25", false},
		"of the future": {26, "", false},
		"no number":     {^uint64(0), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			events, complete := r.Since(test.seq)
			if told(events) != test.want || complete != test.complete {
				t.Errorf("got %q, complete %t", told(events), complete)
			}
		})
	}
	if r.Last() != 25 {
		t.Errorf("last is %d", r.Last())
	}
}

func TestQuery(t *testing.T) {
	r := New("", 100)
	p, f := health.Pass, health.Fail
	before := host(p, container("web", p, check("page", p), check("hub/log", p)), container("web2", p, check("page", p)))
	r.Note(before, host(p, container("web", p, check("page", f), check("hub/log", f)), container("web2", p, check("page", f))), noon)
	r.Mark("mark", noon.Add(time.Minute))
	r.Note(before, host(f, container("web", f, check("page", p), check("hub/log", p)), container("web2", p, check("page", p))), noon.Add(time.Hour))
	for name, test := range map[string]struct {
		path  string
		since time.Time
		limit int
		want  string
	}{
		"all":             {"", time.Time{}, 0, "web/page pass>fail, web/hub/log pass>fail, web2/page pass>fail, mark, web pass>fail,  pass>fail"},
		"a container":     {"web", time.Time{}, 0, "web/page pass>fail, web/hub/log pass>fail, web pass>fail"},
		"a leaf":          {"web2/page", time.Time{}, 0, "web2/page pass>fail"},
		"part of a name":  {"we", time.Time{}, 0, ""},
		"inside a name":   {"web/hub", time.Time{}, 0, "web/hub/log pass>fail"},
		"nobody":          {"nobody", time.Time{}, 0, ""},
		"since":           {"", noon.Add(time.Minute), 0, "mark, web pass>fail,  pass>fail"},
		"the newest":      {"", time.Time{}, 2, "web pass>fail,  pass>fail"},
		"the newest of":   {"web", time.Time{}, 1, "web pass>fail"},
		"more than there": {"web2", time.Time{}, 50, "web2/page pass>fail"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := told(r.Query(test.path, test.since, test.limit)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// When a fleet goes down at once, what is kept is what went down, not only its last leaves.
func TestMany(t *testing.T) {
	tree := func(s health.State) *health.Node {
		n := host(s)
		for i := range 30 {
			c := container(fmt.Sprint("c", i), s)
			for k := range 10 {
				c.Children = append(c.Children, check(fmt.Sprint("k", k), s))
			}
			n.Children = append(n.Children, c)
		}
		return n
	}
	r := New("", 200)
	r.Mark("before", noon)
	events := r.Note(tree(health.Pass), tree(health.Fail), noon)
	if len(events) != 51 || events[50].Text != "281 more changes at the same moment" {
		t.Fatalf("%d events, the last %+v", len(events), events[len(events)-1])
	}
	containers := 0
	for _, e := range events {
		if e.Kind == health.KindContainer {
			containers++
		}
	}
	if containers != 30 || events[49].Path != "" {
		t.Errorf("%d containers, and then %q", containers, events[49].Path)
	}
	if all := r.Query("", time.Time{}, 0); all[0].Text != "before" {
		t.Error("what was before is lost")
	}
}

// Whatever happens to a tree: what the events say, applied to what was, is what is.
func TestEventsAreTheDifference(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	tree := func() *health.Node {
		n := host(health.State(random.IntN(5)))
		for _, i := range random.Perm(5)[:random.IntN(5)] {
			c := container(fmt.Sprint("c", i), health.State(random.IntN(5)))
			for _, k := range random.Perm(4)[:random.IntN(4)] {
				c.Children = append(c.Children, check(fmt.Sprint("k", k), health.State(random.IntN(5))))
			}
			n.Children = append(n.Children, c)
		}
		return n
	}
	flat := func(n *health.Node) map[string]string {
		out := map[string]string{"": n.State.String()}
		for _, c := range n.Children {
			out[c.Name] = c.State.String()
			for _, k := range c.Children {
				out[c.Name+"/"+k.Name] = k.State.String()
			}
		}
		return out
	}
	r := New("", 1000)
	before := tree()
	for range 5000 {
		after := tree()
		is, want := flat(before), flat(after)
		for _, e := range r.Note(before, after, noon) {
			if e.From == nil { // what came has its children with it
				for path, s := range want {
					if e.below("") && (path == e.Path || strings.HasPrefix(path, e.Path+"/")) {
						is[path] = s
					}
				}
				continue
			}
			if is[e.Path] != e.From.String() {
				t.Fatalf("%s was %s, not %v", e.Path, is[e.Path], *e.From)
			}
			if e.To != nil {
				is[e.Path] = e.To.String()
				continue
			}
			for path := range is {
				if path == e.Path || strings.HasPrefix(path, e.Path+"/") {
					delete(is, path)
				}
			}
		}
		if diff := cmp.Diff(want, is); diff != "" {
			t.Fatal(diff)
		}
		before = after
	}
}

// A fleet whose tree did not change, and one of whose leaves did.
func BenchmarkNote(b *testing.B) {
	fleet := func() *health.Node {
		f := &health.Node{Kind: health.KindFleet, Name: "f"}
		for i := range 100 {
			h := health.Node{Kind: health.KindHost, Name: fmt.Sprint("h", i)}
			for k := range 100 {
				c := container(fmt.Sprint("c", k), health.Pass)
				for j := range 10 {
					c.Children = append(c.Children, check(fmt.Sprint("k", j), health.Pass))
				}
				h.Children = append(h.Children, c)
			}
			f.Children = append(f.Children, h)
		}
		return f
	}
	before, after := fleet(), fleet()
	shared := *before
	shared.Children = slices.Clone(before.Children)
	for name, to := range map[string]*health.Node{"copied": after, "shared": &shared} {
		b.Run(name, func(b *testing.B) {
			r := New("", Size)
			for b.Loop() {
				r.Note(before, to, noon)
			}
		})
	}
	b.Run("transition", func(b *testing.B) {
		r := New("", Size)
		up, down := host(health.Pass, check("page", health.Pass)), host(health.Pass, check("page", health.Fail))
		b.ReportAllocs()
		for b.Loop() {
			r.Note(up, down, noon)
			up, down = down, up
		}
	})
}

// Bytes of memory for an event as they come, and what answering costs.
func BenchmarkKept(b *testing.B) {
	r := New("", Size)
	down := check("page", health.Fail, health.FlagCritical)
	down.Text = "GET http://127.0.0.1/: dial tcp 127.0.0.1:80: connect: connection refused"
	up, fails := host(health.Pass, container("web.shop.vm1", health.Pass, check("page", health.Pass))), host(health.Pass, container("web.shop.vm1", health.Pass, down))
	for range Size {
		r.Note(up, fails, noon)
	}
	size := 0
	for _, l := range r.lines {
		size += cap(l) + 24
	}
	for b.Loop() {
		r.Query("web.shop.vm1/page", time.Time{}, 0)
	}
	b.ReportMetric(float64(size)/Size, "B/event")
}
