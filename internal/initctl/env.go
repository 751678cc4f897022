// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"fmt"
	"os"
	"strings"
)

// The environment variables of the protocol. Those ending in FD or FDS are set
// by hubinit for one hub each, never by a user.
const (
	EnvReadyFD   = "HUB_READY_FD"   // descriptor number; newline + close = ready
	EnvCtlFD     = "HUB_CTL_FD"     // descriptor number; request lines
	EnvLogFDs    = "HUB_LOG_FDS"    // "stdout=5,stderr=6,hubs=7": read ends, for loghub
	EnvOutFDs    = "HUB_OUT_FDS"    // "stdout=8,stderr=9": the container's own, for loghub
	EnvSpoolFD   = "HUB_SPOOL_FD"   // memfd that outlives loghub, for loghub
	EnvSecretsFD = "HUB_SECRETS_FD" // memfd by which confighub tells loghub what to hide, for these two: Secrets
	EnvGate      = "HUB_GATE"       // GateOpen once the start of the service has gone on, for a confighub or healthhub started then

	EnvRunDir   = "HUB_RUN_DIR"   // volatile state files; default DefaultRunDir
	EnvVarDir   = "HUB_VAR_DIR"   // where the slots live; default DefaultVarDir
	EnvStateDir = "HUB_STATE_DIR" // the slot taken, set by hubinit; default DefaultVarDir + "/0"
	EnvSlot     = "HUB_SLOT"      // "0", "1", …; NoSlot without a slot; set by hubinit

	EnvConfig    = "HUB_CONFIG"     // settings file; default /etc/hub/hub.json
	EnvToken     = "HUB_TOKEN"      // one-time enrolment tokens, one a line; confighub only
	EnvTokenFile = "HUB_TOKEN_FILE" // file that holds them; confighub only

	EnvHubs          = "HUB_HUBS"           // comma list or "none"; default all three
	EnvUser          = "HUB_USER"           // uid[:gid] or a name: whom the service runs as
	EnvStartDeadline = "HUB_START_DEADLINE" // duration until the gate must be open; 0: for ever
	EnvStopGrace     = "HUB_STOP_GRACE"     // duration from stop signal to KILL; unset: Docker decides
	EnvRestartMax    = "HUB_RESTART_MAX"    // longest pause before a hub is started again; default 30s
	EnvStopSignal    = "HUB_STOP_SIGNAL"    // what an in-place restart stops the service with; default TERM
	EnvSuccessCodes  = "HUB_SUCCESS_CODES"  // comma list of exit codes that count as 0
	EnvNotify        = "HUB_NOTIFY"         // 1: the service speaks sd_notify(3), and healthhub listens; default 0
)

// Default places, and the value of HUB_SLOT in a container that has no slot.
const (
	DefaultRunDir = "/run/hub"
	DefaultVarDir = "/var/lib/hub"
	DefaultConfig = "/etc/hub/hub.json"
	NoSlot        = "-"
	GateOpen      = "open"
)

// NotifySocket is the name of healthhub's datagram socket in the run directory, there where HUB_NOTIFY is 1.
const NotifySocket = "notify.sock"

// ParseSwitch reads a variable that is on or off: 1 or true, 0, false or nothing.
func ParseSwitch(v string) (on bool, err error) {
	switch v {
	case "1", "true":
		return true, nil
	case "", "0", "false":
		return false, nil
	}
	return false, fmt.Errorf("want 1 or 0, got %q", v)
}

// The hubs by name, which is the program's name too.
const (
	Loghub    = "loghub"
	Healthhub = "healthhub"
	Confighub = "confighub"
)

// The log pipes by name.
const (
	PipeStdout = "stdout" // the service's stdout
	PipeStderr = "stderr" // the service's stderr
	PipeHubs   = "hubs"   // stdout and stderr of confighub, healthhub and the hooks
)

// Reserved lists every HUB_ variable of the protocol: what settings code must
// take as known though no setting has that name.
func Reserved() []string {
	return []string{
		EnvReadyFD, EnvCtlFD, EnvLogFDs, EnvOutFDs, EnvSpoolFD, EnvSecretsFD, EnvGate,
		EnvRunDir, EnvVarDir, EnvStateDir, EnvSlot,
		EnvConfig, EnvToken, EnvTokenFile,
		EnvHubs, EnvUser, EnvStartDeadline, EnvStopGrace, EnvRestartMax, EnvStopSignal, EnvSuccessCodes, EnvNotify,
	}
}

// Private lists the variables that never reach the service: secrets, and
// descriptor numbers that mean nothing to it.
func Private() []string {
	return []string{EnvToken, EnvTokenFile, EnvReadyFD, EnvCtlFD, EnvLogFDs, EnvOutFDs, EnvSpoolFD, EnvSecretsFD, EnvGate}
}

// Steering says whether a variable decides which programs and libraries run (ld.so(8), bash(1)) or belongs to the
// hubs. Rendered configuration cannot set such: it may do what the image's settings allow, and hooks get it too.
func Steering(name string) bool {
	switch name {
	case "PATH", "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "IFS", "GCONV_PATH", "GLIBC_TUNABLES":
		return true
	}
	return strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "BASH_FUNC_") || strings.HasPrefix(name, "HUB_")
}

// RunDir is the directory of the volatile state files: HUB_RUN_DIR, else /run/hub.
func RunDir() string { return envOr(EnvRunDir, DefaultRunDir) }

// VarDir is the directory of the state slots: HUB_VAR_DIR, else /var/lib/hub.
func VarDir() string { return envOr(EnvVarDir, DefaultVarDir) }

// StateDir is the state slot of this container: HUB_STATE_DIR, which hubinit
// sets, else slot 0 of VarDir.
func StateDir() string { return envOr(EnvStateDir, VarDir()+"/0") }

// Slot is the state slot's name: "0", "1", …, or NoSlot when the container runs
// without one. Without hubinit it is "0".
func Slot() string { return envOr(EnvSlot, "0") }

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
