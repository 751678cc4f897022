// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"

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
	r := hostReader{file: file, raw: raw}
	if r.document, err = hujson.Parse(append(bytes.Clone(raw), '\n')); err != nil {
		return nil, bundle.Problems{{File: file, Message: err.Error()}}
	}
	host := &Host{Stacks: map[string][]string{}}
	for _, key := range sortedKeys(object) {
		if key != "stacks" {
			r.bad("is not known: a host.json is "+hostLine("shop", "web"), key)
		}
	}
	stacks, ok := object["stacks"].(map[string]any)
	if _, there := object["stacks"]; there && !ok {
		r.bad("must be an object keyed by stack", "stacks")
	}
	for _, stack := range sortedKeys(stacks) {
		host.Stacks[stack] = r.stack(stack, stacks[stack])
	}
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return host, nil
}

// hostReader collects what is wrong with one host.json.
type hostReader struct {
	file     string
	raw      []byte
	document hujson.Value
	problems bundle.Problems
}

// bad notes a problem with the value that these keys lead to.
func (r *hostReader) bad(message string, keys ...string) {
	pointer := ""
	for _, key := range keys {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key) // RFC 6901 §3
	}
	p := bundle.Problem{File: r.file, Key: strings.Join(keys, "."), Message: message}
	if value := r.document.Find(pointer); value != nil {
		p.Line = 1 + bytes.Count(r.raw[:value.StartOffset], []byte("\n"))
	}
	r.problems = append(r.problems, p)
}

func (r *hostReader) stack(name string, value any) (services []string) {
	if err := spiffe.CheckLabel(name); err != nil {
		r.bad("a stack's name: "+err.Error(), "stacks", name)
	}
	stack, ok := value.(map[string]any)
	if !ok {
		r.bad(`must be an object: {"services": ["web"]}`, "stacks", name)
		return nil
	}
	for _, key := range sortedKeys(stack) {
		if key != "services" {
			r.bad(`is not known: a stack is {"services": ["web"]}`, "stacks", name, key)
		}
	}
	list, ok := stack["services"].([]any)
	if _, there := stack["services"]; there && !ok {
		r.bad(`must be a list of names: ["web"]`, "stacks", name, "services")
	}
	for i, item := range list {
		service, ok := item.(string)
		err := spiffe.CheckLabel(service)
		switch place := strconv.Itoa(i); {
		case !ok:
			r.bad(fmt.Sprintf("must be the name of a service, got %v", item), "stacks", name, "services", place)
		case err != nil:
			r.bad("a service's name: "+err.Error(), "stacks", name, "services", place)
		case slices.Contains(services, service):
			r.bad(fmt.Sprintf("%q stands twice", service), "stacks", name, "services", place)
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
