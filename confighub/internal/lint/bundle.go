// SPDX-License-Identifier: AGPL-3.0-or-later

package lint

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/template"
	"cloud4.internal/hub/internal/spiffe"
)

// bundle lints what one container gets.
func (l *linter) bundle(b *bundle.Bundle, id spiffe.ID) {
	j := &judge{linter: l, bundle: b, in: render.StandIns(b, id), visited: map[template.Position]bool{}, paths: map[string]bool{}, whole: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(b.Manifest.Targets)) {
		j.target(name, b.Manifest.Targets[name])
	}
	j.tags()
	j.usedTemplates()
	j.usedData()
}

// judge lints one bundle.
type judge struct {
	*linter
	bundle *bundle.Bundle
	in     render.Inputs
	// failed: a target did not render, so that nobody knows what it uses.
	failed bool
	// visited are the tags that a rendering came by, paths the data that they led to, and whole the paths of which
	// all was written.
	visited      map[template.Position]bool
	paths, whole map[string]bool
}

// placeOf is where a target is written, with the key that is meant.
func (j *judge) placeOf(target string) Place {
	at := Place{File: "bundle.json", key: target}
	if origin, ok := j.bundle.Origins.Target(target); ok {
		at.File, at.Line = origin.File, origin.Line
	}
	return at
}

// templatePlace is where a tag is.
func (j *judge) templatePlace(at template.Position) Place {
	return Place{File: j.templateFile(at.File), Line: at.Line, Column: at.Column}
}

func (j *judge) templateFile(file string) string {
	if origin, ok := j.bundle.Origins.Template(file); ok {
		return origin.File
	}
	return "templates/" + file
}

func (j *judge) target(name string, t bundle.Target) {
	at := j.placeOf(name)
	j.allowed(at, name, t)
	j.owner(at, name, t)
	secret := t.Identity == bundle.IdentityKey || t.Identity == bundle.IdentityCombined
	if t.Template != "" {
		result, rendered := j.render(at, name, t)
		if rendered {
			secret = result.Secret
			j.output(at, name, t, result.Output)
			j.format(at, name, t)
		}
	}
	j.secret(at, name, t, secret)
	j.check(at, name, t)
}

// render renders a target and notes what it uses. A target that is off is not rendered.
func (j *judge) render(at Place, name string, t bundle.Target) (template.Result, bool) {
	if t.When != "" {
		j.paths[t.When] = true
		if !render.On(j.bundle, j.in, name) {
			return template.Result{}, false
		}
	}
	result, err := render.Trace(j.bundle, j.in, name)
	if problems, ok := err.(template.Problems); ok {
		for _, p := range problems {
			message := p.Message
			if p.Name != "" {
				message = p.Name + ": " + message
			}
			j.report(j.templatePlace(p.At), Error, "render", "", "%s", message)
		}
	} else if err != nil {
		j.report(at, Error, "render", "", "%s: %v", name, err)
	}
	if err != nil {
		j.failed = true
		return result, false
	}
	for _, p := range result.Warnings {
		j.report(j.templatePlace(p.At), Warning, "typo", "", "%s: %s", p.Name, p.Message)
	}
	for _, u := range result.Trace.Used {
		j.visited[u.At] = true
		j.paths[u.Path] = true
		if u.Whole {
			j.whole[u.Path] = true
		}
	}
	return result, true
}

// secret judges the mode of a target with a secret in it.
func (j *judge) secret(at Place, name string, t bundle.Target, secret bool) {
	if !secret || t.Mode == nil {
		return
	}
	const fix = "leave mode out: it is 0600 then"
	switch mode := fs.FileMode(*t.Mode); {
	case mode&0o007 != 0:
		j.report(at, Error, "readable-secret", fix, "%s: holds a secret, and mode %s lets everybody in", name, t.Mode)
	case mode&0o070 != 0 && !strings.Contains(t.Owner, ":"):
		j.report(at, Warning, "readable-secret", fix+"; or name the group that is meant in owner", "%s: holds a secret, and mode %s lets the file's group in", name, t.Mode)
	}
}

// owner judges whether the user of the image can give files away.
func (j *judge) owner(at Place, name string, t bundle.Target) {
	user, _, _ := strings.Cut(j.options.User, ":")
	if t.Owner == "" || user == "" || user == "root" || user == "0" {
		return
	}
	if to, _, _ := strings.Cut(t.Owner, ":"); to != user {
		j.report(at, Error, "owner", fmt.Sprintf("leave owner out: the file is %s's then; or let the image run as root, with HUB_USER for the service", user),
			"%s: is to belong to %s, and the image's user %s cannot give files away", name, t.Owner, user)
	}
}

// allowed judges target and actions by the image's settings.
func (j *judge) allowed(at Place, name string, t bundle.Target) {
	image := j.options.Image
	if image == nil {
		policy := apply.Policy{Targets: DefaultTargets}
		if why := policy.Allows(name); !t.Env && why != "" {
			j.report(at, Warning, "target", "list it in config.targets of the image's settings", "%s: %s", name, strings.Replace(why, "this image allows", "that images allow by default", 1))
		}
		return
	}
	if why := image.Policy.Allows(name); !t.Env && why != "" {
		j.report(at, Error, "target", "", "%s: %s", name, why)
	}
	for what, action := range map[string]bundle.Action{"check": t.Check, "reload": t.Reload} {
		if err := image.Policy.Knows(action); err != nil {
			j.report(at, Error, "action", "", "%s: %s: %v", name, what, err)
		}
	}
}
