// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
)

// Grace periods of what is expected.
const (
	MissingGrace  = 60 * time.Second // from the start of looking, or from the end of the last report's validity, to missing
	StoppingGrace = 60 * time.Second // from a goodbye to missing: a restart or an update takes that long
)

// Expected is what should be there.
type Expected struct {
	Kind  string   // of the nodes: health.KindContainer or health.KindHost
	Names []string // nil: no list, everybody who reports is as good as expected
	Grace bool     // still within MissingGrace of the start: who has not reported yet may still be coming
}

// Apply compares what should be there with what was observed, and returns both together: observed nodes in their order,
// flagged unexpected where a list does not name them, then a node for everything that is missing. A name stands for
// all replicas of a service: "web.shop.vm1" is met by "web.shop.vm1/1".
func (e Expected) Apply(observed []health.Node) []health.Node {
	if e.Names == nil {
		return observed
	}
	named := make(map[string]bool, len(e.Names))
	for _, name := range e.Names {
		named[name] = true
	}
	met := make(map[string]bool, len(observed))
	out := make([]health.Node, 0, len(observed)+len(e.Names))
	for _, n := range observed {
		service, _, _ := strings.Cut(n.Name, "/")
		met[n.Name], met[service] = true, true
		n.SetFlag(health.FlagUnexpected, !named[n.Name] && !named[service])
		out = append(out, n)
	}
	for _, name := range e.Names {
		if !met[name] {
			met[name] = true // a name given twice is one
			out = append(out, e.absent(name))
		}
	}
	return out
}

func (e Expected) absent(name string) health.Node {
	if e.Grace {
		return health.Node{Kind: e.Kind, Name: name, State: health.Starting, Text: "expected; has not reported yet"}
	}
	return health.Node{
		Kind: e.Kind, Name: name, State: health.Fail, Flags: []string{health.FlagMissing},
		Text:   "expected, but never reported",
		Action: "start it, or take it out of the list of what is expected; if it runs, its log says why its reports do not arrive",
	}
}
