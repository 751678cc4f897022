// SPDX-License-Identifier: AGPL-3.0-or-later

package changes

import (
	"bytes"
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
)

// Target is the text of a rendered target, with its secrets known.
func Target(b *bundle.Bundle, in render.Inputs, f render.File) Text {
	if !f.Secret {
		return Plain(f.Bytes)
	}
	result, err := render.Trace(b, in, f.Path)
	if err != nil || !bytes.Equal(result.Output, f.Bytes) {
		return Secret(f.Bytes) // the container's key, which no template writes
	}
	return Of(f.Bytes, result.Trace)
}

// Environment is the text of the service's environment, a variable a line, and that text itself.
func Environment(b *bundle.Bundle, in render.Inputs, out *render.Output) (Text, []byte) {
	masked := map[string]string{}
	for name, t := range b.Manifest.Targets {
		if t.Env {
			maskVariables(b, in, name, masked)
		}
	}
	var shown []string
	for _, variable := range out.Env {
		key, _, _ := strings.Cut(variable, "=")
		if with, ok := masked[key]; ok {
			variable = with
		}
		shown = append(shown, oneLine(variable))
	}
	raw := make([]string, len(out.Env))
	for i, variable := range out.Env {
		raw[i] = oneLine(variable)
	}
	return Lines(raw, shown), Variables(out.Env)
}

// maskVariables adds the variables of one env target that hold a secret, as they are shown.
func maskVariables(b *bundle.Bundle, in render.Inputs, name string, masked map[string]string) {
	result, err := render.Trace(b, in, name)
	if err != nil || !result.Secret {
		return // a target that is off, or has nothing to hide
	}
	plain, err := render.ParseEnv(string(result.Output))
	if err != nil {
		return
	}
	shown, err := render.ParseEnv(string(result.Trace.Masked(result.Output)))
	for i, variable := range plain {
		key, _, _ := strings.Cut(variable, "=")
		masked[key] = key + "=" + mask
		if err == nil && len(shown) == len(plain) && strings.HasPrefix(shown[i], key+"=") {
			masked[key] = shown[i]
		}
	}
}

// Variables is an environment as a text with a variable a line.
func Variables(env []string) []byte {
	var text bytes.Buffer
	for _, variable := range env {
		text.WriteString(oneLine(variable) + "\n")
	}
	return text.Bytes()
}

// oneLine shows line breaks in a variable as \n.
func oneLine(variable string) string {
	return strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(variable)
}
