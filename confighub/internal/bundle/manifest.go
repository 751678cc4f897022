// SPDX-License-Identifier: AGPL-3.0-or-later

package bundle

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Manifest is bundle.json. The doc tags are for people who write one: see [ManifestSchema].
type Manifest struct {
	Targets map[string]Target `json:"targets,omitempty" doc:"by absolute path; an env target's key is a name without a slash"`
	Strict  bool              `json:"strict,omitempty" doc:"a section whose key stands nowhere in the data is an error instead of a warning"`
}

// Target is one file that the bundle wants, or the environment of the service. Exactly one of Template and
// Identity is set; Env goes with Template.
type Target struct {
	Template string `json:"template,omitempty" doc:"file below templates/; .mustache may be left out"`
	Identity string `json:"identity,omitempty" doc:"a copy of the container's own certificate files instead of a template"`
	Env      bool   `json:"env,omitempty" doc:"the rendered KEY=VALUE lines become environment of the service instead of a file"`
	// Mode is nil for the default.
	Mode   *Mode  `json:"mode,omitempty" doc:"octal permissions; 0644, and 0600 as soon as a secret is in the file"`
	Owner  string `json:"owner,omitempty" doc:"user or user:group, names or numbers; the existing file's by default"`
	Escape string `json:"escape,omitempty" doc:"the format that values are escaped for; by the target's extension, else none"`
	When   string `json:"when,omitempty" doc:"dotted path in the data; the target is there only while the value is true"`
	Once   bool   `json:"once,omitempty" doc:"written only if it is missing"`
	Check  Action `json:"check,omitzero" doc:"judges the staged file: an action of the image's settings, or a command if these allow it"`
	Reload Action `json:"reload,omitzero" doc:"makes the service take up a change: likewise, or restart, or signal:HUP"`
}

// Kinds of Target.Identity.
const (
	IdentityCert     = "cert"
	IdentityKey      = "key"
	IdentityCombined = "combined"
	IdentityRoots    = "roots"
)

// Formats returns the names that escape takes.
func Formats() []string {
	return []string{"none", "json", "yaml", "toml", "ini", "shell", "nginx", "xml", "html", "properties", "env"}
}

// Action is a check or a reload: the name of an action of the image's settings, one built in (none, restart,
// signal:HUP), or an argv, which the image must allow. In JSON a string or a list of strings.
type Action struct {
	Name string
	Argv []string
}

// IsZero reports whether there is nothing to do.
func (a Action) IsZero() bool { return (a.Name == "" || a.Name == ActionNone) && len(a.Argv) == 0 }

// ActionNone does nothing.
const ActionNone = "none"

// String is the name, or the argv as people write it.
func (a Action) String() string {
	if a.Name != "" {
		return a.Name
	}
	return strings.Join(a.Argv, " ")
}

// Key is equal for equal actions.
func (a Action) Key() string { return a.Name + "\x00" + strings.Join(a.Argv, "\x00") }

// MarshalJSON writes the form that a manifest has.
func (a Action) MarshalJSON() ([]byte, error) {
	if a.Name != "" {
		return json.Marshal(a.Name)
	}
	return json.Marshal(a.Argv)
}

// UnmarshalJSON reads a string or a list of strings.
func (a *Action) UnmarshalJSON(raw []byte) error {
	*a = Action{}
	if len(raw) > 0 && raw[0] == '"' {
		return json.Unmarshal(raw, &a.Name)
	}
	return json.Unmarshal(raw, &a.Argv)
}

// Mode is the permission bits of a target, "0644" in JSON.
type Mode fs.FileMode

// String is four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText writes four octal digits.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads octal permission bits. Set-id bits are refused.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 16)
	if err != nil || n > 0o777 {
		return fmt.Errorf(`must be octal permissions such as "0640", got %q`, text)
	}
	*m = Mode(n)
	return nil
}

// rawManifest is the union of the fragments' bundle.json before it is judged.
type rawManifest struct {
	object map[string]any
	// origins: dotted key → place it was last written at.
	origins map[string]origin
}

type origin struct {
	file string
	line int
}

func newRawManifest() *rawManifest {
	return &rawManifest{object: map[string]any{}, origins: map[string]origin{}}
}

// merge lays doc over m: RFC 7396, so a target of a later fragment changes single keys of an earlier one's,
// and null removes.
func (m *rawManifest) merge(doc *document) Problems {
	object, ok := doc.value.(map[string]any)
	if !ok {
		return Problems{{File: doc.file, Line: doc.lines[""], Message: "must be a JSON object, is " + kindOf(doc.value)}}
	}
	m.object = MergePatch(m.object, object)
	for key, line := range doc.lines {
		m.origins[key] = origin{doc.file, line}
	}
	return nil
}

// judge turns the union into a Manifest and reports everything that is wrong with it.
type judge struct {
	raw       *rawManifest
	templates map[string][]byte
	problems  Problems
}

func (j *judge) report(key, format string, args ...any) {
	at := j.raw.origins[key]
	for parent := key; at.file == "" && parent != ""; {
		parent = parent[:max(0, strings.LastIndexByte(parent, '.'))]
		at = j.raw.origins[parent]
	}
	if at.file == "" {
		at.file = manifestFile
	}
	j.problems = append(j.problems, Problem{File: at.file, Line: at.line, Key: key, Message: fmt.Sprintf(format, args...)})
}

func (j *judge) manifest() Manifest {
	m := Manifest{Targets: map[string]Target{}}
	for _, key := range slices.Sorted(maps.Keys(j.raw.object)) {
		value := j.raw.object[key]
		switch key {
		case schemaKey:
			j.decode(key, value, new(string))
		case "strict":
			j.decode(key, value, &m.Strict)
		case "targets":
			targets, ok := value.(map[string]any)
			if !ok {
				j.report(key, "must be an object keyed by path, is %s", kindOf(value))
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(targets)) {
				m.Targets[name] = j.target(name, targets[name])
			}
		default:
			j.report(key, "unknown key: bundle.json has targets and strict")
		}
	}
	return m
}

func (j *judge) target(name string, value any) Target {
	var t Target
	key := "targets." + name
	object, ok := value.(map[string]any)
	if !ok {
		j.report(key, "must be an object, is %s", kindOf(value))
		return t
	}
	fields := map[string]any{
		"template": &t.Template, "identity": &t.Identity, "env": &t.Env, "mode": &t.Mode, "owner": &t.Owner,
		"escape": &t.Escape, "when": &t.When, "once": &t.Once, "check": &t.Check, "reload": &t.Reload,
	}
	whole := true
	for _, field := range slices.Sorted(maps.Keys(object)) {
		into, known := fields[field]
		if !known {
			j.report(key+"."+field, "unknown key: a target has %s", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			continue
		}
		whole = j.decode(key+"."+field, object[field], into) && whole
	}
	if whole {
		j.checkTarget(key, name, t)
	}
	return t
}

// decode moves one parsed value into a field and reports a value of the wrong type.
func (j *judge) decode(key string, value, into any) bool {
	raw, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err == nil {
		return true
	}
	want := map[string]string{"*string": "a string", "*bool": "true or false", "*bundle.Action": "a name or a list of strings"}
	if text := want[fmt.Sprintf("%T", into)]; text != "" {
		j.report(key, "must be %s, is %s", text, kindOf(value))
	} else if _, ok := value.(string); ok {
		j.report(key, "%v", err)
	} else {
		j.report(key, `must be a string such as "0640", is %s`, kindOf(value))
	}
	return false
}

var (
	ownerForm  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?$`)
	actionForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	signalForm = regexp.MustCompile(`^signal:(HUP|USR1|USR2|INT|QUIT|TERM|WINCH|CONT|ALRM|TTIN|TTOU)$`)
	envName    = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
)

func (j *judge) checkTarget(key, name string, t Target) {
	j.checkName(key, name, t)
	switch {
	case t.Template == "" && t.Identity == "" && t.Env:
		j.report(key, "env needs a template that writes the KEY=VALUE lines")
	case t.Template == "" && t.Identity == "":
		j.report(key, "needs a template or an identity")
	case t.Template != "" && t.Identity != "":
		j.report(key, "has both a template and an identity: only one can be")
	case t.Env && t.Identity != "":
		j.report(key, "has both env and an identity: only one can be")
	}
	if t.Template != "" {
		if _, _, ok := lookupTemplate(j.templates, t.Template); !ok {
			j.report(key+".template", "no file %[1]s/%[2]s or %[1]s/%[2]s%[3]s", templatesDir, t.Template, Extension)
		}
	}
	if kinds := []string{"", IdentityCert, IdentityKey, IdentityCombined, IdentityRoots}; !slices.Contains(kinds, t.Identity) {
		j.report(key+".identity", "must be cert, key, combined or roots, got %q", t.Identity)
	}
	if t.Escape != "" && !slices.Contains(Formats(), t.Escape) {
		j.report(key+".escape", "must be one of %s, got %q", strings.Join(Formats(), " "), t.Escape)
	}
	if t.Owner != "" && !ownerForm.MatchString(t.Owner) {
		j.report(key+".owner", `must be "user" or "user:group", got %q`, t.Owner)
	}
	j.checkAction(key+".check", t.Check, false)
	j.checkAction(key+".reload", t.Reload, true)
}

// checkName judges the path. What the machine allows as a target is judged there.
func (j *judge) checkName(key, name string, t Target) {
	if t.Env {
		if !envName.MatchString(name) {
			j.report(key, "an env target is not a file: its name must be letters, digits, _ . and -")
		}
		if t.Once || t.Mode != nil || t.Owner != "" {
			j.report(key, "an env target is not a file: it takes no mode, owner or once")
		}
		return
	}
	switch {
	case !path.IsAbs(name) || path.Clean(name) != name || name == "/":
		j.report(key, "must be an absolute, clean path of a file")
	case !validName(name[1:]):
		j.report(key, "must be a path of printable characters, at most 255 bytes long")
	default:
		if why := BadPath(name); why != "" {
			j.report(key, "%s", why)
		}
	}
}

// BadPath says which character a target's path cannot hold; "" when all are good. Actions of the image's settings are
// often scripts that the path is put into, and nothing in it may mean anything to a shell.
func BadPath(name string) string {
	const good = "/._-+@=,:%~"
	for i, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case !strings.ContainsRune(good, r):
			return fmt.Sprintf("holds %q: a target's path is made of letters, digits and %s", r, good)
		case r == '-' && i > 0 && name[i-1] == '/':
			return "has a name that begins with -, which commands take for an option"
		}
	}
	return ""
}

func (j *judge) checkAction(key string, a Action, reload bool) {
	switch {
	case a.Name == "" && a.Argv == nil, a.Name == ActionNone:
	case a.Name == "" && (len(a.Argv) == 0 || a.Argv[0] == ""):
		j.report(key, "is an empty command")
	case a.Name == "":
	case a.Name == "restart" || strings.HasPrefix(a.Name, "signal:"):
		if !reload {
			j.report(key, "%s is for reload: a check is a command that judges the staged file", a.Name)
		} else if a.Name != "restart" && !signalForm.MatchString(a.Name) {
			j.report(key, "must name a signal that does not kill by force, such as signal:HUP, got %q", a.Name)
		}
	case !actionForm.MatchString(a.Name):
		j.report(key, "must be the name of an action or a list of words, got %q", a.Name)
	}
}
