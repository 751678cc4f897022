// SPDX-License-Identifier: AGPL-3.0-or-later

package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/spiffe"
)

// The labels of a service that say what is expected of its containers, and what else of a compose file does:
//
//	hub.expect       "false": do not expect it, for what runs no healthhub
//	hub.criticality  critical, degrading or info
//	hub.group        the redundancy group it is a member of
//	hub.need         how many of its replicas must be well
//	hub.job          "24h": it is a job that runs this often, restart: "no"
const (
	labelPrefix      = "hub."
	labelExpect      = "hub.expect"
	labelCriticality = "hub.criticality"
	labelGroup       = "hub.group"
	labelNeed        = "hub.need"
	labelJob         = "hub.job"
)

// The variables by which a service's container is given its name, and what may be beside them.
const (
	varHost     = "HUB_IDENTITY_HOST"
	varStack    = "HUB_IDENTITY_STACK"
	varService  = "HUB_IDENTITY_SERVICE"
	varGenesis  = "HUB_IDENTITY_GENESIS"
	varOperator = "HUB_IDENTITY_OPERATOR"
	varHubs     = "HUB_HUBS"
)

// Project says which compose project is read, as the command line of docker compose does.
type Project struct {
	Files    []string                                   // merged in this order
	Name     string                                     // over name: and the directory's; ""
	EnvFile  string                                     // instead of .env beside the first file; ""
	Profiles []string                                   // active beside COMPOSE_PROFILES
	Host     string                                     // that its containers run on, where no variable says; ""
	Environ  func(name string) (value string, set bool) // variables over those of files: os.LookupEnv
}

// Expectation is what a compose project makes one expect.
type Expectation struct {
	Host       string // "": it has no container that says
	Containers map[string]Container
	Notes      []string // what was guessed or left out, one line each
}

// Compose reads a project. Everything that is wrong in the services is told at once, with file and line.
func Compose(p Project) (*Expectation, error) {
	if len(p.Files) == 0 {
		return nil, errors.New("no compose file is given")
	}
	env, err := p.environment()
	if err != nil {
		return nil, err
	}
	file, err := readCompose(p.Files, env)
	if err != nil {
		return nil, err
	}
	r := &composeReader{env: env, out: &Expectation{Host: p.Host, Containers: map[string]Container{}}, given: p.Host != ""}
	if r.stack, err = p.stack(file, env); err != nil {
		return nil, err
	}
	profiles, _ := env("COMPOSE_PROFILES")
	r.profiles = slices.Concat(p.Profiles, strings.Split(profiles, ","))
	for _, name := range slices.Sorted(maps.Keys(file.services)) {
		r.service(file.services[name])
	}
	if len(r.problems) > 0 {
		return nil, errors.Join(r.problems...)
	}
	return r.out, nil
}

// environment is that of the process over the project's .env.
func (p Project) environment() (environment, error) {
	path, optional := p.EnvFile, false
	if path == "" {
		path, optional = filepath.Join(filepath.Dir(p.Files[0]), ".env"), true
	}
	values, err := readEnvFile(path, optional, p.Environ)
	if err != nil {
		return nil, err
	}
	return func(name string) (string, bool) {
		if value, ok := p.Environ(name); ok {
			return value, true
		}
		value, ok := values[name]
		return value, ok
	}, nil
}

func readEnvFile(path string, optional bool, outer environment) (map[string]string, error) {
	raw, err := hubfile.ReadFile(path, maxFileBytes)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return dotenv(path, raw, outer)
}

// stack is the project's name: the flag's, COMPOSE_PROJECT_NAME, name:, or the directory's in compose's spelling.
func (p Project) stack(file *composeFile, env environment) (string, error) {
	name := p.Name
	if name == "" {
		name, _ = env("COMPOSE_PROJECT_NAME")
	}
	if name == "" && file.name != "" {
		var err error
		if name, err = env.interpolate(file.name); err != nil {
			return "", fmt.Errorf("%s: name: %w", p.Files[0], err)
		}
	}
	if name != "" {
		return name, nil
	}
	dir, err := filepath.Abs(filepath.Dir(p.Files[0]))
	if err != nil {
		return "", err
	}
	return strings.TrimLeft(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return -1
	}, strings.ToLower(filepath.Base(dir))), "_-"), nil
}

// composeReader makes containers of services.
type composeReader struct {
	env      environment
	stack    string
	profiles []string
	given    bool // the host is given, and no variable can say otherwise
	out      *Expectation
	problems []error
}

// bad notes what is wrong with a service.
func (r *composeReader) bad(s *service, at place, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s: services.%s: %s", at, s.name, fmt.Sprintf(format, args...)))
}

func (r *composeReader) note(s *service, format string, args ...any) {
	r.out.Notes = append(r.out.Notes, s.name+": "+fmt.Sprintf(format, args...))
}

// value interpolates a value that counts. An error is noted.
func (r *composeReader) value(s *service, v text) (string, bool) {
	value, err := r.env.interpolate(v.value)
	if err != nil {
		r.bad(s, v.at, "%v", err)
	}
	return value, err == nil
}

func (r *composeReader) service(s *service) {
	if !r.active(s) {
		r.note(s, "left out: none of its profiles is active; --profile %s", s.profiles[0].value)
		return
	}
	label := map[string]string{}
	for name, v := range s.labels {
		if strings.HasPrefix(name, labelPrefix) {
			if value, ok := r.value(s, v); ok {
				label[name] = value
			}
		}
	}
	variable, ok := r.variables(s)
	if !ok {
		return
	}
	switch {
	case label[labelExpect] == "false":
		return
	case label[labelExpect] != "" && label[labelExpect] != "true":
		r.bad(s, s.labels[labelExpect].at, `%s: must be "true" or "false", got %q`, labelExpect, label[labelExpect])
		return
	case variable[varGenesis]+variable[varOperator] != "":
		r.note(s, "left out: it is no container of a host (%s, %s)", varGenesis, varOperator)
		return
	case label[labelExpect] == "" && variable[varHubs] == "none":
		r.note(s, "left out: it runs no hub (%s: none)", varHubs)
		return
	case label[labelExpect] == "" && variable[varHost] != "" && variable[varStack]+variable[varService] == "":
		r.note(s, `left out: with %s alone it is the host itself; label %s: "true" if its image says stack and service`, varHost, labelExpect)
		return
	}
	if name, ok := r.name(s, variable); ok {
		r.expect(s, name, label)
	}
}

// active reports whether a service is started: it has no profile, or one of them is active.
func (r *composeReader) active(s *service) bool {
	return len(s.profiles) == 0 || slices.Contains(r.profiles, "*") || slices.ContainsFunc(s.profiles, func(profile text) bool {
		value, ok := r.value(s, profile)
		return ok && slices.Contains(r.profiles, value)
	})
}

// variables are those of the container that say who it is.
func (r *composeReader) variables(s *service) (map[string]string, bool) {
	found := map[string]string{}
	for _, file := range s.envFiles {
		path, ok := r.value(s, file.path)
		if !ok {
			return nil, false
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file.path.at.file), path)
		}
		values, err := readEnvFile(path, file.optional, r.env)
		if err != nil {
			r.bad(s, file.path.at, "env_file: %v", err)
			return nil, false
		}
		maps.Copy(found, values)
	}
	for _, name := range []string{varHost, varStack, varService, varGenesis, varOperator, varHubs} {
		v, ok := s.environment[name]
		if !ok {
			continue
		}
		if v.inherit {
			found[name], _ = r.env(name)
			continue
		}
		value, ok := r.value(s, v)
		if !ok {
			return nil, false
		}
		found[name] = value
	}
	return found, true
}

// name is what the service's containers report by.
func (r *composeReader) name(s *service, variable map[string]string) (string, bool) {
	host, stack, name := variable[varHost], variable[varStack], variable[varService]
	if host == "" {
		host = r.out.Host
	}
	guessed := stack == "" || name == ""
	if stack == "" {
		stack = r.stack
	}
	if name == "" {
		name = s.name
	}
	if host == "" {
		r.bad(s, s.at, "on which host? Give --host, or %s in its environment", varHost)
		return "", false
	}
	if r.out.Host == "" {
		r.out.Host = host
	}
	if host != r.out.Host {
		if r.given {
			r.note(s, "left out: it runs on %s", host)
		} else {
			r.bad(s, s.at, "runs on %s, others on %s: give --host for the one that is meant", host, r.out.Host)
		}
		return "", false
	}
	for _, label := range []struct{ what, name, variable string }{{"host", host, varHost}, {"stack", stack, varStack}, {"service", name, varService}} {
		if err := spiffe.CheckLabel(label.name); err != nil {
			r.bad(s, s.at, "as %s: %v; set %s to the name of its identity", label.what, err, label.variable)
			return "", false
		}
	}
	full := name + "." + stack + "." + host
	if guessed {
		r.note(s, `expected as %s, by the names in the compose file; label %s: "false" if it runs no healthhub`, full, labelExpect)
	}
	return full, true
}

// expect says what is expected of a service.
func (r *composeReader) expect(s *service, name string, label map[string]string) {
	c := Expect()
	c.Group = label[labelGroup]
	good := true
	number := func(v text, what string, into *int) {
		value, ok := r.value(s, v)
		if !ok {
			good = false
			return
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > maxReplicas {
			r.bad(s, v.at, "%s: must be between 0 and %d, got %q", what, maxReplicas, value)
			good = false
			return
		}
		*into = n
	}
	for _, v := range s.replicas {
		if number(v, "replicas", &c.Replicas); good && c.Replicas == 0 {
			r.note(s, "left out: none of it is to run")
			return
		}
	}
	for key, value := range label {
		at := s.labels[key].at
		switch key {
		case labelExpect, labelGroup:
		case labelCriticality:
			if c.Criticality = value; value != "critical" && value != "degrading" && value != "info" {
				r.bad(s, at, "%s: must be critical, degrading or info, got %q", key, value)
			}
		case labelNeed:
			number(s.labels[key], key, &c.Need)
		case labelJob:
			every, err := time.ParseDuration(value)
			if err != nil || every < time.Second {
				r.bad(s, at, "%s: must be how often it runs, such as 24h, got %q", key, value)
			}
			if restart := s.restart.value; restart != "" && restart != "no" && restart != "on-failure" && !strings.HasPrefix(restart, "on-failure:") {
				r.bad(s, at, `%s: a job ends, and restart: %s starts it again; say restart: "no"`, key, restart)
			}
			c.Job = every
		default:
			r.bad(s, at, "label %s is not known; known are %s", key,
				strings.Join([]string{labelCriticality, labelExpect, labelGroup, labelJob, labelNeed}, ", "))
		}
	}
	if good {
		c.CheckSettings(func(key, message string) { r.bad(s, s.at, "%s: %s", key, message) })
	}
	if before, twice := r.out.Containers[name]; twice {
		c.Replicas = max(c.Replicas, 1) + max(before.Replicas, 1)
		r.note(s, "has the name %s of another service: replicas add up", name)
	}
	r.out.Containers[name] = c
}
