// SPDX-License-Identifier: AGPL-3.0-or-later

package tree

import (
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/internal/spiffe"
)

// View is what one container gets, for people: from which layer each part comes, and what it prevailed over.
type View struct {
	// Identity is the bundle name: web.shop.vm1.
	Identity string `json:"identity"`
	Revision string `json:"revision"`
	Placed   bool   `json:"placed"`
	// Remedy says how to place the container; "" when it is.
	Remedy string `json:"remedy,omitempty"`
	// Layers in the order in which they are laid over each other, those that are not there included.
	Layers  []LayerView  `json:"layers"`
	Targets []TargetView `json:"targets"`
	// Partials are the templates that no target names, in order.
	Partials []PartView `json:"partials"`
	// Data has one entry for every value but objects, in order of the keys.
	Data []ValueView `json:"data"`
}

// LayerView is one directory of the tree.
type LayerView struct {
	Dir     string `json:"dir"`
	Present bool   `json:"present"`
	// Holds is what is in it: "1 target, 2 data files, 3 templates, a schema".
	Holds string `json:"holds,omitempty"`
}

// PartView is one part with where it comes from: file, or file:line.
type PartView struct {
	Name     string   `json:"name"`
	From     string   `json:"from"`
	Replaced []string `json:"replaced,omitempty"`
}

// TargetView is one target. PartView.From is where it is declared, by the last layer with a word on it; Replaced are the
// places before, whose words hold as far as they are not said again.
type TargetView struct {
	PartView
	// Template is the file in the tree that it is rendered from, which took the place of those in Hidden.
	Template string   `json:"template,omitempty"`
	Hidden   []string `json:"hidden,omitempty"`
	// Identity is cert, key, combined or roots.
	Identity string `json:"identity,omitempty"`
}

// ValueView is one value of the data; Name is its dotted path.
type ValueView struct {
	PartView
	// Pointer is its JSON pointer (RFC 6901).
	Pointer string `json:"pointer"`
	// Value is as in the data. Of a sealed value there is nothing but that it is one.
	Value  any  `json:"value,omitempty"`
	Sealed bool `json:"sealed,omitempty"`
}

// View shows what the container of this bundle name gets, or would get once it is placed. What is wrong with it is
// bundle.Problems.
func (t *Tree) View(name string) (*View, error) {
	id, err := spiffe.ParseBundleName("any", name)
	if err != nil {
		return nil, err
	}
	b, err := t.assemble(id)
	if err != nil {
		return nil, err
	}
	v := &View{
		Identity: name, Revision: t.Revision, Placed: t.Hosts[id.Host].Has(id.Stack, id.Service),
		Layers: []LayerView{}, Targets: []TargetView{}, Partials: []PartView{}, Data: []ValueView{},
	}
	if !v.Placed {
		v.Remedy = t.Missing(id.Host, id.Stack, id.Service)
	}
	for _, dir := range layers(id.Host, id.Stack, id.Service) {
		layer := LayerView{Dir: dir}
		if f, ok := t.fragments[dir]; ok {
			layer.Present, layer.Holds = true, f.content.Summary()
		}
		v.Layers = append(v.Layers, layer)
	}
	v.addTargets(b)
	v.addData(b.Origins, b.Data, "", nil)
	return v, nil
}

func part(name string, origin bundle.Origin) PartView {
	p := PartView{Name: name, From: origin.String()}
	for _, place := range origin.Replaced {
		p.Replaced = append(p.Replaced, place.String())
	}
	return p
}

func (v *View) addTargets(b *bundle.Bundle) {
	named := map[string]bool{}
	for _, name := range sortedKeys(b.Manifest.Targets) {
		origin, _ := b.Origins.Target(name)
		target := TargetView{PartView: part(name, origin), Identity: b.Manifest.Targets[name].Identity}
		if file, _, ok := b.Template(b.Manifest.Targets[name].Template); ok {
			named[file] = true
			origin, _ := b.Origins.Template(file)
			template := part(file, origin)
			target.Template, target.Hidden = template.From, template.Replaced
		}
		v.Targets = append(v.Targets, target)
	}
	for _, file := range sortedKeys(b.Templates) {
		if !named[file] {
			origin, _ := b.Origins.Template(file)
			v.Partials = append(v.Partials, part(file, origin))
		}
	}
}

// addData walks down to the values that replace as a whole.
func (v *View) addData(origins *bundle.Origins, value any, dotted string, keys []string) {
	object, ok := value.(map[string]any)
	if ok && !seal.Is(object) && len(object) > 0 {
		for _, key := range sortedKeys(object) {
			v.addData(origins, object[key], strings.TrimPrefix(dotted+"."+key, "."), append(keys[:len(keys):len(keys)], key))
		}
		return
	}
	if len(keys) == 0 {
		return // there is no data
	}
	pointer := bundle.JSONPointer(keys...)
	origin, _ := origins.Value(pointer)
	one := ValueView{PartView: part(dotted, origin), Pointer: pointer}
	if one.Sealed = seal.Is(value); !one.Sealed {
		one.Value = seal.Visit(value, func(seal.Found) any { return map[string]any{seal.Member: "…"} })
	}
	v.Data = append(v.Data, one)
}
