// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/confighub/internal/scaffold"
	"cloud4.internal/hub/internal/daemon"
)

// inspectTime bounds the question to the Docker engine.
const inspectTime = 10 * time.Second

// newService is what the command line says, and docker of an existing image where it does not.
func newService(ctx context.Context, flags *cli.Context, arguments []string) (*scaffold.Service, error) {
	if len(arguments) == 0 {
		return nil, daemon.Usage(fmt.Errorf("say what is to be made: one of %s", strings.Join(scaffold.Kinds, ", ")))
	}
	s := &scaffold.Service{
		Kind: arguments[0], Name: arguments[0], Stack: flags.String("stack"), Host: flags.String("host"),
		Dir: flags.String("dir"), Tree: flags.String("tree"),
	}
	rest := arguments[1:]
	if s.Kind == scaffold.Existing {
		if len(rest) == 0 {
			return nil, daemon.Usage(errors.New("existing: say which image: confighub new existing postgres:17 db"))
		}
		s.Image, s.Name, rest = rest[0], scaffold.NameOf(rest[0]), rest[1:]
	}
	if len(rest) > 0 {
		s.Name, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		return nil, daemon.Usage(fmt.Errorf("new takes one name, got %q too", rest[0]))
	}
	var err error
	switch said := saidOfImage(flags); {
	case s.Kind != scaffold.Existing && said != "":
		return nil, daemon.Usage(fmt.Errorf("--%s is for an image that exists: confighub new existing IMAGE", said))
	case s.Kind == scaffold.Existing && said == "":
		err = inspect(ctx, s)
	case s.Kind == scaffold.Existing:
		err = readImageFlags(flags, s)
	}
	return s, err
}

// saidOfImage names one of the flags that say what an image is, if one is set.
func saidOfImage(flags *cli.Context) string {
	for _, name := range []string{"entrypoint", "cmd"} {
		if flags.IsSet(name) {
			return name
		}
	}
	return ""
}

func readImageFlags(flags *cli.Context, s *scaffold.Service) error {
	var problems []error
	words := func(flag string) []string {
		list, err := parseWords(flags.String(flag))
		if err != nil {
			problems = append(problems, fmt.Errorf("--%s: %w", flag, err))
		}
		return list
	}
	s.Entrypoint, s.Cmd = words("entrypoint"), words("cmd")
	if len(problems) > 0 {
		return daemon.Usage(errors.Join(problems...))
	}
	return nil
}

// parseWords reads a JSON list, or words with spaces between.
func parseWords(text string) (words []string, err error) {
	if !strings.HasPrefix(text, "[") {
		return strings.Fields(text), nil
	}
	if err := json.Unmarshal([]byte(text), &words); err != nil {
		return nil, fmt.Errorf(`must be words, or a list of them such as ["sh", "-c", "a && b"], got %s`, text)
	}
	return words, nil
}

// inspect asks the Docker engine of this machine what the image's ENTRYPOINT and CMD are.
func inspect(ctx context.Context, s *scaffold.Service) error {
	ctx, cancel := context.WithTimeout(ctx, inspectTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", "image", "inspect", "--format", "{{json .Config}}", "--", s.Image)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		why := firstOf(strings.TrimSpace(stderr.String()), err.Error())
		return fmt.Errorf("what %s runs is not known: docker pull %[1]s, or give its --entrypoint and --cmd (docker image inspect: %s)", s.Image, why)
	}
	var config struct{ Entrypoint, Cmd []string }
	if err := json.Unmarshal(raw, &config); err != nil {
		return fmt.Errorf("reading what docker says of %s: %w", s.Image, err)
	}
	s.Entrypoint, s.Cmd = config.Entrypoint, config.Cmd
	return nil
}
