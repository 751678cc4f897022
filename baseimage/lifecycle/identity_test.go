// SPDX-License-Identifier: AGPL-3.0-or-later

package lifecycle

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud4.internal/hub/internal/genesistest"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// asking asks the service all the time until stop is called, which returns the number of answers and what failed.
func asking(c *container) (stop func() (int, []string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var answers int
	var failed []string
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := c.get(); err != nil {
				failed = append(failed, time.Now().Format(time.StampMilli)+" "+err.Error())
			} else {
				answers++
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	return func() (int, []string) { cancel(); wg.Wait(); return answers, failed }
}

// TestRenewal: a lifetime of seconds is renewed at its half for three lifetimes while requests go on, and all hubs use the
// new certificate: with the first one nobody would listen to them any more.
func TestRenewal(t *testing.T) {
	t.Parallel()
	const lifetime = 5 * time.Second
	g := genesistest.New(t, genesistest.Lifetime(lifetime))
	c := newService(t, g, "signal:HUP")
	c.up("first")
	stop := asking(c)
	first := c.identity()
	if half := first.NotBefore.Add(first.NotAfter.Sub(first.NotBefore) / 2); first.RenewAt.Sub(half).Abs() > lifetime/8 {
		t.Errorf("renewal is planned for %v, half of the lifetime is %v", first.RenewAt, half)
	}
	serials := map[string]bool{}
	end := time.Now().Add(3 * lifetime)
	if !genesistest.Eventually(t.Context(), 4*lifetime, func() bool {
		now := c.identity()
		if time.Now().After(now.NotAfter) {
			t.Errorf("the certificate ran out at %v, state %s, %s", now.NotAfter, now.State, now.Error)
		}
		serials[now.Serial] = true
		return time.Now().After(end)
	}) {
		t.Fatal("the clock stands")
	}
	if len(serials) < 4 {
		t.Errorf("%d certificates in three lifetimes, want 4 or more", len(serials))
	}

	// confighub, loghub and healthhub, each at its server.
	setPage(t, g, "second", 0)
	c.waitPage("second")
	delete(serials, first.Serial)
	if !genesistest.Eventually(t.Context(), soon, func() bool {
		serials[c.identity().Serial] = true
		for serial := range serials {
			if g.Config.Output.Line(c.id.String(), serial) != "" {
				return true
			}
		}
		return false
	}) {
		t.Errorf("confighub serve saw none of the renewed certificates:\n%s", g.Config.Output)
	}
	text := fmt.Sprint("after ", len(serials), " certificates")
	c.say("stdout", text)
	g.WaitEvent(t, c.id, text, soon)
	waitHealth(t, g, c, health.Pass)
	c.report("backup", "warn", "the last one is old")
	waitHealth(t, g, c, health.Warn)
	answers, failed := stop()
	if len(failed) > 0 || answers < 100 {
		t.Errorf("%d requests were answered, %d failed: %v", answers, len(failed), failed)
	}
}

// TestRefusals: who is not who he must be gets nothing, is told why, and stands in the server's log.
func TestRefusals(t *testing.T) {
	t.Parallel()
	g := genesistest.New(t)
	g.PublishTree(t, map[string]string{"hosts/vm1/host.json": `{"stacks": {"shop": {"services": ["web"]}}}`})

	t.Run("not placed", func(t *testing.T) {
		c := newContainer(t, g, "cache").withService()
		c.env = []string{initctl.EnvToken + "=" + g.Token(t, c.id)}
		c.start()
		const words = "cache.shop.vm1 is not placed on the host vm1"
		c.output.Wait(t, soon, words, "hosts/vm1/host.json")
		g.Config.Output.Wait(t, soon, `"verdict":"refused"`, c.id.String(), words)
	})
	t.Run("no certificate", func(t *testing.T) {
		c := newContainer(t, g, "web").withService()
		c.start() // and no token
		c.output.Wait(t, soon, "HUB_TOKEN")
		if s := c.state(); s.Service.State != "waiting" {
			t.Errorf("the service is %s without configuration", s.Service.State)
		}
	})
	t.Run("the token is another container's", func(t *testing.T) {
		c := newContainer(t, g, "web").withService()
		c.env = []string{initctl.EnvToken + "=" + g.Token(t, genesistest.Container(t, "shop", "db", ""))}
		c.start()
		c.output.Wait(t, soon, "db", "token")
		if strings.Contains(c.output.String(), "service: configuration read") {
			t.Error("the service was started")
		}
	})
	t.Run("a container plays genesis", func(t *testing.T) {
		impostor := g.Impostor(t, genesistest.Container(t, "shop", "web", ""), "genesis.internal")
		c := newContainer(t, g, "web").withService()
		c.set("config", "source", impostor.URL)
		c.set("log", "otlp", impostor.URL)
		c.env = []string{initctl.EnvToken + "=" + g.Token(t, c.id)}
		c.start()
		c.output.Wait(t, soon, "wrong role", "genesis/config")
		if got := impostor.Requests(); len(got) != 0 {
			t.Errorf("the impostor got %q", got)
		}
		if s := c.state(); s.Service.State != "waiting" {
			t.Errorf("the service is %s", s.Service.State)
		}
	})
	t.Run("a container plays host", func(t *testing.T) {
		impostor := g.Impostor(t, genesistest.Container(t, "shop", "web", ""), "vm1.internal")
		c := newService(t, g, "signal:HUP")
		c.set("health", "report_to", impostor.URL)
		c.up("first")
		c.output.Wait(t, soon, "wrong role", "host vm1")
		if got := impostor.Requests(); len(got) != 0 {
			t.Errorf("the impostor got %q", got)
		}
	})
}
