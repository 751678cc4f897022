// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// check is a leaf; critical unless flags say otherwise.
func check(name string, s health.State, flags ...string) health.Node {
	n := health.Node{Kind: health.KindCheck, Name: name, State: s, Text: name + " was looked at", Action: "mend " + name}
	if len(flags) == 0 {
		flags = []string{health.FlagCritical}
	}
	for _, f := range flags {
		n.SetFlag(f, true)
	}
	return n
}

func container(name string, checks ...health.Node) health.Node { return rollup.Container(name, checks) }

func host(name string, parts ...health.Node) *health.Node {
	n := rollup.Host(name, parts)
	return &n
}

func fleet(hosts ...health.Node) *health.Node {
	n := rollup.Fleet("fleet", hosts)
	return &n
}

// flagged is a node with flags more, its parent to be summed up anew.
func flagged(n health.Node, flags ...string) health.Node {
	for _, f := range flags {
		n.SetFlag(f, true)
	}
	return n
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// story drives a book through what happens, second by second, and writes down what is told.
type story struct {
	t    *testing.T
	book book
	now  time.Time
	told []string // since the last want
}

func tell(t *testing.T, r Receiver) *story {
	r.Name = "phone"
	if r.Min == health.Pass {
		r.Min = health.Warn
	}
	return &story{t: t, book: newBook(r), now: epoch}
}

// is lets the tree be so for a time.
func (s *story) is(tree *health.Node, d time.Duration) *story {
	seen := causes(tree, maxCauses)
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(time.Second) {
		s.book.look(s.now, tree, seen)
		told := s.book.due(s.now)
		for _, n := range told {
			s.told = append(s.told, n.line(tree, false))
		}
		s.book.enter(s.now, told)
	}
	return s
}

// restart is a restart of serve.
func (s *story) restart() *story {
	dir := s.t.TempDir()
	if err := writeBooks(dir, map[string]storedBook{"phone": s.book.stored()}); err != nil {
		s.t.Fatal(err)
	}
	books, err := readBooks(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	s.book = newBook(s.book.receiver)
	s.book.restore(books["phone"])
	return s
}

func (s *story) want(lines ...string) *story {
	s.t.Helper()
	if diff := cmp.Diff(strings.Join(lines, "\n"), strings.Join(s.told, "\n")); diff != "" {
		s.t.Errorf("told (-want +got):\n%s", diff)
	}
	s.told = nil
	return s
}

func TestProblemAndRecovery(t *testing.T) {
	good := host("vm1", container("web.shop.vm1", check("page", health.Pass)))
	bad := host("vm1", container("web.shop.vm1", check("page", health.Fail)))
	s := tell(t, Receiver{})
	s.is(good, time.Minute).want()
	s.is(bad, hold).want() // what comes with it may still come
	s.is(bad, 12*time.Minute-hold).want("✕ fail web.shop.vm1/page: page was looked at")
	s.is(good, hold).want()
	s.is(good, time.Hour).want("✓ resolved web.shop.vm1/page after 12 min")
}

func TestOverBeforeItIsTold(t *testing.T) {
	good := host("vm1", container("web.shop.vm1", check("page", health.Pass)))
	bad := host("vm1", container("web.shop.vm1", check("page", health.Fail)))
	tell(t, Receiver{}).is(bad, hold-time.Second).is(good, time.Minute).is(bad, hold-time.Second).is(good, time.Hour).want()
}

// What counts nowhere, what starts, and what is on its way down, is not told.
func TestNotTold(t *testing.T) {
	for name, tree := range map[string]*health.Node{
		"muted check":      host("vm1", container("web.shop.vm1", check("page", health.Fail, health.FlagCritical, health.FlagMuted))),
		"muted container":  host("vm1", flagged(container("web.shop.vm1", check("page", health.Fail)), health.FlagMuted)),
		"info":             host("vm1", container("web.shop.vm1", check("page", health.Fail, health.FlagInfo))),
		"unsupported":      host("vm1", container("web.shop.vm1", check("page", health.Unknown, health.FlagCritical, health.FlagUnsupported))),
		"unexpected":       host("vm1", container("db.shop.vm1"), flagged(container("web.shop.vm1", check("page", health.Fail)), health.FlagUnexpected)),
		"starting":         host("vm1", container("web.shop.vm1", check("page", health.Starting))),
		"goodbye":          host("vm1", health.Node{Kind: health.KindContainer, Name: "web.shop.vm1", State: health.Warn, Flags: []string{health.FlagStopping}}),
		"cause is muted":   host("vm1", container("web.shop.vm1", check("db", health.Fail, health.FlagCritical, health.FlagMuted), check("page", health.Fail, health.FlagCritical, health.FlagSuppressedBy+"db"))),
		"its own receiver": host("vm1", container("web.shop.vm1"), check("notify/phone", health.Warn)),
	} {
		t.Run(name, func(t *testing.T) { tell(t, Receiver{}).is(tree, time.Hour).want() })
	}
}

// One cause is one message, whatever it brings down.
func TestOneCause(t *testing.T) {
	var down []health.Node
	for i := range 30 {
		down = append(down, container(fmt.Sprintf("c%d.shop.vm2", i), check("page", health.Pass), check("tls", health.Pass)))
	}
	silent := rollup.Silence(*host("vm2", down...), epoch)
	dead := silent
	dead.State = health.Fail
	dead.SetFlag(health.FlagMissing, true)
	dead.Text = "silent since 12:00"
	well := *host("vm1", container("web.shop.vm1", check("page", health.Pass)))
	hosts := func(n int) (out []health.Node) {
		for i := range n {
			out = append(out, rollup.Silence(*host(fmt.Sprint("vm", i), container(fmt.Sprintf("web.shop.vm%d", i), check("page", health.Pass))), epoch))
		}
		return out
	}
	for name, test := range map[string]struct {
		tree *health.Node
		want string
	}{
		"host": {fleet(well, dead), "✕ fail vm2: silent since 12:00 (and 0 because of it)"},
		"dependency": {host("vm1", container("web.shop.vm1", check("db", health.Fail),
			check("api", health.Fail, health.FlagCritical, health.FlagSuppressedBy+"db"), check("page", health.Fail, health.FlagCritical, health.FlagSuppressedBy+"db"))),
			"✕ fail web.shop.vm1/db: db was looked at (and 2 because of it)"},
		"isolated observer": {fleet(hosts(5)...), "? unknown the fleet itself: observer isolated: 5 of 5 hosts went silent at one time"},
		"nothing expected":  {host("vm1"), "? unknown the host itself: nothing is expected here"},
	} {
		t.Run(name, func(t *testing.T) {
			want := strings.TrimSuffix(test.want, " (and 0 because of it)")
			s := tell(t, Receiver{}).is(test.tree, time.Hour)
			if len(s.told) != 1 || !strings.HasPrefix(s.told[0], want[:20]) {
				t.Fatalf("told %q", s.told)
			}
			if name == "nothing expected" {
				return // its words are rollup's
			}
			s.want(want)
		})
	}
}

// A group is one thing, whoever of its members is the worst at the moment.
func TestGroupIsOneCause(t *testing.T) {
	tree := func(a, b health.State) *health.Node {
		rules := rollup.Rules{Groups: []rollup.Group{{Name: "web", Members: []string{"web.shop.*"}, Need: 1}}}
		var parts []rollup.Sum
		for name, s := range map[string]health.State{"web.shop.a": a, "web.shop.b": b, "web.shop.c": health.Pass} {
			parts = append(parts, rollup.Of(container(name, check("page", s))))
		}
		slices.SortFunc(parts, func(a, b rollup.Sum) int { return strings.Compare(a.Node.Name, b.Node.Name) })
		sum := rollup.HostOf("vm1", parts, rules)
		return &sum.Node
	}
	s := tell(t, Receiver{}).is(tree(health.Pass, health.Fail), time.Minute)
	if len(s.told) != 1 || !strings.HasPrefix(s.told[0], "! warn web: ") {
		t.Fatal(s.told)
	}
	s.told = nil
	s.is(tree(health.Fail, health.Fail), time.Minute).is(tree(health.Fail, health.Pass), time.Minute).want()
	s.is(tree(health.Pass, health.Pass), time.Minute).want("✓ resolved web after 3 min")
}

// What hides behind something else that is told of is not resolved by that.
func TestHiddenIsNotResolved(t *testing.T) {
	bad := *host("vm1", container("web.shop.vm1", check("page", health.Fail)))
	good := *host("vm1", container("web.shop.vm1", check("page", health.Pass)))
	other := *host("vm2", container("web.shop.vm2", check("page", health.Pass)))
	silent := rollup.Silence(bad, epoch)
	starting := *host("vm1", container("web.shop.vm1", check("page", health.Starting)))
	empty := health.Node{Kind: health.KindHost, Name: "vm1", State: health.Unknown, Flags: []string{health.FlagStale}}
	s := tell(t, Receiver{}).is(fleet(bad, other), time.Minute).want("✕ fail vm1/web.shop.vm1/page: page was looked at")
	s.is(fleet(silent, other), time.Hour).want("? unknown vm1: web.shop.vm1: page: fail: page was looked at")
	s.is(fleet(empty, other), time.Hour).want() // serve was restarted: it knows the host by name
	s.is(fleet(starting, other), time.Hour).want("✓ resolved vm1 after 2 h 1 min")
	s.is(fleet(good, other), time.Hour).want("✓ resolved vm1/web.shop.vm1/page after 3 h 1 min")
}

func TestGoneIsResolved(t *testing.T) {
	db := container("db.shop.vm1", check("port", health.Pass))
	s := tell(t, Receiver{}).is(host("vm1", db, container("web.shop.vm1", check("page", health.Fail))), time.Minute)
	s.want("✕ fail web.shop.vm1/page: page was looked at")
	s.is(host("vm1", db), holdSilence).want()
	s.is(host("vm1", db), time.Minute).want("✓ resolved web.shop.vm1/page after 1 min: it is not there any more")
}

// A receiver of failures is told of what fails, and when it does not any more.
func TestMin(t *testing.T) {
	at := func(s health.State) *health.Node { return host("vm1", container("web.shop.vm1", check("page", s))) }
	s := tell(t, Receiver{Min: health.Fail})
	s.is(at(health.Warn), time.Minute).want()
	s.is(at(health.Fail), time.Minute).want("✕ fail web.shop.vm1/page: page was looked at")
	s.is(at(health.Warn), time.Minute).want("✓ resolved web.shop.vm1/page after 1 min: it is but a warning now")
	s.is(at(health.Pass), time.Minute).want()
	// A check that is not critical makes a warning, whatever its own state is.
	s.is(host("vm1", container("web.shop.vm1", check("page", health.Fail, health.FlagLive))), time.Hour).want()
}

func TestWorse(t *testing.T) {
	at := func(s health.State) *health.Node { return host("vm1", container("web.shop.vm1", check("page", s))) }
	s := tell(t, Receiver{}).is(at(health.Warn), time.Minute).want("! warn web.shop.vm1/page: page was looked at")
	s.is(at(health.Fail), time.Minute).want("✕ fail web.shop.vm1/page, a warning before: page was looked at")
	s.is(at(health.Warn), time.Minute).is(at(health.Fail), time.Minute).want() // it is known how bad it can be
	s.is(at(health.Pass), time.Minute).want("✓ resolved web.shop.vm1/page after 4 min")
}

func TestMuteAndItsEnd(t *testing.T) {
	bad := host("vm1", container("web.shop.vm1", check("page", health.Fail)))
	mute := host("vm1", container("web.shop.vm1", check("page", health.Fail, health.FlagCritical, health.FlagMuted)))
	good := host("vm1", container("web.shop.vm1", check("page", health.Pass)))
	s := tell(t, Receiver{}).is(bad, time.Minute).want("✕ fail web.shop.vm1/page: page was looked at")
	s.is(mute, 2*time.Hour).restart().is(mute, time.Hour).want()
	s.is(bad, time.Hour).want("✕ fail web.shop.vm1/page, for 3 h 1 min: page was looked at")
	s.is(mute, time.Hour).is(good, time.Hour).want("✓ resolved web.shop.vm1/page after 5 h 1 min")
	// What was muted before it was told of is told when the mute ends.
	tell(t, Receiver{}).is(mute, time.Hour).want().is(bad, time.Hour).want("✕ fail web.shop.vm1/page: page was looked at")
}

func TestRemind(t *testing.T) {
	bad := host("vm1", container("web.shop.vm1", check("page", health.Fail)))
	s := tell(t, Receiver{Remind: 4 * time.Hour}).is(bad, time.Hour).want("✕ fail web.shop.vm1/page: page was looked at")
	s.is(bad, 2*time.Hour).restart().is(bad, 90*time.Minute).want("✕ fail web.shop.vm1/page, for 4 h 0 min: page was looked at")
	tell(t, Receiver{}).is(bad, 72*time.Hour).want("✕ fail web.shop.vm1/page: page was looked at")
}

// chaos is told, as a test; what turns out to be true is told again.
func TestForced(t *testing.T) {
	good := host("vm1", container("web.shop.vm1", check("page", health.Pass)))
	bad := host("vm1", container("web.shop.vm1", check("page", health.Fail)))
	forced := host("vm1", container("web.shop.vm1", check("page", health.Fail, health.FlagCritical, health.FlagForced)))
	s := tell(t, Receiver{}).is(forced, 2*time.Minute).want("[test] ✕ fail web.shop.vm1/page: page was looked at")
	s.is(good, time.Minute).want("[test] ✓ resolved web.shop.vm1/page after 2 min")
	s.is(good, 2*time.Hour).is(forced, time.Minute).restart().is(good, time.Hour)
	s.want("[test] ✕ fail web.shop.vm1/page: page was looked at", "[test] ✓ resolved web.shop.vm1/page after 1 min")
	s.is(good, 2*time.Hour).is(forced, time.Minute).want("[test] ✕ fail web.shop.vm1/page: page was looked at")
	s.is(bad, time.Minute).want("✕ fail web.shop.vm1/page, and that is no test any more: page was looked at")
}

func TestRestartNeitherRepeatsNorForgets(t *testing.T) {
	bad := host("vm1", container("web.shop.vm1", check("page", health.Fail)))
	silent := host("vm1", rollup.Silence(container("web.shop.vm1"), epoch)) // all that serve knows at first
	good := host("vm1", container("web.shop.vm1", check("page", health.Pass)))
	s := tell(t, Receiver{}).is(bad, 10*time.Minute).want("✕ fail web.shop.vm1/page: page was looked at")
	s.restart().is(silent, 45*time.Second).is(bad, 10*time.Minute).want()
	s.restart().is(silent, 45*time.Second).is(good, 10*time.Minute).want("✓ resolved web.shop.vm1/page after 21 min")
	s.restart().is(silent, 45*time.Second).is(good, 10*time.Minute).want()
}

// What comes and goes without end is told of less and less.
func TestComesAndGoes(t *testing.T) {
	bad := host("vm1", container("web.shop.vm1", check("page", health.Fail)))
	good := host("vm1", container("web.shop.vm1", check("page", health.Pass)))
	s := tell(t, Receiver{})
	for range 120 { // two hours
		s.is(bad, 30*time.Second).is(good, 30*time.Second)
	}
	if len(s.told) > 6 {
		t.Errorf("told %d times: %q", len(s.told), s.told)
	}
	s.told = nil
	s.is(good, time.Hour).is(bad, time.Minute)
	if want := "✕ fail web.shop.vm1/page"; len(s.told) == 0 || !strings.HasPrefix(s.told[len(s.told)-1], want) {
		t.Errorf("told %q, want %q at last", s.told, want)
	}
}
