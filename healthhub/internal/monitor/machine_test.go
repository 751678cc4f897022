// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"strings"
	"testing"

	"cloud4.internal/hub/internal/health"
)

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
		"time over, nothing seen":        {"!", "u", ""},
		"time over, then failing":        {"!fw", "ufw", ""},
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
				got.WriteByte(m.state.String()[0])
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
