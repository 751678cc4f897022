// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/apply"
	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/changes"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/template"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/terminal"
)

const (
	plainMode  = 0o644
	secretMode = 0o600
)

func renderTemplate(c, flags *cli.Context, file string, data any, o output) error {
	// A root keeps partials below their directory, whatever they are called.
	root, err := os.OpenRoot(partialsOf(flags, file))
	if err != nil {
		return err
	}
	defer root.Close()
	main := filepath.Base(file)
	text, err := readGiven(c.App.Reader, file)
	if err != nil {
		return err
	}
	find := func(name string) (string, []byte, bool) {
		if name == main {
			return main, text, true
		}
		for _, candidate := range []string{name, name + bundle.Extension} {
			if raw, err := fs.ReadFile(root.FS(), candidate); err == nil {
				return candidate, raw, true
			}
		}
		return "", nil, false
	}
	format := flags.String("escape")
	if format == "" {
		format = template.FormatOf(strings.TrimSuffix(main, bundle.Extension))
	}
	if file == fromStdin && flags.String("escape") == "" {
		format = template.FormatOf(o.to)
	}
	in, err := givenInputs(flags)
	if err != nil {
		return err
	}
	opened, sealed, err := in.Open(data)
	if err != nil {
		return err
	}
	result, err := template.Render(find, main, opened, template.Options{
		Format: format, Lenient: flags.String("missing") == "empty", Set: template.NewSet(opened, sealed...), Trace: o.diff,
	})
	if err != nil {
		return err
	}
	warn(c, result.Warnings.Lines())
	if o.to == "" {
		_, err = c.App.Writer.Write(result.Output)
		return err
	}
	present, err := presentFile(o.to)
	if err != nil {
		return err
	}
	mode := fs.FileMode(plainMode)
	switch {
	case present.Exists:
		mode = present.Mode
	case result.Secret:
		mode = secretMode
	}
	if !o.diff {
		return atomicfile.Write(o.to, result.Output, mode)
	}
	return showChanges(c, []changes.Change{{
		Name: o.to, Old: present, New: changes.File{Exists: true, Bytes: result.Output, Mode: mode}, Text: changes.Of(result.Output, result.Trace),
	}})
}

func warn(c *cli.Context, warnings []string) {
	for _, warning := range warnings {
		fmt.Fprintln(c.App.ErrWriter, "warning:", warning)
	}
}

func renderBundle(c, flags *cli.Context, dir string, data map[string]any, o output) error {
	read, err := readBundle(dir)
	if err != nil {
		return err
	}
	in, err := givenInputs(flags)
	if err != nil {
		return err
	}
	in.Env, in.Secrets, in.Identity = texts(data["env"]), texts(data["secrets"]), identityPEM(identity.Open(identity.Dir()))
	delete(data, "env")
	delete(data, "secrets")
	merged := *read
	merged.Data = bundle.MergePatch(read.Data, data)
	out, err := render.Render(&merged, in)
	if err != nil {
		return err
	}
	warn(c, out.Warnings)
	if flags.Bool("check") {
		if err := checkBundle(c, out); err != nil {
			return err
		}
	}
	switch {
	case o.diff:
		return diffBundle(c, &merged, in, out, o.to)
	case o.to != "":
		return writeBundle(out, o.to)
	}
	var text bytes.Buffer
	for _, f := range out.Files {
		fmt.Fprintf(&text, "==> %s (%04o) <==\n%s\n", f.Path, f.Mode.Perm(), f.Bytes)
	}
	if len(out.Env) > 0 {
		fmt.Fprintf(&text, "==> environment <==\n%s\n", strings.Join(out.Env, "\n"))
	}
	_, err = text.WriteTo(c.App.Writer)
	return err
}

// checkBundle runs the checks by the settings of this machine.
func checkBundle(c *cli.Context, out *render.Output) error {
	s := new(allSettings)
	if _, err := daemon.Settings(c, daemon.Logger(c.App.Name, c.App.ErrWriter), s.sections()...); err != nil {
		return err
	}
	err := s.Config.policy(settingsPlaces(daemon.Source(c).Path)...).Try(c.Context, out)
	if rejected, ok := errors.AsType[*apply.Rejected](err); ok {
		return fmt.Errorf("the checks failed:\n%s", strings.Join(rejected.Lines, "\n"))
	}
	return err
}

// environmentFile holds the variables of env targets when a bundle is written to a directory.
const environmentFile = "environment"

// writeBundle writes every target below dir.
func writeBundle(out *render.Output, dir string) error {
	write := func(name string, text []byte, mode fs.FileMode) error {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return atomicfile.Write(name, text, mode)
	}
	for _, f := range out.Files {
		name := filepath.Join(dir, f.Path)
		if _, err := os.Lstat(name); f.Once && err == nil {
			continue
		}
		if err := write(name, f.Bytes, f.Mode.Perm()); err != nil {
			return err
		}
	}
	if len(out.Env) == 0 {
		return nil
	}
	return write(filepath.Join(dir, environmentFile), changes.Variables(out.Env), secretMode)
}

// diffBundle compares every target with what is below dir, or with this machine's.
func diffBundle(c *cli.Context, b *bundle.Bundle, in render.Inputs, out *render.Output, dir string) error {
	var list []changes.Change
	for _, f := range out.Files {
		name := filepath.Join(dir, f.Path)
		present, err := presentFile(name)
		if err != nil {
			return err
		}
		if f.Once && present.Exists {
			continue
		}
		list = append(list, changes.Change{
			Name: name, Old: present, New: changes.File{Exists: true, Bytes: f.Bytes, Mode: f.Mode.Perm()},
			Text: changes.Target(b, in, f), Redact: out.Redact,
		})
	}
	env, err := diffEnvironment(b, in, out, dir)
	if err != nil {
		return err
	}
	return showChanges(c, append(list, env))
}

func diffEnvironment(b *bundle.Bundle, in render.Inputs, out *render.Output, dir string) (changes.Change, error) {
	change := changes.Change{Name: filepath.Join(dir, environmentFile), Redact: out.Redact}
	var err error
	if dir == "" {
		change.Name = environmentFile
		change.Old, err = presentEnvironment()
	} else {
		change.Old, err = presentFile(change.Name)
	}
	change.Text, change.New.Bytes = changes.Environment(b, in, out)
	change.New.Exists, change.New.Mode = len(out.Env) > 0, change.Old.Mode
	return change, err
}

// showChanges prints what differs; when something does, the error ends the program with 1.
func showChanges(c *cli.Context, list []changes.Change) error {
	var text bytes.Buffer
	for _, change := range list {
		if _, err := change.Write(&text); err != nil {
			return err
		}
	}
	if text.Len() == 0 {
		return nil
	}
	if err := writeDiff(c.App.Writer, text.Bytes()); err != nil {
		return err
	}
	return daemon.ErrSaid
}

// writeDiff writes in colours where people read them.
func writeDiff(w io.Writer, text []byte) error {
	if terminal.Of(w).Colour {
		return changes.Colour(w, text)
	}
	_, err := w.Write(text)
	return err
}
