// SPDX-License-Identifier: AGPL-3.0-or-later

package render

import (
	"maps"
	"slices"
	"strings"

	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/secret"
)

// named gives the contents of config.secrets the names that templates have for them.
func named(secrets map[string]string) (all []initctl.Secret) {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		all = append(all, initctl.Secret{Name: "secrets." + name, Value: secrets[name]})
	}
	return all
}

// secretsIn are the values of variables whose names mean a secret, the passwords in URLs, and headers of OpenTelemetry.
func secretsIn(env []string) (all []initctl.Secret) {
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		for _, header := range secret.InHeaders(name, value) {
			all = append(all, initctl.Secret{Name: name, Value: header})
		}
		if !secret.Named(name) {
			value, _ = secret.InURL(value)
		}
		if value != "" {
			all = append(all, initctl.Secret{Name: name, Value: value})
		}
	}
	return all
}
