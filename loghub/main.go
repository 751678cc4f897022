// SPDX-License-Identifier: AGPL-3.0-or-later

// Loghub turns what a container writes into events and ships them to an OTLP
// receiver; it is also the small receiver for a genesis machine, and what one looks
// at logs with.
//
//	loghub [--config FILE] run
//	loghub status [--watch | --json | --metrics]
//	loghub doctor [--timeout TIME] [--json]
//	loghub replay [--list [--json]] [--where EXPRESSION] [--to URL …] [UID…]
//	loghub tail [--follow] [--where EXPRESSION] [--since TIME] FILE…
//	loghub parse [--explain] [--as FORMAT] [--pattern REGEXP] [FILE…]
//	loghub receive --dir DIR [--listen :4318] [--identity DIR] …
//	loghub gaps DIR
//	loghub --check | --schema | --version
//
// run is the hub in the container. hubinit hands it the pipes of the service and
// the hubs, the container's own stdout and stderr, a memfd for events that wait in
// memory and one in which confighub tells what it opened; it reads the files of
// log.files and /dev/log besides. Without hubinit it reads stdin:
//
//	make 2>&1 | HUB_LOG_OTLP=http://127.0.0.1:4318 loghub run
//
// The way of a line, a room for each step:
//
//	source  pipes, files, /dev/log: what was read, and up to where
//	frame   lines        join   several of them to one event
//	mask    secrets      parse  time, level, attributes
//	event   the record, with its log.record.uid
//	spool   keeps record and place until they are acknowledged
//	sink    the receiver, and the copy on the container's output
//
// Settings: the section "log" of the settings file (and "identity" for names), see
// --schema. Without a receiver it copies to the container's output and keeps no
// spool. On TERM it reads its pipes to the end, writes everything to the spool,
// sends what it can within 1.1 s and says what has to wait.
//
// State is in <run>/log.json: a health node and, for each source, format, position,
// records and losses; the spool; the receiver. status shows it. doctor sends a line by each way that lines take, and asks
// over <run>/log.sock what became of it. replay sends again what the receiver refused.
//
// receive writes what containers send as JSON lines, a file for each peer. See
// package receive for the format, the limits and the answers it gives.
//
// Exit codes: 0 done or told to stop, 1 failed, 2 wrong usage or settings.
package main

import (
	"os"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/hubfile"
	"cloud4.internal/hub/internal/identity"
	"github.com/urfave/cli/v2"
)

func main() {
	os.Exit(daemon.Main(newApp()))
}

func newApp() *cli.App {
	return daemon.New("loghub", "turns what a container writes into events and ships them", sections,
		runCommand(), receiveCommand(), gapsCommand(), statusCommand(), doctorCommand(), replayCommand(), tailCommand(), parseCommand())
}

// sections are the settings that loghub reads.
func sections() []hubfile.Section {
	return []hubfile.Section{
		{Name: "identity", Into: new(identity.Settings)},
		{Name: "log", Into: new(Settings)},
	}
}
