// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/initctl"
)

// Source says where the settings of this run come from: --config and the environment.
func Source(c *cli.Context) hubfile.Source {
	path := c.String("config")
	if path == "" { // HUB_CONFIG=, as compose files make it
		path = initctl.DefaultConfig
	}
	return hubfile.Source{Path: path, Environ: os.Environ()}
}

// missing reports whether there is no settings file. That is fine, but worth a word when somebody named it.
func missing(src hubfile.Source) bool {
	_, err := os.Stat(src.Path)
	return errors.Is(err, fs.ErrNotExist)
}

// Settings loads the sections of a command and logs the warnings. Its error ends the program with 2.
func Settings(c *cli.Context, log zerolog.Logger, sections ...hubfile.Section) (*hubfile.Settings, error) {
	src := Source(c)
	settings, err := hubfile.Load(src, sections...)
	if err != nil {
		return nil, Usage(err)
	}
	if c.IsSet("config") && missing(src) {
		log.Warn().Str("path", src.Path).Msg("the settings file does not exist: drop-ins and the environment alone count")
	}
	for _, warning := range settings.Warnings() {
		log.Warn().Str("origin", warning.Origin).Msg(warning.String())
	}
	return settings, nil
}

// check is --check.
func check(c *cli.Context, sections []hubfile.Section) error {
	src := Source(c)
	settings, err := hubfile.Load(src, sections...)
	if settings != nil {
		for _, warning := range settings.Warnings() {
			fmt.Fprintf(c.App.ErrWriter, "%s: warning: %s\n", c.App.Name, warning)
		}
	}
	if err != nil {
		return Usage(err)
	}
	tell(c, sections)
	switch {
	case missing(src) && c.IsSet("config"):
		return Usage(fmt.Errorf("%s does not exist: give the settings file that there is, or none", src.Path))
	case missing(src):
		_, err = fmt.Fprintf(c.App.Writer, "settings are good: %s does not exist, so drop-ins and the environment alone count\n", src.Path)
		return err
	}
	_, err = io.WriteString(c.App.Writer, "settings are good\n")
	return err
}

// Teller is a section of settings that has something to say of what it will do, such as values it takes from variables
// that are not ours; --check prints it.
type Teller interface {
	Tell(getenv func(string) string) []string
}

func tell(c *cli.Context, sections []hubfile.Section) {
	for _, section := range sections {
		if teller, ok := section.Into.(Teller); ok {
			for _, line := range teller.Tell(os.Getenv) {
				fmt.Fprintf(c.App.ErrWriter, "%s: %s\n", c.App.Name, line)
			}
		}
	}
}

// schema is --schema.
func schema(c *cli.Context, sections []hubfile.Section) error {
	data, err := hubfile.Schema(sections...)
	if err != nil {
		return err
	}
	_, err = c.App.Writer.Write(data)
	return err
}
