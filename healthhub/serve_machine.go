// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
)

// hostPrefix begins the names of the checks of the machine that serve runs on.
const hostPrefix = "host/"

// newMachineChecks makes the checks of this machine: those it has without settings, and over them those of
// health.host_checks.
func newMachineChecks(s setting.Settings, files *identity.Files, changed func(), log zerolog.Logger) (*monitor.Monitor, error) {
	place := probe.Place{RunDir: initctl.RunDir(), Root: s.HostRoot, Files: files}
	all := probe.HostChecks(place)
	maps.Copy(all, s.HostChecks)
	config := monitor.Config{RunDir: initctl.RunDir(), Changed: changed, Log: log}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := health.CheckName(health.KindCheck, hostPrefix+name); err != nil {
			log.Warn().Err(err).Msg("not watched: its name is too long; health.host_checks can watch it by another")
			continue
		}
		look, err := probe.New(all[name], place)
		if err != nil {
			return nil, fmt.Errorf("health.host_checks.%s: %w", name, err)
		}
		config.Checks = append(config.Checks, monitor.Check{Name: hostPrefix + name, Check: all[name], Look: look})
	}
	return monitor.New(config), nil
}

// unreported tells, in a check of this machine, that its own reports do not reach the next level; no check: they do.
func unreported(status report.Status, now time.Time) []health.Node {
	if status.Error == "" {
		return nil
	}
	return []health.Node{{
		Kind: health.KindCheck, Name: rollup.HubPrefix + "report", State: health.Warn, ObservedAt: now.UTC(),
		Text:   health.CleanText("reports do not arrive: " + status.Error),
		Action: "look whether " + status.To + " runs and can be reached from here",
	}}
}
