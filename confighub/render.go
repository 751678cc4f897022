// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/template"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// renderCommand is `confighub render`.
func renderCommand() *cli.Command {
	return &cli.Command{
		Name:      "render",
		Usage:     "render a template, or all of a bundle, to stdout",
		ArgsUsage: "TEMPLATE|BUNDLE_DIR",
		Description: `By the same code as in the container. Of a bundle every target is printed behind a line "==> path <==", and
an object secrets or env in the data stands in for the container's own.

   confighub render nginx.conf.mustache --data site.json --set port=8080 --escape nginx
   confighub render ./bundle --as web.shop.vm1 --set secrets.db_password=x`,
		Flags:           renderFlags(),
		SkipFlagParsing: true, // flags may stand behind the argument, which the library's parser does not know
		Action:          runRender,
	}
}

func renderFlags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "data", Value: &repeated{}, Usage: "JSON `FILE` of data; later ones are merged over earlier ones (RFC 7396)"},
		&cli.GenericFlag{Name: "set", Value: &repeated{}, Usage: "`PATH=VALUE` over the data: a dotted path, a value of JSON or else a string"},
		&cli.StringFlag{Name: "partials", Usage: "`DIR` of partials (default: the template's directory)"},
		&cli.StringFlag{Name: "escape", Usage: "`FORMAT` to escape for: " + strings.Join(bundle.Formats(), " ") + " (default: by the extension, else none)"},
		&cli.StringFlag{Name: "missing", Usage: "what a missing variable or partial is: `error|empty`", Value: "error"},
		&cli.StringFlag{Name: "as", Usage: "`NAME` of the container a bundle is rendered for: web.shop.vm1"},
	}
}

// repeated is a flag that may be given several times. The library's own would split values at commas.
type repeated struct{ values []string }

func (r *repeated) Set(value string) error {
	r.values = append(r.values, value)
	return nil
}

func (r *repeated) String() string { return strings.Join(r.values, " ") }

// interspersed parses flags wherever they stand and returns a context that holds them, and the arguments.
func interspersed(c *cli.Context, flags []cli.Flag) (*cli.Context, []string, error) {
	set := flag.NewFlagSet(c.Command.Name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range flags {
		if err := f.Apply(set); err != nil {
			return nil, nil, err
		}
	}
	var arguments []string
	for rest := c.Args().Slice(); len(rest) > 0; {
		if err := set.Parse(rest); err != nil {
			return nil, nil, err
		}
		if rest = set.Args(); len(rest) > 0 {
			arguments, rest = append(arguments, rest[0]), rest[1:]
		}
	}
	return cli.NewContext(c.App, set, c), arguments, nil
}

func runRender(c *cli.Context) error {
	flags, arguments, err := interspersed(c, renderFlags())
	if errors.Is(err, flag.ErrHelp) {
		return cli.ShowSubcommandHelp(c)
	}
	if err != nil {
		return daemon.Usage(err)
	}
	if len(arguments) != 1 {
		return daemon.Usage(errors.New("give one template, or the directory of a bundle"))
	}
	missing := flags.String("missing")
	if missing != "error" && missing != "empty" {
		return daemon.Usage(fmt.Errorf("--missing: must be error or empty, got %q", missing))
	}
	if format := flags.String("escape"); format != "" && !slices.Contains(bundle.Formats(), format) {
		return daemon.Usage(fmt.Errorf("--escape: must be one of %s, got %q", strings.Join(bundle.Formats(), " "), format))
	}
	data, err := givenData(flags.Generic("data").(*repeated).values, flags.Generic("set").(*repeated).values)
	if err != nil {
		return err
	}
	info, err := os.Stat(arguments[0])
	switch {
	case err != nil:
		return err
	case info.IsDir():
		object, ok := data.(map[string]any)
		if !ok {
			return errors.New("--data: a bundle's data is a JSON object")
		}
		return renderBundle(c, arguments[0], flags.String("as"), object)
	}
	return renderTemplate(c, flags, arguments[0], data)
}

// givenData merges the files and the values of the command line. A file may hold a value that is no object: a
// template calls it {{.}}.
func givenData(files, values []string) (any, error) {
	var data any = map[string]any{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		patch, err := readData(file, raw)
		if err != nil {
			return nil, err
		}
		data = merged(data, patch)
	}
	for _, value := range values {
		key, text, ok := strings.Cut(value, "=")
		if !ok || key == "" {
			return nil, daemon.Usage(fmt.Errorf("--set: must be path=value, got %q", value))
		}
		parts := strings.Split(key, ".")
		patch := map[string]any{parts[len(parts)-1]: parseValue(text)}
		for _, part := range slices.Backward(parts[:len(parts)-1]) {
			patch = map[string]any{part: patch}
		}
		data = merged(data, patch)
	}
	return data, nil
}

// readData reads an object as a bundle's data is read, and any other value of JSON.
func readData(file string, raw []byte) (any, error) {
	plain, err := hujson.Standardize(slices.Clone(raw))
	if err == nil && !bytes.HasPrefix(bytes.TrimSpace(plain), []byte("{")) {
		var value any
		dec := json.NewDecoder(bytes.NewReader(plain))
		dec.UseNumber()
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return value, nil
	}
	return bundle.ParseObject(file, raw)
}

// merged applies a patch (RFC 7396): what is no object replaces all.
func merged(data, patch any) any {
	object, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	target, _ := data.(map[string]any)
	return bundle.MergePatch(target, object)
}

// parseValue reads JSON, or takes the text for a string.
func parseValue(text string) any {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil || dec.More() {
		return text
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return text
	}
	return v
}

func renderTemplate(c *cli.Context, flags *cli.Context, file string, data any) error {
	partials := flags.String("partials")
	if partials == "" {
		partials = filepath.Dir(file)
	}
	// A root keeps partials below their directory, whatever they are called.
	root, err := os.OpenRoot(partials)
	if err != nil {
		return err
	}
	defer root.Close()
	main := filepath.Base(file)
	find := func(name string) (string, []byte, bool) {
		if name == main {
			raw, err := os.ReadFile(file)
			return main, raw, err == nil
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
	result, err := template.Render(find, main, data, template.Options{Format: format, Lenient: flags.String("missing") == "empty"})
	if err != nil {
		return err
	}
	for _, warning := range result.Warnings {
		fmt.Fprintln(c.App.ErrWriter, "warning:", warning)
	}
	_, err = c.App.Writer.Write(result.Output)
	return err
}

func renderBundle(c *cli.Context, dir, as string, data map[string]any) error {
	b, err := bundle.Read(os.DirFS(dir))
	if err != nil {
		return err
	}
	in := render.Inputs{Env: texts(data["env"]), Secrets: texts(data["secrets"]), Identity: identityPEM(identity.Open(identity.Dir()))}
	delete(data, "env")
	delete(data, "secrets")
	if as != "" {
		if in.ID, err = spiffe.ParseBundleName(identity.DefaultTrustDomain, as); err != nil {
			return daemon.Usage(fmt.Errorf("--as: %w", err))
		}
	}
	merged := *b
	merged.Data = bundle.MergePatch(b.Data, data)
	out, err := render.Render(&merged, in)
	if err != nil {
		return err
	}
	for _, warning := range out.Warnings {
		fmt.Fprintln(c.App.ErrWriter, "warning:", warning)
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

// texts makes strings of an object's values.
func texts(v any) map[string]string {
	object, _ := v.(map[string]any)
	values := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		values[name] = fmt.Sprint(object[name])
	}
	return values
}
