// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/confighub/internal/render"
	"cloud4.internal/hub/confighub/internal/seal"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// fromStdin is the name of what is read from the standard input.
const fromStdin = "-"

// givenData merges the files and the values of the command line. A file may hold a value that is no object: a
// template calls it {{.}}.
func givenData(stdin io.Reader, files, values []string) (any, error) {
	var data any = map[string]any{}
	for _, file := range files {
		raw, err := readGiven(stdin, file)
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

// givenInputs are who the container is, by --as, and what opens sealed values, by --seal-key.
func givenInputs(flags *cli.Context) (in render.Inputs, err error) {
	if as := flags.String("as"); as != "" {
		if in.ID, err = spiffe.ParseBundleName(identity.DefaultTrustDomain, as); err != nil {
			return in, daemon.Usage(fmt.Errorf("--as: %w", err))
		}
	}
	if file := flags.String("seal-key"); file != "" {
		key, err := seal.ReadKey(file)
		if err != nil {
			return in, fmt.Errorf("--seal-key: %w", err)
		}
		in.Seal = key
	}
	return in, nil
}

// readGiven reads a file, or the standard input.
func readGiven(stdin io.Reader, file string) ([]byte, error) {
	if file == fromStdin {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(file)
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

// texts makes strings of an object's values.
func texts(v any) map[string]string {
	object, _ := v.(map[string]any)
	values := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		values[name] = fmt.Sprint(object[name])
	}
	return values
}
