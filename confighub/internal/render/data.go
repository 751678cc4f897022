// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

// Opener opens a sealed value by its text, the dotted key where it stands, and the bundle name of the container, ""
// for none. Errors follow the key and tell nothing of the content. It is a *seal.Key, or seal.StandIn.
type Opener interface {
	Open(text, key, name string) (any, error)
}

// data is what the templates of a bundle see.
type data struct {
	values map[string]any
	// sealed are the dotted keys of what was sealed, secrets the values in there that no log may show.
	sealed  []string
	secrets []initctl.Secret
}

// open is the bundle's data with what is sealed in it opened, and with the built-in objects. What cannot be opened
// leaves none: all that is in there would only seem to be missing.
func open(b *bundle.Bundle, in Inputs) (data, Problems) {
	opened, d, problems := in.openAll(b.Data, b.Origins)
	if len(problems) > 0 {
		return data{}, problems
	}
	values, _ := opened.(map[string]any)
	problems = b.CheckOpened(values, d.sealed).Lines()
	for _, name := range builtIn {
		if _, taken := values[name]; taken {
			problems = append(problems, "data: "+name+" is built in: give the key another name")
		}
	}
	d.values = withBuiltIns(values, in)
	return d, problems
}

// Open is data of no bundle with what is sealed in it opened, and the dotted keys of that. The error is Problems.
func (in Inputs) Open(values any) (opened any, sealed []string, err error) {
	opened, d, problems := in.openAll(values, nil)
	if len(problems) > 0 {
		return nil, nil, problems
	}
	return opened, d.sealed, nil
}

func (in Inputs) openAll(values any, origins *bundle.Origins) (opened any, d data, problems Problems) {
	// What is opened was not there when the bundle's values were counted.
	room := bundle.MaxValues
	opened = seal.Visit(values, func(f seal.Found) any {
		if room < 0 {
			return nil
		}
		value, err := in.open(f)
		if room -= count(value); room < 0 && err == nil {
			err = fmt.Errorf("makes what is sealed hold more than %d values", bundle.MaxValues)
		}
		if err != nil {
			problems = append(problems, placeOf(origins, f)+": "+f.Key+": "+err.Error())
			return nil
		}
		d.sealed = append(d.sealed, f.Key)
		for _, text := range texts(value) {
			d.secrets = append(d.secrets, initctl.Secret{Name: f.Key, Value: text})
		}
		return value
	})
	return opened, d, problems
}

func (in Inputs) open(f seal.Found) (any, error) {
	switch {
	case f.Err != nil:
		return nil, f.Err
	case in.Seal == nil:
		return nil, errors.New("is sealed, and there is no key to open it: its container has one (confighub render takes it with --seal-key)")
	}
	name := ""
	if in.ID != (spiffe.ID{}) {
		name = in.ID.BundleName()
	}
	value, err := in.Seal.Open(f.Text, f.Key, name)
	if object, ok := value.(map[string]any); ok {
		// As everywhere in data, what is null is not there.
		return bundle.MergePatch(nil, object), err
	}
	return value, err
}

// placeOf is where a sealed value was written, as far as that is known.
func placeOf(origins *bundle.Origins, f seal.Found) string {
	if origin, ok := origins.Value(bundle.JSONPointer(f.Path...)); ok {
		return origin.String()
	}
	return "data"
}

// count is how many values v holds, with itself.
func count(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, child := range v {
			n += count(child)
		}
	case []any:
		for _, child := range v {
			n += count(child)
		}
	}
	return n
}

// texts are the strings and numbers in v.
func texts(v any) (all []string) {
	switch v := v.(type) {
	case map[string]any:
		for _, child := range v {
			all = append(all, texts(child)...)
		}
	case []any:
		for _, child := range v {
			all = append(all, texts(child)...)
		}
	case string:
		all = append(all, v)
	case json.Number:
		all = append(all, string(v))
	}
	return all
}

// builtIn are the names of the built-in objects.
var builtIn = []string{"hub", "env", "secrets"}

func withBuiltIns(values map[string]any, in Inputs) map[string]any {
	all := maps.Clone(values)
	if all == nil {
		all = map[string]any{}
	}
	names := []any{}
	for _, name := range in.ID.DNSNames() {
		names = append(names, name)
	}
	id := ""
	if in.ID != (spiffe.ID{}) {
		id = in.ID.String()
	}
	all["hub"] = map[string]any{
		"id": id, "names": names, "host": in.ID.Host, "stack": in.ID.Stack, "service": in.ID.Service,
		"instance": in.ID.Instance, "trust_domain": in.ID.TrustDomain,
	}
	all["env"], all["secrets"] = object(in.Env), object(in.Secrets)
	return all
}

func object(m map[string]string) map[string]any {
	o := make(map[string]any, len(m))
	for k, v := range m {
		o[k] = v
	}
	return o
}
