// SPDX-License-Identifier: AGPL-3.0-or-later

// Package initctl is the protocol between hubinit, the container's first
// process, and the hubs it starts: both sides of it, so that they cannot differ.
//
// What hubinit hands to a hub is named by environment variables, all but one of
// which hold descriptor numbers:
//
//   - HUB_READY_FD: one newline, then close, says "ready" (the notification-fd
//     convention of s6, https://skarnet.org/software/s6/notifywhenup.html).
//     A hub with nothing to do exits 0 without it, which counts as ready; one that
//     exits 0 after it, without hubinit's TERM, is started again.
//   - HUB_CTL_FD: requests, one a line of at most 512 bytes, which a pipe takes
//     in one piece: "<id> hold 30s", "<id> release", "<id> restart",
//     "<id> signal HUP", "<id> wait 30s tcp://db:5432: connection refused".
//   - HUB_GATE: "open" for a confighub or healthhub that is started again after the start
//     of the service has gone on.
//   - HUB_LOG_FDS, HUB_OUT_FDS, HUB_SPOOL_FD: for loghub alone, the read ends of
//     the log pipes, the container's own stdout and stderr, and a memory file
//     that survives loghub.
//   - HUB_SECRETS_FD: for confighub and loghub, a memory file with what the logs
//     must not show: see Secrets.
//
// The way back is a file: hubinit writes <run>/init.json whole and atomically on
// every change; the last 16 answers to requests stand in it.
//
// A hub calls FromEnv once at its start. Without hubinit (on a developer's
// machine, on a genesis machine) it gets a Hub whose methods do no harm.
//
// Standard library only, since hubinit links it. It leaves out what hubinit does
// with a request, which is hubinit's.
package initctl
