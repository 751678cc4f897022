// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"errors"
	"fmt"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/spiffe"
)

// Placed lists the bundle names of all placed containers: web.shop.vm1.
func (t *Tree) Placed() (names []string) {
	for _, host := range sortedKeys(t.Hosts) {
		for _, stack := range sortedKeys(t.Hosts[host].Stacks) {
			for _, service := range t.Hosts[host].Stacks[stack] {
				names = append(names, service+"."+stack+"."+host)
			}
		}
	}
	return names
}

// Unplaced lists the layers that no placed container has, such as services/cache: those for everybody, and of whole
// hosts, aside.
func (t *Tree) Unplaced() (dirs []string) {
	has := map[string]bool{"defaults": true}
	for host, placed := range t.Hosts {
		has["hosts/"+host] = true
		for stack, services := range placed.Stacks {
			for _, service := range services {
				for _, dir := range layers(host, stack, service) {
					has[dir] = true
				}
			}
		}
	}
	for _, dir := range sortedKeys(t.fragments) {
		if !has[dir] {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Bundle assembles the bundle of one placed container, for people: its origins know what was replaced. What is wrong
// with it is bundle.Problems with the paths below the root.
func (t *Tree) Bundle(name string) (*bundle.Bundle, error) {
	id, err := spiffe.ParseBundleName("any", name)
	if err != nil {
		return nil, err
	}
	if !t.Hosts[id.Host].Has(id.Stack, id.Service) {
		return nil, fmt.Errorf("%s is not placed: %s", name, t.Missing(id.Host, id.Stack, id.Service))
	}
	return t.assemble(id)
}

// assemble makes the bundle of a container, placed or not.
func (t *Tree) assemble(id spiffe.ID) (*bundle.Bundle, error) {
	var contents []*bundle.Fragment
	for _, f := range t.chain(id.Host, id.Stack, id.Service) {
		contents = append(contents, f.content)
	}
	b, err := bundle.Assemble(contents...)
	if problems, ok := errors.AsType[bundle.Problems](err); ok {
		return nil, t.located(problems)
	}
	return b, err
}
