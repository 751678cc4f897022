// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// service is the container's CMD.
type service struct {
	argv    []string
	account *account // nil: as hubinit itself
	pid     int      // also its process group; 0: not running
	started time.Time
	oomBase int           // the control group's kills when it started
	exit    *initctl.Exit // how it ended last; nil: never
	restart restart
}

// send passes a signal to the service's process group; without one it is dropped.
func (v *service) send(sig syscall.Signal) error {
	if v.pid == 0 {
		return syscall.ESRCH
	}
	return syscall.Kill(-v.pid, sig)
}

// serviceEnv is the container's environment, what confighub adds and the
// protocol's, without the hubs' secrets. The file is read at each start.
func (s *supervisor) serviceEnv() []string {
	env := withoutPrivate(s.env)
	if a := s.service.account; a != nil && a.home != "" {
		// Docker sets HOME for its own user; gosu and setpriv change it likewise.
		if home := getEnv(env, "HOME"); home == "" || home == "/root" {
			env = setEnv(env, "HOME="+a.home)
		}
	}
	added, err := readServiceEnv(s.run.path)
	if err != nil {
		s.log.warn("the service starts without the rendered environment", "error", err)
	}
	env = setEnv(setEnv(env, added...), s.protocolEnv()...)
	if h := s.hubs[initctl.Healthhub]; s.set.notify && h != nil && h.state.State != initctl.HubOff && s.run.writable && getEnv(env, envNotifySocket) == "" {
		env = setEnv(env, envNotifySocket+"="+filepath.Join(s.run.path, initctl.NotifySocket))
	}
	return env
}

// envNotifySocket names the socket that sd_notify(3) writes to. Somebody else's is left as it is.
const envNotifySocket = "NOTIFY_SOCKET"

// startService is the last step of the start.
func (s *supervisor) startService() {
	s.phase = phaseService
	s.alarms.clear(alarmDeadline)
	if err := s.execService(); err != nil {
		s.serviceNotStarted(err)
	}
}

// serviceNotStarted treats a program that cannot be executed like one that ended
// with 126 or 127.
func (s *supervisor) serviceNotStarted(err error) {
	code := exitNotExec
	if e, ok := errors.AsType[*startError](err); ok {
		code = e.code
	}
	s.log.error("the service cannot be started", "error", err)
	s.service.exit = &initctl.Exit{Code: code, At: time.Now().UTC()}
	s.serviceOver("the service cannot be started: " + err.Error())
}

// execService forks and executes the service; the error is a *startError.
func (s *supervisor) execService() error {
	v := &s.service
	env := s.serviceEnv()
	path := getEnv(env, "PATH")
	file, err := findProgram(v.argv[0], path, s.cwd)
	if err != nil {
		return err
	}
	attr := &syscall.ProcAttr{Dir: s.cwd, Env: env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if s.pipes != nil {
		attr.Files[1] = s.pipes.writeEnd(initctl.PipeStdout, 1)
		attr.Files[2] = s.pipes.writeEnd(initctl.PipeStderr, 2)
	}
	if isTerminal(0) && ownsForeground() {
		attr.Sys.Foreground, attr.Sys.Ctty = true, 0
	}
	if v.account != nil {
		attr.Sys.Credential = v.account.credential()
	}
	v.oomBase, _ = oomKills()
	v.started = time.Now()
	pid, err := s.fork(file, v.argv, attr, s.serviceExited)
	if err != nil {
		return explainExec(file, path, s.cwd, err)
	}
	v.pid = pid
	s.state.Service.State, s.state.Service.PID, s.state.Service.Ready = initctl.ServiceRunning, pid, true
	s.state.Service.StartedAt = v.started.UTC()
	s.changed()
	if s.run.writable {
		os.WriteFile(filepath.Join(s.run.path, "service.pid"), []byte(strconv.Itoa(pid)+"\n"), 0o644)
	}
	return nil
}

// serviceExited is called when the service's main process was reaped.
func (s *supervisor) serviceExited(status syscall.WaitStatus) {
	v := &s.service
	v.exit = exitOf(status, v.started)
	v.exit.Asked = s.ending.asked
	if v.restart.underway() {
		v.exit.Asked = initctl.RestartBy + v.restart.asked[0].from
	}
	if kills, ok := oomKills(); ok && kills > v.oomBase && status.Signaled() && status.Signal() == syscall.SIGKILL {
		v.exit.OOM = true
	}
	group := v.pid
	v.pid = 0
	if isTerminal(0) {
		takeForeground()
	}
	if v.restart.underway() && s.phase == phaseService {
		s.recordExit(initctl.ServiceStarting)
		s.clearGroup(group)
		return
	}
	why := "the service exited"
	if v.exit.OOM {
		why = "the kernel killed the service for memory (OOM)"
	}
	s.serviceOver(why)
}

func (s *supervisor) recordExit(state string) {
	s.state.Service.State, s.state.Service.PID, s.state.Service.Ready = state, 0, false
	s.state.Service.LastExit = s.service.exit
	s.changed()
}

// serviceOver is the end of the service that nobody planned to undo: the
// container's end too, unless a hub holds it.
func (s *supervisor) serviceOver(why string) {
	s.recordExit(initctl.ServiceExited)
	if s.phase == phaseService && s.state.Hold != nil {
		s.log.warn("the service ended while held: waiting for a restart or release", "code", s.service.exit.Code,
			"signal", s.service.exit.Signal, "by", s.state.Hold.By, "until", s.state.Hold.Until)
		return
	}
	if s.phase < phaseEnding {
		s.end(s.service.exit.Code, why)
	}
}

// abandonService is what is left to do after a fault of hubinit: the service is
// told to stop and its exit awaited for as long as Docker commonly waits.
func (s *supervisor) abandonService() {
	if s.service.pid == 0 {
		return
	}
	s.service.send(syscall.SIGTERM)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid == s.service.pid || err == syscall.ECHILD {
			return
		}
	}
}
