// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/manifest"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/daemon"
)

func manifestCommand() *cli.Command {
	return &cli.Command{
		Name:      "manifest",
		Usage:     "make the list of what a host is to expect, from compose files",
		ArgsUsage: "COMPOSE_FILE…",
		Description: `The list is what healthhub serve --expect reads. No Docker engine is asked. Each argument is the compose file of one
stack; the files given by -f are those of one more, merged as docker compose -f does. Containers are expected by
the names of their identities: HUB_IDENTITY_STACK and HUB_IDENTITY_SERVICE where the file sets them, else those of the project and
the service. What was guessed or left out is said on stderr.

   healthhub manifest shop/compose.yaml --host vm1 -o /etc/hub/expect.json
   healthhub manifest -f shop/compose.yaml -f shop/prod.yaml --profile backup

Labels of a service say more:

   hub.criticality: critical|degrading|info   what its failing does to the host (critical)
   hub.need: 2                                how many of its replicas must be well (all)
   hub.group: front                           the redundancy group it is a member of
   hub.job: 24h                               it is a job that runs this often, with restart: "no"
   hub.expect: "false"                        do not expect it: it runs no healthhub`,
		Flags:           manifestFlags(),
		SkipFlagParsing: true, // flags may stand behind the argument, which the library's parser does not know
		Action:          makeManifest,
	}
}

func manifestFlags() []cli.Flag {
	return []cli.Flag{
		&cli.GenericFlag{Name: "file", Aliases: []string{"f"}, Value: &daemon.Repeated{}, Usage: "compose `FILE`, merged over the one before"},
		&cli.StringFlag{Name: "host", Usage: "`NAME` of the docker host (default: HUB_IDENTITY_HOST of the services)"},
		&cli.StringFlag{Name: "project-name", Aliases: []string{"p"}, Usage: "`NAME` of the project, which is the stack"},
		&cli.GenericFlag{Name: "profile", Value: &daemon.Repeated{}, Usage: "`NAME` of a profile that is started; * for all"},
		&cli.StringFlag{Name: "env-file", Usage: "`FILE` of variables (default: .env beside the compose file)"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "`FILE` to write to instead of stdout, whole or not at all"},
	}
}

func makeManifest(c *cli.Context) error {
	flags, arguments, done, err := daemon.Interspersed(c, manifestFlags())
	if done || err != nil {
		return err
	}
	projects := make([][]string, 0, len(arguments)+1)
	for _, argument := range arguments {
		projects = append(projects, []string{argument})
	}
	if merged := given(flags, "file", "f").Values; len(merged) > 0 {
		projects = append(projects, merged)
	}
	if len(projects) == 0 {
		return daemon.Usage(errors.New("give the compose file: healthhub manifest compose.yaml"))
	}
	list, err := expectProjects(c, flags, projects)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if to := flags.String("output"); to != "" {
		return atomicfile.Write(to, text, 0o644)
	}
	_, err = c.App.Writer.Write(text)
	return err
}

// given is a repeatable flag, by whichever of its names it was given.
func given(flags *cli.Context, names ...string) *daemon.Repeated {
	for _, name := range names {
		if r := flags.Generic(name).(*daemon.Repeated); len(r.Values) > 0 {
			return r
		}
	}
	return &daemon.Repeated{}
}

// expectedOf is the list as the command writes it.
type expectedOf struct {
	Containers map[string]manifest.Container `json:"containers"`
}

// expectProjects joins what the projects of one host make one expect, and says what was guessed.
func expectProjects(c, flags *cli.Context, projects [][]string) (*expectedOf, error) {
	list := &expectedOf{map[string]manifest.Container{}}
	host := flags.String("host")
	for _, files := range projects {
		found, err := manifest.Compose(manifest.Project{
			Files: files, Name: flags.String("project-name"), EnvFile: flags.String("env-file"),
			Profiles: flags.Generic("profile").(*daemon.Repeated).Values, Host: host, Environ: os.LookupEnv,
		})
		if err != nil {
			return nil, err
		}
		for _, note := range found.Notes {
			fmt.Fprintf(c.App.ErrWriter, "%s: %s\n", files[0], note)
		}
		if host == "" {
			host = found.Host
		}
		for name, container := range found.Containers {
			if _, twice := list.Containers[name]; twice {
				return nil, fmt.Errorf("%s: %s is in another of the files too: do two projects have one name?", files[0], name)
			}
			list.Containers[name] = container
		}
	}
	return list, nil
}
