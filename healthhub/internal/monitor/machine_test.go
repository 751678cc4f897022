// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"math/rand/v2"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/health"
)

// Flapping ends when no more than two changes are left among the last 21.
func TestFlappingEnds(t *testing.T) {
	m := newMachine(3, 2)
	for _, raw := range "pfpfpfp" { // six changes: the last five leave the window with the looks before them
		m.see(map[rune]health.State{'p': health.Pass, 'f': health.Fail}[raw])
	}
	looks := 0
	for ; m.flapping && looks < 100; looks++ {
		if m.told() != health.Fail {
			t.Fatalf("%v after %d looks that passed", m.told(), looks)
		}
		m.see(health.Pass)
	}
	if looks != 18 || m.told() != health.Pass {
		t.Errorf("%v after %d looks that passed", m.told(), looks)
	}
}

// Looks and the state after each: p pass, s starting, w warn, u unknown, f fail. ! ends the time to start.
func TestMachine(t *testing.T) {
	letters := map[rune]health.State{'p': health.Pass, 's': health.Starting, 'w': health.Warn, 'u': health.Unknown, 'f': health.Fail}
	for name, test := range map[string]struct{ looks, states, pending string }{
		"first pass acts at once":        {"p", "p", ""},
		"first warn is a success":        {"w", "w", ""},
		"failing at the start":           {"fffp", "sssp", ""},
		"three failures":                 {"pfff", "pppf", ""},
		"two are too few":                {"pff", "ppp", "fail 2/3"},
		"a pass between starts anew":     {"pffpff", "pppppp", "fail 2/3"},
		"two passes":                     {"pfffpp", "pppffp", ""},
		"one pass is too few":            {"pfffp", "pppff", "pass 1/2"},
		"a failure between starts anew":  {"pfffpfp", "pppffff", "pass 1/2"},
		"warn counts towards failing":    {"pwff", "pppw", "fail 2/3"},
		"from warn to fail":              {"pwwwfff", "pppwwwf", ""},
		"from fail to warn":              {"pfffww", "pppffw", ""},
		"unknown is worse than warn":     {"pwwwuuu", "pppwwwu", ""},
		"the worst of what is better":    {"pfffwp", "pppffw", "pass 1/2"},
		"time over":                      {"ff!", "ssf", ""},
		"time over, whatever was seen":   {"fu!", "ssf", ""},
		"time over, and still no pass":   {"f!uuuu", "sfffff", ""},
		"time over, nothing seen":        {"!", "s", ""},
		"time over, then failing":        {"!ff", "sss", "fail 2/3"},
		"time over, then failed":         {"!fuf", "sssf", ""},
		"time over, failing, then up":    {"!ffw", "sssw", ""},
		"flapping":                       {"pfpfpfp", "ppppppf", ""},
		"flapping and still":             {"pfpfpfppppp", "ppppppfffff", ""},
		"changes at the start are none":  {"fufufufup", "ssssssssp", ""},
		"failures at the start are none": {"ffpff", "sspp" + "p", "fail 2/3"},
		"time over, first pass":          {"ff!p", "ssfp", ""},
		"time over means nothing later":  {"p!", "pp", ""},
		"after it failures need to fall": {"f!pff", "sfppp", "fail 2/3"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(3, 2)
			var got strings.Builder
			for _, look := range test.looks {
				if look == '!' {
					m.giveUp()
				} else {
					m.see(letters[look])
				}
				got.WriteByte(m.told().String()[0])
			}
			if got.String() != test.states {
				t.Errorf("looks %s: states %s, want %s", test.looks, &got, test.states)
			}
			if p := m.pending(); p != test.pending {
				t.Errorf("pending %q, want %q", p, test.pending)
			}
		})
	}
}

// reference is the rules of docs/states.md word by word, from the whole history at each question.
type reference struct {
	fall, rise int
	looks      []health.State
	late       int // looks when the time to start was over; -1: not yet
}

func (r *reference) success() int {
	for i, raw := range r.looks {
		if raw <= health.Warn {
			return i
		}
	}
	return -1
}

func (r *reference) state() health.State {
	first := r.success()
	switch {
	case first < 0 && r.late < 0: // until the first pass or the deadline; failures inside do not count
		return health.Starting
	case first < 0 && r.late == 0 && len(r.looks) < r.fall: // nothing was seen inside: the first failure counts from 1
		return health.Starting
	case first < 0: // then fail
		return health.Fail
	}
	state := health.Pass
	for _, level := range []health.State{health.Warn, health.Unknown, health.Fail} {
		if r.holds(r.looks[first:], level) {
			state = level
		}
	}
	return state
}

// holds counts one level: whether it is at least this bad.
func (r *reference) holds(looks []health.State, level health.State) bool {
	is := looks[0] >= level // the first-ever pass acts at once
	bad, good := 0, 0
	for _, raw := range looks {
		if raw >= level {
			bad, good = bad+1, 0
		} else {
			bad, good = 0, good+1
		}
		if bad >= r.fall {
			is = true
		}
		if good >= r.rise {
			is = false
		}
	}
	return is
}

func (r *reference) flapping() bool {
	first := r.success()
	if first < 0 {
		return false
	}
	is := false
	for end := first; end < len(r.looks); end++ {
		changes := 0
		for i := max(first, end-20) + 1; i <= end; i++ {
			if r.looks[i] != r.looks[i-1] {
				changes++
			}
		}
		if changes >= 6 {
			is = true
		}
		if changes <= 2 {
			is = false
		}
	}
	return is
}

func (r *reference) told() health.State {
	if !r.flapping() {
		return r.state()
	}
	worst := health.Pass
	for i := max(r.success(), len(r.looks)-21); i < len(r.looks); i++ {
		worst = max(worst, r.looks[i])
	}
	return worst
}

func TestMachineIsTheReference(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 2))
	raws := []health.State{health.Pass, health.Warn, health.Unknown, health.Fail}
	flaps, fails := 0, 0
	for range 100_000 {
		r := &reference{fall: 1 + random.IntN(4), rise: 1 + random.IntN(4), late: -1}
		if random.IntN(50) == 0 {
			r.fall, r.rise = 1+random.IntN(20), 1+random.IntN(20)
		}
		m := newMachine(r.fall, r.rise)
		end, again, raw := random.IntN(30), random.IntN(6), health.Fail
		steps := 5 + random.IntN(45)
		for step := range steps {
			if step == end {
				m.giveUp()
				if r.late < 0 && r.success() < 0 {
					r.late = len(r.looks)
				}
			}
			if random.IntN(again+1) == 0 {
				raw = raws[random.IntN(len(raws))]
			}
			m.see(raw)
			r.looks = append(r.looks, raw)
			if step < steps-1 && random.IntN(8) > 0 { // the reference is slow
				continue
			}
			if got, want := m.told(), r.told(); got != want || m.flapping != r.flapping() {
				t.Fatalf("fall %d, rise %d, late %d, looks %v: %v flapping %t, want %v", r.fall, r.rise, r.late, r.looks, got, m.flapping, want)
			}
			if m.flapping {
				flaps++
			}
			if m.state == health.Fail {
				fails++
			}
		}
	}
	if flaps < 10_000 || fails < 10_000 {
		t.Errorf("the sequences tried little: %d steps of flapping, %d of failing", flaps, fails)
	}
}
