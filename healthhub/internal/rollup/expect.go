// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
)

// Grace periods of what is expected.
const (
	MissingGrace  = 60 * time.Second // from the start of looking, or from the end of the last report's validity, to missing
	StoppingGrace = 60 * time.Second // from a goodbye to missing: a restart or an update takes that long
)

// Want is one thing that should be there.
type Want struct {
	Name string // of a host, a container, or a service, which stands for its replicas: "web.shop.vm1" is met by "web.shop.vm1/1"
	// Replicas is how many containers of the service there should be; 0: at least one. Of more than that, those with
	// the highest numbers are not expected.
	Replicas int
	// Criticality is how much it matters to what is above it: health.FlagDegrading, health.FlagInfo, or "" (critical).
	Criticality string
}

// Wants makes a list of names, each of which should be there.
func Wants(names []string) []Want {
	if names == nil {
		return nil
	}
	out := make([]Want, len(names))
	for i, name := range names {
		out[i].Name = name
	}
	return out
}

// Expected is what should be there.
type Expected struct {
	Kind  string // of the nodes: health.KindContainer or health.KindHost
	Wants []Want // nil: no list, everybody who reports is as good as expected
	Grace bool   // still within MissingGrace of the start: who has not reported yet may still be coming
}

// Apply compares what should be there with what was observed, and returns both together: observed nodes in their order,
// flagged unexpected where a list does not name them, then a node for everything that is missing. Nodes of another kind
// stay as they are. Flags that say how much a node matters are the list's to give: what a node says of that itself is taken off.
func (e Expected) Apply(observed []health.Node) []health.Node {
	var out []health.Node
	named := map[string]*Want{}
	for i := range e.Wants {
		if named[e.Wants[i].Name] == nil { // a name given twice is one
			named[e.Wants[i].Name] = &e.Wants[i]
		}
	}
	met := map[string][]string{} // name of a want → nodes that meet it
	for _, n := range observed {
		if n.Kind == e.Kind {
			want := named[n.Name]
			if want == nil {
				want = named[service(n.Name)]
			}
			if want != nil {
				met[want.Name] = append(met[want.Name], n.Name)
			}
			want.flag(&n, e.Wants == nil)
		}
		out = append(out, n)
	}
	surplus := map[string]bool{}
	for i := range e.Wants {
		want := &e.Wants[i]
		if named[want.Name] != want {
			continue
		}
		there := met[want.Name]
		slices.SortFunc(there, compareReplicas)
		for want.Replicas > 0 && len(there) > want.Replicas {
			surplus[there[len(there)-1]] = true
			there = there[:len(there)-1]
		}
		for _, name := range want.absent(there) {
			out = append(out, e.absent(name, want))
		}
	}
	for i := range out {
		if out[i].Kind == e.Kind && surplus[out[i].Name] {
			out[i].SetFlag(health.FlagUnexpected, true)
		}
	}
	return out
}

// flag says on a node what the list says of it; w nil: it does not name it.
func (w *Want) flag(n *health.Node, noList bool) {
	n.SetFlag(health.FlagUnexpected, w == nil && !noList)
	n.SetFlag(health.FlagDegrading, w != nil && w.Criticality == health.FlagDegrading)
	n.SetFlag(health.FlagInfo, w != nil && w.Criticality == health.FlagInfo)
}

// absent names what is wanted and not there: as numbered as what is there, or as many as there should be.
func (w *Want) absent(there []string) (names []string) {
	if w.Replicas <= 1 {
		if len(there) == 0 {
			names = append(names, w.Name)
		}
		return names
	}
	for n := 1; len(there)+len(names) < w.Replicas; n++ {
		name := w.Name + "/" + strconv.Itoa(n)
		if !slices.Contains(there, name) && !(n == 1 && slices.Contains(there, w.Name)) {
			names = append(names, name)
		}
	}
	return names
}

func service(container string) string {
	name, _, _ := strings.Cut(container, "/")
	return name
}

// compareReplicas puts web.shop.vm1 before web.shop.vm1/2 before web.shop.vm1/10.
func compareReplicas(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func (e Expected) absent(name string, want *Want) health.Node {
	n := health.Node{
		Kind: e.Kind, Name: name, State: health.Fail, Flags: []string{health.FlagMissing},
		Text:   "expected, but never reported",
		Action: "start it, or take it out of the list of what is expected; if it runs, its log says why its reports do not arrive",
	}
	if e.Grace {
		n.State, n.Flags, n.Text, n.Action = health.Starting, nil, "expected; has not reported yet", ""
	}
	if want.Replicas > 1 {
		n.Text += fmt.Sprintf("; %d replicas are expected", want.Replicas)
	}
	want.flag(&n, false)
	return n
}
