// SPDX-License-Identifier: AGPL-3.0-or-later

// Package scaffold writes the files of a new service: what makes its image, its compose service, and its layer of the
// genesis tree. They are a beginning that works as it is; from then on they are the user's.
//
//	s := scaffold.Service{Kind: "nginx", Name: "web", Stack: "shop", Host: "vm1"}
//	files, err := s.Files()                       // all of them, in the order in which one reads them
//	err = scaffold.Write(files)                   // none is overwritten; all or none
//	p, err := s.Placement(true)                   // what becomes of the host.json of its host
//	err = p.Write()
//
// The texts are in files/, by kind, as templates with [[ ]], since {{ }} is mustache's:
//
//	<kind>/Dockerfile, hub.json, …   the image; hub.json becomes a drop-in of /etc/hub/hub.d
//	<kind>/bundle/                   a layer of the tree: services/<name>/, or /etc/hub/bundle of the image
//	compose.yaml                     for every kind
//
// A host.json that people wrote is the one file that is added to; their comments and order stay.
package scaffold

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"cloud4.internal/hub/internal/spiffe"
)

// Kinds are the kinds of services there are.
var Kinds = []string{"nginx", "postgres", "php", "job", Existing}

// Existing is the kind of an image that is not FROM ours.
const Existing = "existing"

// Service is what is to be written.
type Service struct {
	Kind string
	// Name, Stack and Host are its identity, each a lower-case DNS label.
	Name, Stack, Host string

	// Dir is the directory in which the service's own is made.
	Dir string
	// Tree is the directory of a genesis tree that takes the bundle; without it the bundle is in the image.
	Tree string

	// The image of kind existing, with what its ENTRYPOINT and CMD are.
	Image           string
	Entrypoint, Cmd []string
}

// File is one file to write.
type File struct {
	Path string
	Mode fs.FileMode
	Text []byte
}

//go:embed files
var texts embed.FS

var imageForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`)

// Check says everything that is wrong with the names, a line each.
func (s *Service) Check() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !slices.Contains(Kinds, s.Kind) {
		wrong("KIND must be one of %s, got %q", strings.Join(Kinds, ", "), s.Kind)
	}
	for _, label := range []struct{ what, name string }{{"NAME", s.Name}, {"--stack", s.Stack}, {"--host", s.Host}} {
		if err := spiffe.CheckLabel(label.name); err != nil {
			wrong("%s %w", label.what, err)
		}
	}
	if s.Kind == Existing {
		if !imageForm.MatchString(s.Image) {
			wrong("IMAGE must be the name of an image, such as postgres:17, got %q", s.Image)
		}
		switch {
		case len(s.Entrypoint)+len(s.Cmd) == 0:
			wrong("%s has neither ENTRYPOINT nor CMD: say with --cmd what it is to run", s.Image)
		case path.Base(slices.Concat(s.Entrypoint, s.Cmd)[0]) == "hubinit":
			wrong("%s has hubinit already: FROM it, a Dockerfile adds its own hub.json to /etc/hub/hub.d", s.Image)
		}
	}
	return errors.Join(problems...)
}

// Home is the service's directory.
func (s *Service) Home() string { return filepath.Join(s.Dir, s.Name) }

// Files returns what is to be written, by paths below Dir and Tree. Check has found nothing.
func (s *Service) Files() ([]File, error) {
	list := []File{}
	root := path.Join("files", s.Kind)
	err := fs.WalkDir(texts, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		to := filepath.Join(s.Home(), strings.TrimPrefix(name, root))
		if in, ok := strings.CutPrefix(name, root+"/bundle/"); ok && s.Tree != "" {
			to = filepath.Join(s.Tree, "services", s.Name, in)
		}
		return s.add(&list, to, name)
	})
	if err == nil {
		err = s.add(&list, filepath.Join(s.Home(), "compose.yaml"), "files/compose.yaml")
	}
	return list, err
}

// add fills in one text.
func (s *Service) add(list *[]File, to, name string) error {
	t, err := template.New(path.Base(name)).Delims("[[", "]]").
		Funcs(template.FuncMap{"json": asJSON, "yaml": asYAML}).ParseFS(texts, name, "files/bundle.tmpl")
	if err != nil {
		return fmt.Errorf("reading the text of %s: %w", to, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, s); err != nil {
		return fmt.Errorf("filling in %s: %w", to, err)
	}
	mode := fs.FileMode(0o644)
	if path.Ext(name) == ".sh" {
		mode = 0o755 // COPY keeps it
	}
	*list = append(*list, File{Path: to, Mode: mode, Text: out.Bytes()})
	return nil
}

// InTree reports whether the bundle is in a tree.
func (s *Service) InTree() bool { return s.Tree != "" }

// Ours is the ENTRYPOINT of what is made of an existing image.
func (s *Service) Ours() []string { return append([]string{"hubinit"}, s.Entrypoint...) }

// Variable begins the names of the service's own variables in compose.yaml.
func (s *Service) Variable() string { return strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_")) }

// asJSON is the form that ENTRYPOINT and CMD have.
func asJSON(words []string) (string, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(words); err != nil {
		return "", err
	}
	return strings.ReplaceAll(strings.TrimSpace(out.String()), `","`, `", "`), nil
}

// notText are labels that YAML 1.1 takes for something else than a text.
var notText = regexp.MustCompile(`^([0-9].*|y|yes|n|no|on|off|true|false|null)$`)

// asYAML is a DNS label as YAML.
func asYAML(label string) string {
	if notText.MatchString(label) {
		return `"` + label + `"`
	}
	return label
}

// NameOf is the name that a service of an image has unless the user says another: of docker.io/library/postgres:17 it is
// postgres; "" where that is no DNS label.
func NameOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name, _, _ := strings.Cut(path.Base(image), ":")
	name = strings.Map(func(r rune) rune {
		if r == '.' || r == '_' {
			return '-'
		}
		return r
	}, strings.ToLower(name))
	if spiffe.CheckLabel(name) != nil {
		return ""
	}
	return name
}
