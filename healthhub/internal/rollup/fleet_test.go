// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/internal/health"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func hostIn(name string, s health.State) Sum {
	return HostOf(name, []Sum{Of(Container("web.shop."+name, []health.Node{check("page", s, health.FlagCritical)}))}, Rules{})
}

// silent is a host that has gone silent, after and a while ago: gone.
func silent(name string, since time.Time, gone bool) Sum {
	n := Silence(hostIn(name, health.Pass).Node, since)
	if gone {
		n.State = health.Fail
		n.SetFlag(health.FlagMissing, true)
	}
	n.Text = "silent"
	return Of(n)
}

func TestIsolation(t *testing.T) {
	later := t0.Add(IsolationWindow)
	for name, test := range map[string]struct {
		hosts []Sum
		want  health.State
		cause string // of the worst reason
		alone bool   // and it is the only one
	}{
		"two of three": {[]Sum{silent("a", t0, true), silent("b", t0, true), hostIn("c", health.Pass)}, health.Fail, "a", false},
		"three of four": {
			[]Sum{silent("a", t0, true), silent("b", later, true), silent("c", t0, false), hostIn("d", health.Pass)}, health.Unknown, "fleet", true},
		"three of six":      {[]Sum{silent("a", t0, true), silent("b", t0, true), silent("c", t0, true), hostIn("d", 0), hostIn("e", 0), hostIn("f", 0)}, health.Fail, "a", false},
		"one after another": {[]Sum{silent("a", t0, true), silent("b", later.Add(1), true), silent("c", later.Add(time.Hour), true)}, health.Fail, "a", false},
		"all":               {[]Sum{silent("a", t0, true), silent("b", t0, true), silent("c", t0, true)}, health.Unknown, "fleet", true},
		"and one that fails": {
			[]Sum{silent("a", t0, true), silent("b", t0, true), silent("c", t0, true), hostIn("d", health.Fail)}, health.Fail, "d/web.shop.d/page", false},
	} {
		t.Run(name, func(t *testing.T) {
			fleet := FleetOf("fleet", test.hosts, Rules{}).Node
			reasons := Reasons(&fleet, 10)
			if fleet.State != test.want || len(reasons) == 0 || reasons[0].Cause != test.cause || (len(reasons) == 1) != test.alone {
				t.Errorf("%v %v %+v", fleet.State, fleet.Flags, reasons)
			}
			if e, err := Explain(&fleet, ""); err != nil || e.Cause != test.cause || e.Action == "" && test.cause == "fleet" {
				t.Errorf("%v, %v", e, err)
			}
			if words := "observer isolated: 3 of "; test.alone && !strings.HasPrefix(fleet.Text, words) {
				t.Errorf("text %q", fleet.Text)
			}
			if isolated := test.cause == "fleet" || name == "and one that fails"; fleet.HasFlag(health.FlagIsolated) != isolated {
				t.Errorf("flags %v", fleet.Flags)
			}
			if err := fleet.Accept(health.HostLimits); err != nil {
				t.Error(err)
			}
		})
	}
}

// A silent host is one thing to look at, whatever was on it.
func TestSilentHost(t *testing.T) {
	fleet := FleetOf("fleet", []Sum{silent("vm1", t0, true), hostIn("vm2", health.Pass)}, Rules{}).Node
	e, err := Explain(&fleet, "vm1/web.shop.vm1/page")
	if err != nil || e.Cause != "vm1" || len(e.Steps) != 3 {
		t.Errorf("%v, %v", e, err)
	}
	if container := fleet.Children[0].Children[0]; container.State != health.Unknown || !container.HasFlag("suppressed_by=vm1") {
		t.Errorf("its container is %v %v", container.State, container.Flags)
	}
}

func TestClass(t *testing.T) {
	for _, test := range []struct {
		bad, percent int
		state        health.State
		want         health.State
	}{
		{1, 25, health.Fail, health.Warn}, {1, 24, health.Fail, health.Fail}, {2, 25, health.Fail, health.Fail}, {1, 25, health.Unknown, health.Warn},
		{2, 25, health.Unknown, health.Unknown}, {0, 0, health.Fail, health.Pass}, {1, 0, health.Fail, health.Fail}, {4, 25, health.Warn, health.Warn},
	} {
		t.Run(fmt.Sprintf("%d %v of 4, %d %%", test.bad, test.state, test.percent), func(t *testing.T) {
			var hosts []Sum
			for i := range 4 {
				s := health.Pass
				if i < test.bad {
					s = test.state
				}
				hosts = append(hosts, hostIn(fmt.Sprint("pi", i), s))
			}
			hosts = append(hosts, hostIn("vm1", health.Pass))
			rules := Rules{Classes: []Class{{Name: "edge", Hosts: []string{"pi*"}, MaxUnhealthyPercent: test.percent}}}
			if fleet := FleetOf("fleet", hosts, rules).Node; fleet.State != test.want {
				t.Errorf("%v, want %v: %s", fleet.State, test.want, fleet.Text)
			}
			hosts[4] = hostIn("vm1", health.Fail)
			if fleet := FleetOf("fleet", hosts, rules).Node; fleet.State != health.Fail {
				t.Errorf("a host of no class fails, and the fleet is %v", fleet.State)
			}
		})
	}
}
