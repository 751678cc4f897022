// SPDX-License-Identifier: AGPL-3.0-or-later

// Confighub owns a container's identity and its configuration.
//
//	confighub run       the hub in the container: enrols and renews the identity, fetches bundles of JSON and
//	                    mustache, renders, checks, swaps, reloads, and takes back what does not work
//	confighub serve     the genesis side: publishes a tree of bundles
//	confighub publish   the same as files for any static HTTPS server, signed where the key is
//	confighub tree      what a container gets of a tree, and from which layer each part comes
//	confighub fleet     which container is to have which configuration, and which it has
//	confighub seal      encrypts a value so that its containers alone can open it
//	confighub token     mints one-time enrolment tokens
//	confighub ca-init   makes the authority's files
//	confighub new       writes the files of a new service
//	confighub render    renders a template or a bundle here, for people
//	confighub lint      finds what is likely wrong with a bundle or a tree
//	confighub diff      shows what would change in this container now
//	confighub explain   says which template and which data a line of a target comes from
//	confighub status    what the hub of this container is doing
//	confighub hold      keeps it from taking a new version, until
//	confighub resume
//	confighub rollback  goes back to the version before
//	confighub accept    takes an older version, of a genesis that was restored
//
// Settings: the sections identity and config of /etc/hub/hub.json (--config, HUB_CONFIG), drop-ins, environment.
// Files of run: <state>/identity and <state>/config; config.json, config.sock, identity.json and service.env in <run>.
// TERM and INT end a command. Exit codes: 0 done, 1 failed, 2 usage or settings.
package main

import (
	"os"

	"cloud4.internal/hub/internal/daemon"
)

func main() {
	os.Exit(daemon.Main(daemon.New("confighub", "identity and configuration of a container", sections,
		runCommand(), serveCommand(), publishCommand(), treeCommand(), fleetCommand(), sealCommand(), tokenCommand(), caInitCommand(),
		newCommand(), renderCommand(), lintCommand(), explainCommand(), diffCommand(),
		statusCommand(), holdCommand(), resumeCommand(), rollbackCommand(), acceptCommand())))
}
