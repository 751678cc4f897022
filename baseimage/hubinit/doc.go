// SPDX-License-Identifier: AGPL-3.0-or-later

// hubinit is the first process of a container: it brings up the hubs and the
// service, keeps them in order, and ends with the service's own exit code.
//
//	hubinit [--] PROGRAM [ARG...]   run the service under the hubs
//	hubinit probe                   the container's HEALTHCHECK: one line, 0 healthy, 1 not
//	hubinit --version
//
// # Order
//
// loghub, healthhub and confighub are started at once, in that order, each as
// "<hub> run", found beside hubinit's own executable, else in PATH. The gate
// opens when confighub and healthhub have each said ready, are done (exit 0 without
// having said ready) or are not wanted. confighub is ready when the first
// configuration is in place, healthhub when what health.wait_for names is there.
// hubinit knows no settings: healthhub says "wait 30s tcp://db:5432" before that is over,
// and renews it. One that says nothing for 15 s after its start, or does not
// renew, ended three times, or is off because of its settings, is not waited for any more:
// a broken healthhub keeps no service from starting. Then the
// executables of init.d beside the settings file run in name order (a failing
// one ends the start with its code), then the service. On a stop signal
// (TERM, INT, QUIT, RTMIN+3): stop.d (3 s in all), then that very signal to the
// service, whose time is Docker's to bound. When the service has exited, what it
// left behind gets TERM and 1.2 s, healthhub, confighub and loghub are stopped in
// that order, and 2 s after the service's exit whatever remains is killed.
// A hub that ends while nobody told it to is started again, unless it is done or
// finds its settings wrong (exit 2).
// Every other signal but CHLD, URG and PIPE goes to the service's process group.
// (Signals 32 to 34 cannot be caught by a Go program.)
//
// # Environment
//
//	HUB_HUBS            comma list of hubs, or none (default: those that are installed)
//	HUB_USER            uid[:gid] or name[:group]: whom the service runs as; needs root
//	HUB_START_DEADLINE  how long the start may take until the service runs (0: for ever)
//	HUB_STOP_GRACE      from the stop signal to KILL (unset: Docker decides)
//	HUB_RESTART_MAX     longest pause before a hub that ended is started again (30s)
//	HUB_STOP_SIGNAL     what an in-place restart stops the service with (TERM)
//	HUB_SUCCESS_CODES   comma list of exit codes that become 0, as in 143
//	HUB_NOTIFY          1: the service speaks sd_notify(3); it gets NOTIFY_SOCKET, which
//	                    healthhub reads (0)
//	HUB_CONFIG          settings file; init.d and stop.d stand beside it (/etc/hub/hub.json)
//	HUB_RUN_DIR         volatile state files (/run/hub); emptied at the start
//	HUB_VAR_DIR         state slots (/var/lib/hub)
//
// The service gets the container's environment, HUB_SLOT, HUB_STATE_DIR and the
// variables of <run>/service.env (NUL-separated KEY=VALUE), without the hubs'
// secrets and descriptors.
//
// # Files
//
//	<run>/init.json    state, written on every change: package initctl
//	<run>/service.pid  for people
//	<var>/<slot>/      the hubs' state; the slot's lock file is held for hubinit's life;
//	                   one that another uid filled is passed over, by root too
//
// # Exit codes
//
// The service's own; 128+n when signal n killed it; 127 program not found; 126
// not executable or for another architecture; 70 a fault of hubinit; 78 settings
// wrong or the start deadline passed; 2 usage.
//
// # How it is built
//
// One goroutine, the supervisor's loop, forks (syscall.ForkExec) and is the only
// caller of wait4, so no exit code can be lost to a reaper that runs beside it;
// os/exec must never be used here. That loop waits for nothing but its events:
// all writing to the container's stdout and stderr is done by goroutines with
// bounded buffers. Its own messages are one JSON line each on stderr, text when
// that is a terminal. It opens no socket and parses nothing that comes from
// another machine.
package main
