// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/spiffe"
)

const hostFile = "host.json"

// Host is hosts/<host>/host.json, strict, comments allowed:
//
//	{"stacks": {"shop": {"services": ["web", "db"]}}}
//
// Only a container named here gets a bundle on this host. Replicas share their service's name.
type Host struct {
	// Stacks: name → its placed services, sorted.
	Stacks map[string][]string
}

// ParseHost reads a host.json; file is its path in messages. Errors are bundle.Problems.
func ParseHost(file string, raw []byte) (*Host, error) {
	object, err := bundle.ParseObject(file, raw)
	if err != nil {
		return nil, err
	}
	host := &Host{Stacks: map[string][]string{}}
	var problems bundle.Problems
	bad := func(key, format string, args ...any) {
		problems = append(problems, bundle.Problem{File: file, Key: key, Message: fmt.Sprintf(format, args...)})
	}
	for _, key := range sortedKeys(object) {
		if key != "stacks" {
			bad(key, "is not known: a host.json is %s", hostLine("shop", "web"))
		}
	}
	stacks, ok := object["stacks"].(map[string]any)
	if _, there := object["stacks"]; there && !ok {
		bad("stacks", "must be an object keyed by stack")
	}
	for _, stack := range sortedKeys(stacks) {
		host.Stacks[stack] = readStack(stack, stacks[stack], bad)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return host, nil
}

func readStack(name string, value any, bad func(key, format string, args ...any)) (services []string) {
	key := "stacks." + name
	if err := spiffe.CheckLabel(name); err != nil {
		bad(key, "a stack's name: %v", err)
	}
	stack, ok := value.(map[string]any)
	if !ok {
		bad(key, `must be an object: {"services": ["web"]}`)
		return nil
	}
	for _, k := range sortedKeys(stack) {
		if k != "services" {
			bad(key+"."+k, `is not known: a stack is {"services": ["web"]}`)
		}
	}
	list, ok := stack["services"].([]any)
	if _, there := stack["services"]; there && !ok {
		bad(key+".services", `must be a list of names: ["web"]`)
	}
	for i, item := range list {
		service, ok := item.(string)
		err := spiffe.CheckLabel(service)
		switch {
		case !ok:
			bad(fmt.Sprintf("%s.services[%d]", key, i), "must be the name of a service, got %v", item)
		case err != nil:
			bad(fmt.Sprintf("%s.services[%d]", key, i), "a service's name: %v", err)
		case slices.Contains(services, service):
			bad(fmt.Sprintf("%s.services[%d]", key, i), "%q stands twice", service)
		default:
			services = append(services, service)
		}
	}
	slices.Sort(services)
	return services
}

// Has reports whether the service is placed on the host.
func (h *Host) Has(stack, service string) bool {
	return h != nil && slices.Contains(h.Stacks[stack], service)
}

// Missing says which line of hosts/<host>/host.json would place the service there; it is for the words of a refusal.
func (t *Tree) Missing(host, stack, service string) string {
	file := "hosts/" + host + "/" + hostFile
	there, ok := t.Hosts[host]
	switch {
	case !ok:
		return fmt.Sprintf("make the file %s: %s", file, hostLine(stack, service))
	case len(there.Stacks[stack]) == 0:
		return fmt.Sprintf("add the stack in %s: %s", file, hostLine(stack, service))
	default:
		services := slices.Clone(there.Stacks[stack])
		services = append(services, service)
		slices.Sort(services)
		return fmt.Sprintf("add the service in %s: %s", file, hostLine(stack, services...))
	}
}

// hostLine is a host.json that places these services of one stack.
func hostLine(stack string, services ...string) string {
	line, err := json.Marshal(services)
	if err != nil {
		panic(err) // a list of strings has always a JSON form
	}
	return fmt.Sprintf(`{"stacks": {%q: {"services": %s}}}`, stack, line)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
