// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
)

// Policy is what the image's settings allow a bundle, which no genesis can change.
type Policy struct {
	// Targets are path globs; a path without wildcards allows everything below it.
	Targets []string
	// Actions by name.
	Actions map[string][]string
	// BundleCommands allows bundles to bring an argv of their own.
	BundleCommands bool
	// Never are paths that no setting can allow, with all that is below them, beside the fixed ones.
	Never []string
}

// never lists what is no target whatever the settings say: the hubs' own places, the programs, and what
// decides who may do what in the container. It is a function, so that nothing can add to or take from it.
func never() []string {
	return []string{"/etc/hub", "/var/lib/hub", "/run/hub", "/usr/local/bin", "/etc/passwd", "/etc/shadow", "/etc/group", "/proc", "/sys", "/dev"}
}

// allows says why path cannot be a target; "" when it can.
func (p Policy) allows(target string) string {
	if why := bundle.BadPath(target); why != "" {
		return why
	}
	if !path.IsAbs(target) || path.Clean(target) != target || target == "/" {
		return "must be an absolute path without . and .., as " + path.Join("/", target)
	}
	if strings.HasPrefix(target, "/etc/ld.so") {
		return "is never a target"
	}
	for _, place := range slices.Concat(never(), p.Never) {
		if below(target, place) || below(place, target) {
			return "is never a target: " + place + " belongs to the container"
		}
	}
	for _, glob := range p.Targets {
		if below(target, glob) {
			return ""
		}
		for _, pattern := range []string{glob, path.Join(glob, "**")} {
			if ok, err := doublestar.Match(pattern, target); ok && err == nil {
				return ""
			}
		}
	}
	return fmt.Sprintf("is not among the targets this image allows (config.targets: %s)", strings.Join(p.Targets, " "))
}

func below(target, dir string) bool {
	return target == dir || strings.HasPrefix(target, strings.TrimSuffix(dir, "/")+"/")
}

// judge says everything that out wants and the settings do not allow.
func (p Policy) judge(out *render.Output) []string {
	var lines []string
	report := func(target, format string, args ...any) {
		lines = append(lines, "bundle.json: targets."+target+": "+fmt.Sprintf(format, args...))
	}
	for _, f := range out.Files {
		if why := p.allows(f.Path); why != "" {
			report(f.Path, "%s", why)
		}
		if _, err := p.resolve(f.Check); err != nil {
			report(f.Path, "check: %v", err)
		}
		if _, err := p.resolve(f.Reload); err != nil {
			report(f.Path, "reload: %v", err)
		}
	}
	for _, action := range out.EnvReloads {
		if _, err := p.resolve(action); err != nil {
			lines = append(lines, "bundle.json: reload of an env target: "+err.Error())
		}
	}
	return lines
}

// Names of the actions built in.
const (
	actionRestart = "restart"
	signalPrefix  = "signal:"
)

// builtIn reports whether the name is an action that hubinit does.
func builtIn(name string) bool { return name == actionRestart || strings.HasPrefix(name, signalPrefix) }

// resolve returns the argv of an action; nil for one built in and for none. A setting may not replace what is
// built in.
func (p Policy) resolve(a bundle.Action) ([]string, error) {
	switch {
	case a.IsZero() || builtIn(a.Name):
		return nil, nil
	case a.Name != "":
		argv := p.Actions[a.Name]
		if len(argv) == 0 {
			return nil, fmt.Errorf("no action %q in this image's settings (config.actions)", a.Name)
		}
		return argv, nil
	case !p.BundleCommands:
		return nil, fmt.Errorf("brings a command of its own (%s), which this image's settings do not allow: name an action of config.actions, or set config.bundle_commands", a)
	}
	return a.Argv, nil
}
