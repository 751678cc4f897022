// SPDX-License-Identifier: AGPL-3.0-or-later

// Command healthhub knows how a container is, a docker host, and the fleet.
//
//	healthhub run       in a container: runs its checks, answers on <run>/health.sock, keeps <run>/health.json,
//	                    and reports to health.report_to. Settings: the sections identity and health of hub.json.
//	healthhub serve     on a docker host or the genesis machine: takes the reports, makes host or fleet health of
//	                    them, and serves it with a dashboard. Its identity decides which of the two it is.
//	healthhub status    shows a container, a host or the fleet as a table, or as JSON
//	healthhub report    reports a push check of this container: healthhub report backup pass --ttl 26h "3 GiB"
//	healthhub probe     says whether this container is well, as Docker's HEALTHCHECK or as a Nagios plugin
//
// Every command takes --help. Before the command stand --config FILE, --check, --schema and --version.
//
// Environment: HUB_RUN_DIR (/run/hub), HUB_STATE_DIR (/var/lib/hub/0), and HUB_HEALTH_REPORT_TO and its like for settings.
//
// Signals: TERM and INT end run and serve after a goodbye to the next level, within a second.
//
// Exit codes: 0 done, 1 failed, 2 usage or settings. probe: 0 well, 1 not well; probe --nagios: 0 to 3.
package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
)

func main() {
	verdict := 0 // probe's, which is more than done or failed
	app := newApp(&verdict)
	if code := daemon.Main(app); code != daemon.ExitDone {
		os.Exit(code)
	}
	os.Exit(verdict)
}

// newApp makes the program. verdict gets the exit code of the command probe.
func newApp(verdict *int) *cli.App {
	return daemon.New("healthhub", "runs checks, and makes container, host and fleet health of them",
		func() []hubfile.Section { _, sections := newSettings(); return sections },
		runCommand(), serveCommand(), statusCommand(), reportCommand(), probeCommand(verdict))
}

// settings are the sections that healthhub reads.
type settings struct {
	identity identity.Settings
	health   setting.Settings
}

func newSettings() (*settings, []hubfile.Section) {
	s := new(settings)
	return s, []hubfile.Section{{Name: "identity", Into: &s.identity}, {Name: setting.Name, Into: &s.health}}
}
