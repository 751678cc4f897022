// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"maps"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/manifest"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// expected is a list of what should be there, as it is looked up. It is never changed.
type expected struct {
	list  *manifest.List // nil: none
	wants []rollup.Want  // the same for the algebra, sorted by name
	rules rollup.Rules   // of the settings and of the list
	since time.Time      // when it was first known: who is on it has a grace from then on
}

func newExpected(list *manifest.List, rules rollup.Rules) *expected {
	e := &expected{list: list, rules: rules, since: time.Now()}
	if list == nil {
		return e
	}
	matters := map[string]string{setting.Degrading: health.FlagDegrading, setting.Info: health.FlagInfo}
	e.wants = []rollup.Want{}
	for name, container := range list.Containers {
		e.wants = append(e.wants, rollup.Want{Name: name, Replicas: container.Replicas, Criticality: matters[container.Criticality]})
	}
	for name, host := range list.Hosts {
		e.wants = append(e.wants, rollup.Want{Name: name, Criticality: matters[host.Criticality]})
	}
	slices.SortFunc(e.wants, func(a, b rollup.Want) int { return strings.Compare(a.Name, b.Name) })
	e.rules.Groups = groups(list, rules.Groups)
	return e
}

// replicasOf begins the name of the group that the replicas of one service make.
const replicasOf = "replicas/"

// groups are those of the settings, with the members that the list adds, and those that the list alone knows: of one
// member at least, and of the replicas of a service that says how many it needs. Sorted by name.
func groups(list *manifest.List, known []rollup.Group) []rollup.Group {
	all := map[string]rollup.Group{}
	for _, g := range known {
		all[g.Name] = g
	}
	for name, container := range list.Containers {
		need := container.Need
		group := container.Group
		if group == "" && need > 0 {
			group = replicasOf + name
		}
		if group == "" {
			continue
		}
		g, ok := all[group]
		if !ok {
			g = rollup.Group{Name: group, Need: 1}
		}
		g.Members = append(slices.Clone(g.Members), name)
		g.Need = max(g.Need, need)
		all[group] = g
	}
	out := slices.Collect(maps.Values(all))
	slices.SortFunc(out, func(a, b rollup.Group) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// wantsAt are those that are to be missed now: a job that has not reported yet may not have been due.
func (e *expected) wantsAt(now time.Time, there func(name string) bool) []rollup.Want {
	if e.list == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(e.wants), func(w rollup.Want) bool {
		job := e.list.Containers[w.Name].Job
		return job > 0 && now.Sub(e.since) <= late(job) && !there(w.Name)
	})
}

// late is how long after a job's last end the next one is overdue, where its own report does not say.
func late(job time.Duration) time.Duration { return job + max(job/10, rollup.StoppingGrace) }

// due is until when what a job that has ended said holds, from then on; 0: it is no job, or has not ended.
func (e *expected) due(name string, v *voice) time.Duration {
	if v.due > 0 || !v.stopping || e.list == nil {
		return v.due
	}
	if job := e.list.Containers[manifest.Service(name)].Job; job > 0 {
		return late(job)
	}
	return 0
}

// lists reports whether the list names a sender, or the service it is a replica of.
func (e *expected) lists(name string) bool {
	return e.exactly(name) || e.exactly(manifest.Service(name))
}

// exactly reports whether the list names a sender itself.
func (e *expected) exactly(name string) bool {
	if e.list == nil {
		return false
	}
	_, container := e.list.Containers[name]
	_, host := e.list.Hosts[name]
	return container || host
}

// Expect replaces what should be there.
func (c *Collector) Expect(list *manifest.List) {
	c.summing.Lock()
	c.expected = newExpected(list, c.Rules)
	c.summing.Unlock()
	c.Poke()
}

// own are the checks of this machine itself, sorted by name: what Own looks at, and what is wrong with the collecting.
// The caller holds summing.
func (c *Collector) own() []health.Node {
	var nodes []health.Node
	if c.Own != nil {
		nodes = slices.Clone(c.Own())
	}
	for name, text := range c.troubles {
		nodes = append(nodes, health.Node{
			Kind: health.KindCheck, Name: rollup.HubPrefix + name, State: health.Warn, Text: text, ObservedAt: time.Now().UTC(),
			Action: "mend what it names; until then what was known before counts",
		})
	}
	slices.SortFunc(nodes, func(a, b health.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// Trouble tells, in a check hub/<name> of this node, what is wrong with the collecting itself; nil: nothing is any more.
func (c *Collector) Trouble(name string, err error) {
	c.summing.Lock()
	delete(c.troubles, name)
	if err != nil {
		c.troubles[name] = health.CleanText(err.Error())
	}
	c.summing.Unlock()
	c.Poke()
}
