// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/internal/hubfile"
)

// DefaultConfig is the settings file when neither --config nor HUB_CONFIG names one.
const DefaultConfig = "/etc/hub/hub.json"

// Source says where the settings of this run come from: --config and the environment.
func Source(c *cli.Context) hubfile.Source {
	return hubfile.Source{Path: c.String("config"), Environ: os.Environ()}
}

// Settings loads the sections of a command and logs the warnings. Its error ends the program with 2.
func Settings(c *cli.Context, log zerolog.Logger, sections ...hubfile.Section) (*hubfile.Settings, error) {
	settings, err := hubfile.Load(Source(c), sections...)
	if err != nil {
		return nil, Usage(err)
	}
	for _, warning := range settings.Warnings() {
		log.Warn().Str("origin", warning.Origin).Msg(warning.String())
	}
	return settings, nil
}

// check is --check.
func check(c *cli.Context, sections []hubfile.Section) error {
	settings, err := hubfile.Load(Source(c), sections...)
	if settings != nil {
		for _, warning := range settings.Warnings() {
			fmt.Fprintf(c.App.ErrWriter, "%s: warning: %s\n", c.App.Name, warning)
		}
	}
	if err != nil {
		return Usage(err)
	}
	_, err = io.WriteString(c.App.Writer, "settings are good\n")
	return err
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
