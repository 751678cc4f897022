// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/agent"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
	"cloud4.internal/hub/internal/spiffe"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "run the checks of this container",
		Description: `Takes the looks that health.checks of the settings ask for, without any at the service's process and ports, and answers for the
container until it is told to stop. hubinit starts it.

   healthhub --check && healthhub run`,
		Action: daemon.Service(run),
	}
}

func run(c *cli.Context, log zerolog.Logger) error {
	defer daemon.Small(1, 25)()
	hub, err := initctl.FromEnv()
	if err != nil {
		return err
	}
	s, sections := newSettings()
	if _, err := daemon.Settings(c, log, sections...); err != nil {
		return err
	}
	notify, err := initctl.ParseSwitch(os.Getenv(initctl.EnvNotify))
	if err != nil {
		return daemon.Usage(fmt.Errorf("%s: %w", initctl.EnvNotify, err))
	}
	a, err := agent.New(agent.Config{
		Name: containerName(s.identity), RunDir: initctl.RunDir(), StateDir: stateDir(log), Settings: s.health,
		Files: identity.Open(identity.Dir()), Log: log, Init: hub, Notify: notify,
	})
	if err != nil {
		return daemon.Usage(err)
	}
	return a.Run(c.Context)
}

// stateDir makes the directory for what outlives healthhub: mutes and history. "": there is none.
func stateDir(log zerolog.Logger) string {
	if initctl.Slot() == initctl.NoSlot {
		return ""
	}
	dir := filepath.Join(initctl.StateDir(), "health")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		log.Warn().Err(err).Msg("mutes and history do not outlive healthhub")
		return ""
	}
	return dir
}

// containerName is what this container is called in reports: its identity's name, else the machine's.
func containerName(s identity.Settings) string {
	if id, err := s.ID(identity.Slot()); err == nil {
		return nodeName(id)
	}
	host, err := os.Hostname()
	if host = strings.ToLower(host); err != nil || health.CheckName(health.KindContainer, host) != nil {
		return "container"
	}
	return host
}

// nodeName is the name of an identity's node: replicas are told apart.
func nodeName(id spiffe.ID) string {
	if id.Instance != "" {
		return fmt.Sprintf("%s/%s", id.BundleName(), id.Instance)
	}
	return id.BundleName()
}
