// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/confighub/internal/template"
	"cloud4.internal/hub/internal/spiffe"
)

// StandIns are inputs for a rendering away from the container: a made-up value for every variable of the environment,
// every secret that the templates name and all that is sealed. There is no certificate.
func StandIns(b *bundle.Bundle, id spiffe.ID) Inputs {
	in := Inputs{ID: id, Env: map[string]string{}, Secrets: map[string]string{}, Seal: seal.StandIn{}}
	objects := map[string]map[string]string{"env": in.Env, "secrets": in.Secrets}
	for file, text := range b.Templates {
		for _, tag := range template.Tags(file, text) {
			object, name, dotted := strings.Cut(tag.Name, ".")
			if n := len(tag.Within); !dotted && n > 0 {
				object, name = tag.Within[n-1], tag.Name
			}
			if into := objects[object]; into != nil && name != "" && !strings.ContainsAny(name, ".@") {
				into[name] = "standin-" + name
			}
		}
	}
	return in
}
