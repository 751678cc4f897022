// SPDX-License-Identifier: AGPL-3.0-or-later

package scaffold

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tailscale/hujson"

	"cloud4.internal/hub/confighub/internal/tree"
)

// Place returns a host.json with the service added to what it places; comments and order stay. raw is nil where there is
// none yet, and comes back as it is when the service stands in it. file is its path in messages.
func Place(file string, raw []byte, stack, service string) ([]byte, error) {
	if raw == nil {
		return fmt.Appendf(nil, "// What is placed on this host. Any other container that says it runs here is refused.\n"+
			"{\"stacks\": {%q: {\"services\": [%q]}}}\n", stack, service), nil
	}
	before, err := tree.ParseHost(file, raw)
	if err != nil {
		return nil, err
	}
	if before.Has(stack, service) {
		return raw, nil
	}
	document, err := hujson.Parse(append(bytes.Clone(raw), '\n'))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := insert(&document, stack, service); err != nil {
		return nil, fmt.Errorf("%s: adding %s of %s: %w", file, service, stack, err)
	}
	out := append(bytes.TrimRight(document.Pack(), "\n"), '\n')
	after, err := tree.ParseHost(file, out)
	if err != nil || !after.Has(stack, service) {
		return nil, fmt.Errorf("%s: adding %s of %s gives what is no host.json: %v", file, service, stack, err)
	}
	return out, nil
}

// insert adds what is missing on the way to the service, then the service, last. Names are DNS labels, which a JSON pointer
// (RFC 6901) holds as they are.
func insert(document *hujson.Value, stack, service string) error {
	for _, step := range []struct{ pointer, empty string }{
		{"/stacks", "{}"}, {"/stacks/" + stack, "{}"}, {"/stacks/" + stack + "/services", "[]"},
	} {
		if document.Find(step.pointer) != nil {
			continue
		}
		if err := add(document, step.pointer, step.empty); err != nil {
			return err
		}
	}
	services := "/stacks/" + stack + "/services"
	name, err := json.Marshal(service)
	if err != nil {
		return err
	}
	if err := add(document, services+"/-", string(name)); err != nil {
		return err
	}
	align(document.Find(services))
	return nil
}

// add is the operation "add" of RFC 6902.
func add(document *hujson.Value, pointer, value string) error {
	return document.Patch(fmt.Appendf(nil, `[{"op": "add", "path": %q, "value": %s}]`, pointer, value))
}

// align gives the last element of a list the space that the one before has, without its comment.
func align(list *hujson.Value) {
	array, ok := list.Value.(*hujson.Array)
	if !ok || len(array.Elements) < 2 {
		return
	}
	n := len(array.Elements)
	space := hujson.Extra(" ")
	if before := array.Elements[n-2].BeforeExtra; slices.Contains(before, '\n') {
		space = before[bytes.LastIndexByte(before, '\n'):]
	}
	array.Elements[n-1].BeforeExtra = slices.Clone(space)
}
