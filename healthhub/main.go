// SPDX-License-Identifier: AGPL-3.0-or-later

// Command healthhub knows how a container is, a docker host, and the fleet.
//
//	healthhub status    shows a container, a host or the fleet: a table, live with --watch, or JSON
//	healthhub explain   says why something is as it is, down to the root cause, and what to do
//	healthhub history   shows what changed, and what was not well at 03:12
//	healthhub wait      waits until something is well, for scripts
//	healthhub report    reports a push check of this container: healthhub report backup pass --ttl 26h "3 GiB"
//	healthhub mute      lets something that is known not count for a while
//	healthhub unmute    lets it count again
//	healthhub chaos     makes a check say something else for a while, to prove that it is noticed
//	healthhub lint      finds what is likely wrong with the checks of this container, and what they cost
//	healthhub probe     says whether this container is well, as Docker's HEALTHCHECK or as a Nagios plugin
//	healthhub run       in a container: runs its checks, answers on <run>/health.sock, keeps <run>/health.json,
//	                    and reports to health.report_to. Settings: the sections identity and health of hub.json.
//	healthhub serve     on a docker host or the genesis machine: takes the reports, makes host or fleet health of
//	                    them, and serves it with a dashboard. Its identity decides which of the two it is.
//	healthhub manifest  makes the list of what serve is to expect, from compose files
//	healthhub notify    lists who is told what is wrong, and tries it out: healthhub notify --test phone
//	healthhub token     makes a new read token for the dashboard of serve
//	healthhub forget    has serve forget a container or a host that is gone for good
//
// Every command takes --help. Before the command stand --config FILE, --check, --schema and --version.
//
// Environment: HUB_RUN_DIR (/run/hub), HUB_STATE_DIR (/var/lib/hub/0), and HUB_HEALTH_REPORT_TO and its like for settings.
//
// Signals: TERM and INT end run and serve after a goodbye to the next level, within a second.
//
// Exit codes: 0 done, 1 failed, 2 usage or settings. probe, explain: 0 pass, or warn with everything up, else 1; probe --nagios: 0 to 3; wait: 1 in vain;
// lint: 1 errors.
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

// newApp makes the program, its commands in the order in which people come to need them. verdict gets the exit code of the command probe.
func newApp(verdict *int) *cli.App {
	app := daemon.New("healthhub", "runs checks, and makes container, host and fleet health of them",
		func() []hubfile.Section { _, sections := newSettings(); return sections },
		statusCommand(), explainCommand(), historyCommand(), waitCommand(), reportCommand(),
		muteCommand(), unmuteCommand(), chaosCommand(), lintCommand(), probeCommand(verdict),
		runCommand(), serveCommand(), manifestCommand(), notifyCommand(), tokenCommand(), forgetCommand())
	app.Action = helpForNothing(app.Action)
	return app
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
