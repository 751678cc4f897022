// SPDX-License-Identifier: AGPL-3.0-or-later

// Package render turns a bundle and what this container adds to it into the files and the environment that the
// bundle wants. It is pure: it reads nothing and writes nothing, and equal inputs give equal outputs.
//
// To the bundle's data it adds the built-in objects
//
//	hub      id, host, stack, service, instance, trust_domain (strings, "" where there is none), names (list of DNS names)
//	env      the variables that the setting config.env names
//	secrets  the contents of the files that the setting config.secrets names
//
// What is sealed in the data (package seal) it opens. A value of secrets, or what was sealed, in a file makes its default
// mode 0600. The lines of an env target are KEY=VALUE; a value
// may be bare, in single quotes (as it is) or in double quotes with the escapes \n \\ \" \$ \`.
package render

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/template"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

// Inputs is what the container adds to a bundle.
type Inputs struct {
	// ID is who this container is; zero when its settings do not say.
	ID spiffe.ID
	// Env and Secrets by name. A name without a value is absent.
	Env, Secrets map[string]string
	// Identity holds PEM by kind (bundle.IdentityCert, …); nil without an identity.
	Identity map[string][]byte
	// Seal opens what is sealed in the data; nil: nothing can be opened here.
	Seal Opener
}

// File is one target as it is to be.
type File struct {
	Path  string
	Bytes []byte
	Mode  fs.FileMode
	// Owner is "user", "user:group" or "" for the existing file's.
	Owner string
	// Secret is true when Bytes must not be shown: a secret or what was sealed stands in there, or decides what does.
	Secret        bool
	Once          bool
	Check, Reload bundle.Action
}

// Output is everything a bundle wants on this container.
type Output struct {
	// Files by path, in order of path.
	Files []File
	// Env is KEY=VALUE for the service, sorted; EnvReloads what puts a change of it to work.
	Env        []string
	EnvReloads []bundle.Action
	// Warnings for the log.
	Warnings []string
	// Redact holds the texts that no log may show.
	Redact []string
	// Secrets are the values behind them, and those in Env whose variables mean a secret, by name, for loghub.
	Secrets []initctl.Secret
}

// maxProblems is how many are found before no further target is looked at.
const maxProblems = 100

const (
	defaultMode = 0o644
	secretMode  = 0o600
)

// Render renders every target, or returns what is wrong with all of them (Problems).
func Render(b *bundle.Bundle, in Inputs) (*Output, error) {
	r := &renderer{bundle: b, in: in, out: &Output{}}
	data, problems := open(b, in)
	if data.values == nil {
		return nil, problems
	}
	r.set = template.NewSet(data.values, data.sealed...)
	r.problems = append(r.problems, problems...)
	for _, name := range slices.Sorted(maps.Keys(b.Manifest.Targets)) {
		if len(r.problems) >= maxProblems {
			r.report(name, "and more from this target on")
			break
		}
		t := b.Manifest.Targets[name]
		if t.When != "" && !template.Truthy(data.values, t.When) {
			continue
		}
		switch {
		case t.Identity != "":
			r.identity(name, t)
		case t.Env:
			r.env(name, t, data.values)
		default:
			r.file(name, t, data.values)
		}
	}
	slices.Sort(r.out.Env)
	r.duplicates()
	r.out.Secrets = slices.Concat(named(in.Secrets), data.secrets, r.keys)
	r.out.Redact = redactions(r.out.Secrets)
	r.out.Secrets = append(r.out.Secrets, secretsIn(r.out.Env)...)
	if len(r.problems) > 0 {
		return nil, r.problems.redacted(r.out.Redact)
	}
	return r.out, nil
}

// Problems is what stands in the way of a bundle, one line each.
type Problems []string

// Error is one problem a line.
func (p Problems) Error() string { return strings.Join(p, "\n") }

type renderer struct {
	bundle   *bundle.Bundle
	in       Inputs
	out      *Output
	problems Problems
	// set has the limits that all targets share.
	set *template.Set
	// envFrom: variable → the target that sets it.
	envFrom map[string]string
	// keys are the private ones that stand in targets.
	keys []initctl.Secret
	// envBytes is what the environment takes so far.
	envBytes int
}

func (r *renderer) report(target, format string, args ...any) {
	r.problems = append(r.problems, "bundle.json: targets."+target+": "+fmt.Sprintf(format, args...))
}

// render renders the target's template and reports its errors. The same template for two targets reports once.
func (r *renderer) render(name string, t bundle.Target, data map[string]any) (template.Result, bool) {
	result, err := template.Render(r.bundle.Template, t.Template, data, template.Options{Format: FormatOf(name, t), Strict: r.bundle.Manifest.Strict, Set: r.set})
	if err == nil {
		r.out.Warnings = append(r.out.Warnings, result.Warnings.Lines()...)
		return result, true
	}
	lines := []string{"targets." + name + ": " + err.Error()}
	if problems, ok := err.(template.Problems); ok {
		lines = problems.Lines()
	}
	for _, line := range lines {
		if !slices.Contains(r.problems, line) {
			r.problems = append(r.problems, line)
		}
	}
	return result, false
}

// FormatOf is the format that values are escaped for in a target.
func FormatOf(name string, t bundle.Target) string {
	if t.Env {
		return cmp.Or(t.Escape, "env")
	}
	return cmp.Or(t.Escape, template.FormatOf(name))
}

func (r *renderer) file(name string, t bundle.Target, data map[string]any) {
	result, ok := r.render(name, t, data)
	if !ok {
		return
	}
	f := File{Path: name, Bytes: result.Output, Mode: defaultMode, Owner: t.Owner, Secret: result.Secret, Once: t.Once, Check: t.Check, Reload: t.Reload}
	if f.Secret {
		f.Mode = secretMode
	}
	if t.Mode != nil {
		f.Mode = fs.FileMode(*t.Mode)
	}
	r.out.Files = append(r.out.Files, f)
}

func (r *renderer) identity(name string, t bundle.Target) {
	pem, ok := r.in.Identity[t.Identity]
	if !ok {
		r.report(name, "wants this container's certificate, and it has none: set identity.ca_url, or wait for the enrolment")
		return
	}
	secret := t.Identity == bundle.IdentityKey || t.Identity == bundle.IdentityCombined
	f := File{Path: name, Bytes: pem, Mode: defaultMode, Owner: t.Owner, Secret: secret, Once: t.Once, Check: t.Check, Reload: t.Reload}
	if secret {
		f.Mode = secretMode
		r.keys = append(r.keys, initctl.Secret{Name: "identity." + t.Identity, Value: string(pem)})
	}
	if t.Mode != nil {
		f.Mode = fs.FileMode(*t.Mode)
	}
	r.out.Files = append(r.out.Files, f)
}

func (r *renderer) env(name string, t bundle.Target, data map[string]any) {
	result, ok := r.render(name, t, data)
	if !ok {
		return
	}
	lines, err := ParseEnv(string(result.Output))
	if err != nil {
		r.report(name, "%v", err)
		return
	}
	for _, line := range lines {
		key, _, _ := strings.Cut(line, "=")
		if other := r.envFrom[key]; other != "" {
			r.report(name, "sets %s, which %s sets too", key, other)
			continue
		}
		if r.envFrom == nil {
			r.envFrom = map[string]string{}
		}
		r.envFrom[key] = name
		r.out.Env = append(r.out.Env, line)
		if r.envBytes += len(line) + 1; r.envBytes > maxEnvironment {
			r.report(name, "makes the service's environment larger than %d bytes, which no process can be given", maxEnvironment)
			return
		}
	}
	if !t.Reload.IsZero() {
		r.out.EnvReloads = append(r.out.EnvReloads, t.Reload)
	}
}

// duplicates reports targets of which one lies below another.
func (r *renderer) duplicates() {
	paths := map[string]bool{}
	for _, f := range r.out.Files {
		paths[f.Path] = true
	}
	for _, f := range r.out.Files {
		for dir := path.Dir(f.Path); dir != "/"; dir = path.Dir(dir) {
			if paths[dir] {
				r.report(f.Path, "lies below %s, which is a file of the bundle too", dir)
			}
		}
	}
}
