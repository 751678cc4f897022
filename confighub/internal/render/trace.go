// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"fmt"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/template"
)

// Trace renders the template of one target and says where each byte of it came from. The error is template.Problems
// for what is wrong with the template, or with the data for it.
func Trace(b *bundle.Bundle, in Inputs, name string) (template.Result, error) {
	t, ok := b.Manifest.Targets[name]
	switch {
	case !ok:
		return template.Result{}, fmt.Errorf("the bundle has no target %s", name)
	case t.Template == "":
		return template.Result{}, fmt.Errorf("%s has no template: it is the container's own certificate (%s)", name, t.Identity)
	}
	data, problems := open(b, in)
	if len(problems) > 0 {
		return template.Result{}, problems
	}
	set := template.NewSet(data.values, data.sealed...)
	return template.Render(b.Template, t.Template, data.values, template.Options{Format: FormatOf(name, t), Strict: b.Manifest.Strict, Set: set, Trace: true})
}

// On reports whether a target is there at all: it has no condition, or what that names is true in the data.
func On(b *bundle.Bundle, in Inputs, name string) bool {
	when := b.Manifest.Targets[name].When
	if when == "" {
		return true
	}
	data, problems := open(b, in)
	return len(problems) == 0 && template.Truthy(data.values, when)
}
