// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// Blob is one packed bundle. Containers whose fragments are the same share one.
type Blob struct {
	// Digest is "sha256:" and 64 hexadecimal digits.
	Digest string
	Packed []byte
}

// Compiler makes bundles of trees and keeps those of the last tree, so that an unchanged chain of fragments is
// neither merged nor compressed again. It is not safe for concurrent use. The zero value is ready.
type Compiler struct {
	// chains: the fragments' sums in order → their bundle.
	chains map[string]*Blob
}

// Compile returns the bundle of every placed container by bundle name (web.shop.vm1). If one cannot be made, none is:
// the error is bundle.Problems with the paths below the root.
func (c *Compiler) Compile(t *Tree) (map[string]*Blob, error) {
	bundles, chains, digests := map[string]*Blob{}, map[string]*Blob{}, map[string]*Blob{}
	var problems bundle.Problems
	for _, host := range sortedKeys(t.Hosts) {
		for _, stack := range sortedKeys(t.Hosts[host].Stacks) {
			for _, service := range t.Hosts[host].Stacks[stack] {
				blob, err := c.one(t.chain(host, stack, service), chains)
				if err != nil {
					problems = append(problems, asProblems(service+"."+stack+"."+host, err)...)
					continue
				}
				if same, ok := digests[blob.Digest]; ok {
					blob = same
				}
				digests[blob.Digest] = blob
				bundles[service+"."+stack+"."+host] = blob
			}
		}
	}
	if len(problems) > 0 {
		return nil, t.located(sorted(unique(problems)))
	}
	c.chains = chains
	return bundles, nil
}

// one makes the bundle of one chain, or takes it from this or the last tree.
func (c *Compiler) one(chain []*fragment, chains map[string]*Blob) (*Blob, error) {
	var key strings.Builder
	var contents []*bundle.Fragment
	for _, f := range chain {
		key.WriteString(f.sum)
		contents = append(contents, f.content)
	}
	if blob, ok := chains[key.String()]; ok {
		return blob, nil
	}
	if blob, ok := c.chains[key.String()]; ok {
		chains[key.String()] = blob
		return blob, nil
	}
	b, err := bundle.Assemble(contents...)
	if err != nil {
		return nil, err
	}
	packed, err := bundle.Pack(b)
	if err != nil {
		return nil, err
	}
	blob := &Blob{Digest: bundle.Digest(packed), Packed: packed}
	chains[key.String()] = blob
	return blob, nil
}

// chain is the fragments of one container, first to last.
func (t *Tree) chain(host, stack, service string) (chain []*fragment) {
	for _, dir := range layers(host, stack, service) {
		if f, ok := t.fragments[dir]; ok {
			chain = append(chain, f)
		}
	}
	return chain
}

// layers are the directories of one container's fragments, first to last.
func layers(host, stack, service string) []string {
	return []string{
		"defaults",
		"services/" + service,
		"stacks/" + stack,
		"stacks/" + stack + "/services/" + service,
		"hosts/" + host,
		"hosts/" + host + "/stacks/" + stack + "/services/" + service,
	}
}

// unique leaves out what many containers have in common.
func unique(problems bundle.Problems) (once bundle.Problems) {
	seen := map[bundle.Problem]bool{}
	for _, p := range problems {
		if !seen[p] {
			seen[p] = true
			once = append(once, p)
		}
	}
	return once
}
