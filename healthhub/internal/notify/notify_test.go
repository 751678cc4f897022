// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/collect"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/webhook"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

// said is a log.
type said struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.buf.Write(p) }
func (s *said) String() string              { s.mu.Lock(); defer s.mu.Unlock(); return s.buf.String() }

// phone is a receiver of which everything can be asked for.
type phone struct {
	mu    sync.Mutex
	got   []webhook.Message
	err   error
	hangs bool
	tried int
}

func (p *phone) Send(ctx context.Context, m webhook.Message) (webhook.Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried++
	if p.hangs {
		p.mu.Unlock()
		<-ctx.Done()
		p.mu.Lock()
		return webhook.Answer{}, ctx.Err()
	}
	if p.err == nil {
		p.got = append(p.got, m)
	}
	return webhook.Answer{}, p.err
}

func (p *phone) Close() {}

// becomes changes how it answers.
func (p *phone) becomes(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

// titles are those of what arrived since it was asked last.
func (p *phone) titles() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.got {
		out = append(out, m.Title)
	}
	p.got = nil
	return out
}

// server is a serve of which there is only the tree and who tells of it.
type server struct {
	*Notifier
	tree atomic.Pointer[health.Node]
	log  said
	stop func()
}

func start(t *testing.T, dir string, tree *health.Node, receivers ...Receiver) *server {
	s := &server{}
	s.tree.Store(tree)
	for i := range receivers {
		receivers[i].Min, receivers[i].Every = health.Warn, max(receivers[i].Every, time.Minute)
	}
	s.Notifier = New(Config{
		Source: func() page.Snapshot { return page.Snapshot{Node: s.tree.Load(), At: time.Now()} }, Receivers: receivers, StateDir: dir, Log: zerolog.New(&s.log),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return s
}

func (s *server) is(tree *health.Node, d time.Duration) {
	s.tree.Store(tree)
	time.Sleep(d)
	synctest.Wait()
}

// withPage is a host with one container and one check.
func withPage(s health.State) *health.Node {
	return host("vm1", container("web.shop.vm1", check("page", s)))
}

func wantTitles(t *testing.T, p *phone, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, p.titles()); diff != "" {
		t.Errorf("titles (-want +got):\n%s", diff)
	}
}

func TestMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, dir := &phone{}, t.TempDir()
		s := start(t, dir, withPage(health.Pass), Receiver{Name: "phone", Hook: p})
		s.is(withPage(health.Fail), time.Minute)
		wantTitles(t, p, "vm1: web.shop.vm1/page fails")
		s.stop()
		s = start(t, dir, withPage(health.Fail), Receiver{Name: "phone", Hook: p})
		s.is(withPage(health.Fail), time.Hour)
		wantTitles(t, p)
		s.stop()
		s = start(t, dir, withPage(health.Pass), Receiver{Name: "phone", Hook: p})
		s.is(withPage(health.Pass), time.Hour)
		wantTitles(t, p, "vm1: web.shop.vm1/page resolved, all is well")
		if err := s.Alive(); err != nil {
			t.Error(err)
		}
		s.stop()
	})
}

// The end may come in the very moment in which there is something to tell: it is told, and told once.
func TestEndInTheMomentOfAMessage(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			p, dir := &phone{}, t.TempDir()
			s := start(t, dir, withPage(health.Fail), Receiver{Name: "phone", Hook: p})
			time.Sleep(hold)
			s.stop()
			s = start(t, dir, withPage(health.Fail), Receiver{Name: "phone", Hook: p})
			s.is(withPage(health.Fail), time.Minute)
			s.stop()
			wantTitles(t, p, "vm1: web.shop.vm1/page fails")
		})
	}
}

// Between two messages there is a pause; what happens in it is in the second.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &phone{}
		at := func(states ...health.State) *health.Node {
			var parts []health.Node
			for i, s := range states {
				parts = append(parts, container(fmt.Sprintf("c%d.shop.vm1", i), check("page", s)))
			}
			return host("vm1", parts...)
		}
		s := start(t, "", at(0, 0, 0, 0), Receiver{Name: "phone", Hook: p, Every: 10 * time.Minute})
		defer s.stop()
		s.is(at(health.Fail, 0, 0, 0), 15*time.Second)
		wantTitles(t, p, "vm1: c0.shop.vm1/page fails")
		s.is(at(health.Fail, health.Warn, 0, 0), time.Minute)
		s.is(at(0, health.Warn, health.Fail, 0), time.Minute)
		wantTitles(t, p)
		s.is(at(0, health.Warn, health.Fail, 0), 10*time.Minute)
		wantTitles(t, p, "vm1: 2 problems, 1 resolved")
	})
}

// A receiver that is away is told the truth when it is back, and nothing of what was over by then. It is said once in the log and shown
// as a check, and others are not kept waiting.
func TestReceiverAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away, hanging, well := &phone{err: &webhook.Error{Words: "ntfy.sh: connection refused"}}, &phone{hangs: true}, &phone{}
		s := start(t, "", withPage(health.Pass), Receiver{Name: "away", Hook: away}, Receiver{Name: "hanging", Hook: hanging}, Receiver{Name: "well", Hook: well})
		defer s.stop()
		s.is(withPage(health.Fail), time.Minute)
		wantTitles(t, well, "vm1: web.shop.vm1/page fails")
		nodes := s.Nodes()
		if n := nodes[0]; n.Name != "notify/away" || n.State != health.Warn || !strings.Contains(n.Text, "ntfy.sh: connection refused") {
			t.Errorf("%+v", n)
		}
		if n := nodes[2]; n.State != health.Pass {
			t.Errorf("%+v", n)
		}
		s.is(withPage(health.Fail), time.Hour)
		if away.tried < 10 || away.tried > 30 {
			t.Errorf("tried %d times in an hour", away.tried)
		}
		s.is(withPage(health.Pass), time.Hour)
		wantTitles(t, well, "vm1: web.shop.vm1/page resolved, all is well")
		s.is(host("vm1", container("web.shop.vm1", check("page", health.Pass), check("disk", health.Warn))), time.Minute)
		away.becomes(nil)
		s.is(s.tree.Load(), time.Hour)
		wantTitles(t, away, "vm1: web.shop.vm1/disk warns")
		if n := s.Nodes()[0]; n.State != health.Pass {
			t.Errorf("%+v", n)
		}
		if got := strings.Count(s.log.String(), "do not arrive"); got != 1 {
			t.Errorf("said %d times:\n%s", got, &s.log)
		}
	})
}

// A receiver that will never take the message is not asked as often, and one that says when is asked then.
func TestHowOftenItIsTried(t *testing.T) {
	for name, test := range map[string]struct {
		err      error
		min, max int // tries in an hour
	}{
		"wrong":       {&webhook.Error{Words: "404", Wrong: true}, 12, 12},
		"retry after": {&webhook.Error{Words: "429", After: 20 * time.Minute}, 3, 3},
		"unknown":     {errors.New("something else"), 10, 30},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &phone{err: test.err}
				s := start(t, "", withPage(health.Fail), Receiver{Name: "phone", Hook: p})
				defer s.stop()
				s.is(s.tree.Load(), time.Hour)
				if p.tried < test.min || p.tried > test.max {
					t.Errorf("tried %d times", p.tried)
				}
			})
		})
	}
}

// Ten thousand containers fail at once: one message, of bounded size, and one when it is over.
func TestEverythingFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		everything := func(s health.State) *health.Node {
			var hosts []health.Node
			for h := range 100 {
				var parts []health.Node
				for c := range 100 {
					n := check("page", s)
					n.Text = strings.Repeat("ä", 2000)
					parts = append(parts, container(fmt.Sprintf("web.s%d.vm%d", c, h), n))
				}
				hosts = append(hosts, *host(fmt.Sprint("vm", h), parts...))
			}
			return fleet(hosts...)
		}
		good, bad := everything(health.Pass), everything(health.Fail)
		p, dir := &phone{}, t.TempDir()
		s := start(t, dir, good, Receiver{Name: "phone", Hook: p})
		s.is(bad, 30*time.Second)
		if len(p.got) != 1 {
			t.Fatalf("%d messages", len(p.got))
		}
		m := p.got[0]
		if m.Title != "fleet: 10000 problems" || len(m.Text) > webhook.MaxText || m.Problems != 10000 || m.Open != 10000 || len(m.Items) == 0 {
			t.Errorf("%q, %d bytes: %q", m.Title, len(m.Text), m.Text)
		}
		if want := fmt.Sprintf("\nand %d more", 10000-len(m.Items)); !strings.HasSuffix(m.Text, want) {
			t.Errorf("%q does not end with %q", m.Text, want)
		}
		p.titles()
		s.stop()
		s = start(t, dir, bad, Receiver{Name: "phone", Hook: p})
		s.is(good, 5*time.Minute)
		wantTitles(t, p, "fleet: 10000 resolved, all is well")
		s.stop()
	})
}

// What cannot be kept is said, and the dead-man hears of it; what cannot be read is said.
func TestBooksThatCannotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &phone{}
		s := start(t, "/proc/nowhere", withPage(health.Fail), Receiver{Name: "phone", Hook: p})
		s.is(withPage(health.Fail), time.Minute)
		wantTitles(t, p, "vm1: web.shop.vm1/page fails")
		if err := s.Alive(); err == nil || !strings.Contains(err.Error(), "/proc/nowhere") {
			t.Errorf("alive: %v", err)
		}
		s.stop()
		dir := t.TempDir()
		write(t, dir, storeFile, "{")
		s = start(t, dir, withPage(health.Fail), Receiver{Name: "phone", Hook: p})
		s.is(withPage(health.Fail), time.Minute)
		wantTitles(t, p, "vm1: web.shop.vm1/page fails")
		s.stop()
		if !strings.Contains(s.log.String(), storeFile) {
			t.Error(&s.log)
		}
	})
}

func TestDeadMan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		self, err := spiffe.ForHost("cloud4.internal", "vm1")
		if err != nil {
			t.Fatal(err)
		}
		var hang atomic.Bool
		release := make(chan struct{})
		collector, err := collect.New(collect.Config{Self: self, Own: func() []health.Node {
			if hang.Load() {
				<-release
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		outside, dir := &phone{}, t.TempDir()
		var mute atomic.Bool
		log := &said{}
		d := &DeadMan{
			Ping: outside, Every: time.Minute, Source: collector.Snapshot, StateDir: dir, Log: zerolog.New(log),
			Alive: func() error {
				if mute.Load() {
					return errors.New("nobody looks")
				}
				return nil
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var running sync.WaitGroup
		running.Go(func() { collector.Run(ctx) })
		running.Go(func() { d.Run(ctx) })
		pings := func(d time.Duration) int {
			time.Sleep(d)
			synctest.Wait()
			return len(outside.titles())
		}
		for name, test := range map[string]struct{ spoil, mend func() }{
			"sums hang":      {func() { hang.Store(true) }, func() { hang.Store(false); close(release) }},
			"nobody tells":   {func() { mute.Store(true) }, func() { mute.Store(false) }},
			"state is gone":  {func() { os.Remove(dir) }, func() { os.Mkdir(dir, 0o700) }},
			"outside is out": {func() { outside.becomes(errors.New("refused")) }, func() { outside.becomes(nil) }},
		} {
			before := log.String()
			if n := pings(10 * time.Minute); n != 10 {
				t.Errorf("%s: %d pings in ten minutes, want 10", name, n)
			}
			if n := d.Nodes()[0]; n.State != health.Pass {
				t.Errorf("%s: %+v before", name, n)
			}
			test.spoil()
			pings(time.Minute + time.Second) // one of the sum that was made before it hung
			if n := pings(time.Hour); n != 0 {
				t.Errorf("%s: %d pings all the same", name, n)
			}
			if n := d.Nodes()[0]; n.State != health.Warn {
				t.Errorf("%s: %+v", name, n)
			}
			test.mend()
			pings(2 * time.Minute)
			if new := strings.TrimPrefix(log.String(), before); strings.Count(new, "\n") != 2 {
				t.Errorf("%s: said\n%s", name, new)
			}
		}
		cancel()
		running.Wait()
	})
}

// write makes a file.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
