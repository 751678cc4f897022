// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// prepare makes this process what the rest relies on and takes its directories.
// It returns an exit code, 0 to go on.
func (s *supervisor) prepare() int {
	set, errs := settingsFrom(os.Getenv)
	s.set = set
	if set.user != "" {
		who, err := lookupAccount(set.user, "/etc/passwd", "/etc/group")
		if err == nil && os.Geteuid() != 0 && int(who.uid) != os.Geteuid() {
			err = fmt.Errorf("only root can change the user, and this container runs as uid %d: remove %s or the container's user setting", os.Geteuid(), initctl.EnvUser)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", initctl.EnvUser, set.user, err))
		}
		s.service.account = &who
	}
	for _, err := range errs {
		s.log.error("setting not usable", "error", err)
	}
	if len(errs) > 0 {
		return exitSettings
	}
	s.settle()
	run, err := openRunDir(set.runDir)
	s.run = run
	if errors.Is(err, errRunDirTaken) {
		s.log.error("the run directory is taken: set "+initctl.EnvRunDir+" to another one", "error", err)
		return exitSettings
	}
	if err != nil {
		s.log.warn("the run directory is not writable: no state, no health, no requests; mount a tmpfs there", "error", err)
	}
	s.slot, err = takeSlot(set.varDir, set.runDir)
	if err != nil {
		s.log.warn("no state slot: identity and spool will not outlive this container; mount a volume there", "directory", set.varDir, "error", err)
	}
	if s.slot.foreign != nil {
		s.log.warn("a state slot is not used, since what it holds is another user's: chown it to this one, empty it, or mount another volume",
			"slot", s.slot.name, "error", s.slot.foreign)
	}
	s.initialState()
	return 0
}

// settle sets the process attributes. None is worth ending for.
func (s *supervisor) settle() {
	var err error
	if s.cwd, err = os.Getwd(); err != nil {
		s.cwd = "/"
	}
	os.Chdir("/") // do not pin the service's working directory
	s.oom = openOOMScore()
	closeOnExec()
	if os.Getpid() != 1 {
		if err := prctl(prSetChildSubreaper, 1); err != nil {
			s.log.warn("cannot become a subreaper: orphans of the service will not be reaped", "error", err)
		}
		s.log.info("not process 1: working as a subreaper; Docker's init is not needed in front of hubinit", "pid", os.Getpid())
	}
	// Keeps the service, which may run as the same uid, from reading the token in
	// our environment and from tracing us.
	if err := prctl(prSetDumpable, 0); err != nil {
		s.log.warn("cannot make itself undumpable", "error", err)
	}
}

// closeOnExec marks every inherited descriptor above 2, so that children get
// exactly what they are given.
func closeOnExec() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

func (s *supervisor) initialState() {
	s.state = initctl.State{
		Boot:      fmt.Sprintf("%016x", rand.Uint64()),
		PID:       os.Getpid(),
		StartedAt: time.Now().UTC(),
		Version:   buildVersion(),
		Slot:      s.slot.name,
		StateDir:  s.slot.dir,
		Service:   initctl.ServiceState{State: initctl.ServiceWaiting},
		Hubs:      map[string]*initctl.HubState{},
		Pipes:     map[string]initctl.Pipe{},
		Requests:  []initctl.Answer{},
	}
	s.changed()
}

// protocolEnv are the variables every child of hubinit gets.
func (s *supervisor) protocolEnv() []string {
	return []string{
		initctl.EnvRunDir + "=" + s.set.runDir,
		initctl.EnvVarDir + "=" + s.set.varDir,
		initctl.EnvSlot + "=" + s.slot.name,
		initctl.EnvStateDir + "=" + s.slot.dir,
	}
}

// ownDirectory is where hubinit's executable stands, "" when unknown.
func ownDirectory() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Dir(self)
}
