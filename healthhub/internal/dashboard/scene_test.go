// SPDX-License-Identifier: AGPL-3.0-or-later

package dashboard

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// scene is what a dashboard shows in a test.
type scene struct {
	node   health.Node
	events []record.Event
	mutes  []mute.Mute
	at     time.Time // of the snapshot; zero: now
}

// configured is what a dashboard needs to show the scene.
func (s scene) configured() Config {
	return Config{
		Source: func() page.Snapshot {
			at := s.at
			if at.IsZero() {
				at = time.Now()
			}
			return page.Snapshot{Node: &s.node, Generation: 1, At: at}
		},
		Events: func() []record.Event { return s.events },
		Mutes:  func() []mute.Mute { return s.mutes },
	}
}

// handler serves a scene, documents and all.
func (s scene) handler() http.Handler {
	c := s.configured()
	mux := http.NewServeMux()
	mux.Handle("GET /", page.New(c.Source).Handler())
	mux.Handle("GET /{$}", New(c))
	return mux
}

// open serves a scene at an address.
func (s scene) open(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(s.handler())
	t.Cleanup(func() {
		server.CloseClientConnections() // streams
		server.Close()
	})
	return server
}

func ago(d time.Duration) time.Time { return time.Now().Add(-d) }

func check(name string, s health.State, text string, flags ...string) health.Node {
	n := health.Node{Kind: health.KindCheck, Name: name, State: s, Text: text, Since: ago(31 * time.Hour),
		ObservedAt: ago(4 * time.Second), Runs: 11200, Took: .0014}
	for _, f := range flags {
		n.SetFlag(f, true)
	}
	return n
}

func since(n health.Node, d time.Duration) health.Node {
	n.Since = ago(d)
	return n
}

func container(name string, checks ...health.Node) health.Node {
	n := rollup.Container(name, checks)
	n.Since = ago(31 * time.Hour)
	for _, c := range checks {
		if rollup.Contribution(&c) == n.State && n.State != health.Pass {
			n.Since = c.Since
		}
	}
	return n
}

// service is a container that is well.
func service(name, text string) health.Node {
	page := check("page", health.Pass, text, health.FlagCritical)
	return container(name, page, check("hub/init", health.Pass, "all hubs that are wanted run"),
		check("hub/log", health.Pass, "nothing waits"))
}

func host(name string, containers ...health.Node) health.Node {
	n := rollup.Host(name, containers)
	n.Since = ago(31 * time.Hour)
	for _, c := range containers {
		if c.State == n.State && n.State != health.Pass {
			n.Since = c.Since
		}
	}
	return n
}

func fleet(hosts ...health.Node) health.Node {
	n := rollup.Fleet("cloud4.internal", hosts)
	n.Since = ago(31 * time.Hour)
	for _, h := range hosts {
		if h.State == n.State && n.State != health.Pass {
			n.Since = h.Since
		}
	}
	return n
}

// vm1, vm2 and pi are a homelab on a good day.
func vm1(more ...health.Node) health.Node {
	return host("vm1", append([]health.Node{
		service("web.cloud.vm1", "200 OK in 31 ms"), service("db.cloud.vm1", "accepts connections in 0.8 ms"),
		service("cache.cloud.vm1", "PONG"),
		service("web.photos.vm1", "200 OK in 18 ms"), service("db.photos.vm1", "accepts connections in 0.9 ms"),
	}, more...)...)
}

func vm2(more ...health.Node) health.Node {
	return host("vm2", append([]health.Node{
		service("server.git.vm2", "200 OK in 12 ms"), service("runner.git.vm2", "polls every 2 s"),
		service("server.vault.vm2", "200 OK in 4 ms"),
	}, more...)...)
}

func pi(more ...health.Node) health.Node {
	disk := check("disk", health.Pass, "61 % of 117 GiB used")
	disk.Values = []health.Value{{Name: "used", Value: .61, Unit: "1", Warn: ptr(.85), Fail: ptr(.95)},
		{Name: "free", Value: 45.6 * (1 << 30), Unit: "By"}}
	return host("pi", append([]health.Node{service("broker.home.pi", "accepts connections"),
		service("hass.home.pi", "200 OK in 210 ms"), disk}, more...)...)
}

func ptr[T any](x T) *T { return &x }

func event(d time.Duration, path string, from, to health.State, text string) record.Event {
	return record.Event{At: ago(d), Path: path, Kind: health.KindCheck, From: &from, To: &to, Text: text}
}

// night is what happened while its owner slept.
func night() []record.Event {
	return []record.Event{
		event(30*time.Hour, "pi/disk", health.Warn, health.Pass, "61 % of 117 GiB used"),
		event(6*time.Hour+31*time.Minute, "vm2/runner.git.vm2/page", health.Pass, health.Fail, "connect: connection refused"),
		event(6*time.Hour+31*time.Minute, "vm2/runner.git.vm2", health.Pass, health.Fail,
			"page: fail: connect: connection refused"),
		event(6*time.Hour+31*time.Minute, "vm2", health.Pass, health.Fail,
			"runner.git.vm2: page: fail: connect: connection refused"),
		event(6*time.Hour+28*time.Minute, "vm2/runner.git.vm2/page", health.Fail, health.Pass, "polls every 2 s"),
		event(6*time.Hour+28*time.Minute, "vm2/runner.git.vm2", health.Fail, health.Pass, ""),
		event(6*time.Hour+28*time.Minute, "vm2", health.Fail, health.Pass, ""),
		event(3*time.Hour+2*time.Minute, "vm1/web.photos.vm1/page", health.Pass, health.Warn, "200 OK in 4.1 s"),
		event(3*time.Hour+2*time.Minute, "vm1/web.photos.vm1", health.Pass, health.Warn, "page: warn: 200 OK in 4.1 s"),
		event(2*time.Hour+40*time.Minute, "vm1/web.photos.vm1/page", health.Warn, health.Pass, "200 OK in 19 ms"),
		event(2*time.Hour+40*time.Minute, "vm1/web.photos.vm1", health.Warn, health.Pass, ""),
	}
}

// The scenes.
func healthy() scene { return scene{node: fleet(vm1(), vm2(), pi()), events: night()} }

func failed() scene {
	db := since(check("port", health.Fail, "127.0.0.1:5432: connect: connection refused, 3 times running", health.FlagCritical),
		23*time.Minute)
	db.Action = "look at its last lines: loghub tail db.shop.vm1; the disk below it is 97 % full"
	web := since(check("page", health.Fail, "500 Internal Server Error, wanted 200-399", health.FlagCritical), 22*time.Minute)
	cart := since(check("cart", health.Fail, "503 Service Unavailable", health.FlagCritical, health.FlagSuppressedBy+"page"),
		22*time.Minute)
	worker := since(check("queue", health.Warn, "1 204 jobs wait, the oldest for 22 min"), 20*time.Minute)
	cert := since(check("cert", health.Warn, "7 % of its lifetime is left: 1 h 40 min; renewal is overdue"), 5*time.Hour)
	cert.Action = "see why it is not renewed: confighub status"
	missing := since(health.Node{Kind: health.KindContainer, Name: "backup.cloud.vm2", State: health.Fail,
		Flags: []string{health.FlagMissing},
		Text:  "expected, but never reported", Action: "start it, or take it out of the list of what is expected"}, 9*time.Hour)
	events := append(night(), event(23*time.Minute, "vm1/db.shop.vm1/port", health.Pass, health.Fail,
		"connect: connection refused"),
		event(22*time.Minute, "vm1/web.shop.vm1/page", health.Pass, health.Fail, "500 Internal Server Error, wanted 200-399"),
		event(20*time.Minute, "vm1/worker.shop.vm1/queue", health.Pass, health.Warn, "1 204 jobs wait"))
	return scene{node: fleet(
		vm1(container("db.shop.vm1", db, check("hub/init", health.Pass, "all hubs that are wanted run")),
			container("web.shop.vm1", web, cart), container("worker.shop.vm1", worker)),
		vm2(missing, container("proxy.edge.vm2", cert)), pi()), events: events}
}

func degraded() scene {
	disk := since(check("disk", health.Warn, "88 % of 117 GiB used; full in 9 days at this rate"), 2*time.Hour)
	disk.Action = "free some: docker system df shows what may go"
	disk.Values = []health.Value{{Name: "used", Value: .88, Unit: "1", Warn: ptr(.85), Fail: ptr(.95)}}
	flap := since(check("page", health.Warn, "9 changes in its last 21 looks", health.FlagFlapping, health.FlagCritical),
		40*time.Minute)
	late := since(check("dump", health.Fail, "last reported 27 h ago, every 26 h wanted"), time.Hour)
	late.Action = "run it by hand and see: docker exec db backup"
	return scene{node: fleet(vm1(container("mail.post.vm1", flap), container("db.mail.vm1", late)), vm2(),
		pi(container("nas.store.pi", disk))), events: night()}
}

func stale() scene {
	silent := rollup.Silence(pi(), ago(7*time.Minute))
	silent.Text, silent.ObservedAt = "no report since 06:53; last seen well", ago(7*time.Minute)
	silent.Action = "is it up? ping pi.internal; then: ssh pi.internal docker ps"
	web := container("web.shop.vm1", since(check("page", health.Unknown, "could not be looked at: too many open files",
		health.FlagCritical), 3*time.Minute))
	n := fleet(vm1(web), vm2(), silent)
	n.Extent = &health.Extent{ScoreHigh: 100, Confidence: .74, Coverage: .93}
	return scene{node: n, events: append(night(), record.Event{At: ago(7 * time.Minute), Path: "pi", Kind: health.KindHost,
		From: ptr(health.Pass), To: ptr(health.Unknown), Text: "no report since 06:53"})}
}

func mutedScene() scene {
	quiet := container("nextcloud.cloud.vm2", since(check("page", health.Pass, "200 OK in 40 ms", health.FlagCritical),
		30*time.Hour), since(check("update", health.Fail, "an update is there since 4 days", health.FlagMuted), 4*24*time.Hour))
	quiet.State, quiet.Text = health.Pass, ""
	quiet.Since = ago(30 * time.Hour)
	forced := container("trial.lab.vm2", since(check("page", health.Pass, "chaos: forced to pass", health.FlagForced), time.Minute))
	extra := container("stray.lab.vm2", check("port", health.Pass, "answers in 200 µs"))
	extra.SetFlag(health.FlagUnexpected, true)
	fork := container("queue.lab.vm2", check("port", health.Pass, "answers in 240 µs"))
	fork.SetFlag(health.FlagForked, true)
	n := fleet(vm1(), vm2(quiet, forced, extra, fork, container("bare.lab.vm2")), pi())
	for i := range n.Children {
		if h := &n.Children[i]; h.Name == "vm2" {
			*h = rollup.Host("vm2", h.Children)
			h.State, h.Score, h.Since, h.Text = health.Pass, ptr(100), ago(30*time.Hour), ""
		}
	}
	n.State, n.Score, n.Text = health.Pass, ptr(100), ""
	return scene{node: n, events: night(), mutes: []mute.Mute{{Path: "vm2/nextcloud.cloud.vm2/update", By: "operator/desk",
		Reason: "waits for the weekend", Until: time.Now().Add(38 * time.Hour)}}}
}

func starting() scene {
	db := since(check("port", health.Starting, "not yet: connection refused", health.FlagCritical), 8*time.Second)
	return scene{node: fleet(vm1(container("db.shop.vm1", db)), vm2()), events: night()}
}

// huge is 10,000 containers on 100 hosts, of which some are not well.
func huge() scene {
	var hosts []health.Node
	for i := range 100 {
		var containers []health.Node
		for j := range 100 {
			name := fmt.Sprintf("c%02d.stack%d.n%03d", j, j%7, i)
			if i < 3 && j%10 == 0 {
				containers = append(containers, container(name, since(check("page", health.Fail, "503 Service Unavailable",
					health.FlagCritical), 12*time.Minute)))
				continue
			}
			containers = append(containers, service(name, "200 OK in 3 ms"))
		}
		hosts = append(hosts, host(fmt.Sprintf("n%03d", i), containers...))
	}
	return scene{node: fleet(hosts...)}
}
