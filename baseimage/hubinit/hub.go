// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// A hub that fails is started again after 0.5 s, doubling to 30 s or what
// HUB_RESTART_MAX says, and from the beginning once it stayed up for 30 s.
const (
	backoffMin   = 500 * time.Millisecond
	backoffMax   = 30 * time.Second
	backoffReset = 30 * time.Second

	// restartMaxMin keeps a hub that ends at once from taking a whole core.
	restartMaxMin = 10 * time.Millisecond
)

// exitFinal is a hub's exit code for wrong settings: starting it again would not help.
const exitFinal = 2

// hub is one of the three programs.
type hub struct {
	name    string
	file    string
	state   *initctl.HubState
	started time.Time
	backoff time.Duration // before the next start
	ctl     ctlPipe
	ready   *readiness // of the process that runs or ran last
}

// findHub looks beside hubinit's own executable, then in PATH.
func findHub(name, path string) (string, error) {
	if dir := ownDirectory(); dir != "" {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return findProgram(name, path, "/")
}

// startHubs starts all hubs that are wanted, none waiting for another.
func (s *supervisor) startHubs() {
	for _, name := range s.set.hubs {
		file, err := findHub(name, getEnv(s.env, "PATH"))
		if err != nil && !s.set.explicit {
			s.log.info("hub not installed: going on without it", "hub", name)
			continue
		}
		h := &hub{name: name, file: file, state: &initctl.HubState{State: initctl.HubOff}, backoff: backoffMin}
		s.hubs[name] = h
		s.state.Hubs[name] = h.state
		s.changed()
		if err != nil {
			s.log.error("hub not installed, but wanted by "+initctl.EnvHubs, "hub", name, "error", err)
			continue
		}
		if err := s.openCtl(h); err != nil {
			s.log.error("no request pipe for hub", "hub", name, "error", err)
			continue
		}
		if name == initctl.Loghub {
			s.openPipes()
		}
		s.startHub(h)
	}
}

// startHub starts the hub's process, in a session of its own, so that a signal to
// the terminal or to the service's group does not reach it.
func (s *supervisor) startHub(h *hub) {
	if h.name == initctl.Loghub && s.pipes != nil {
		s.pipes.stopDraining()
	}
	ready, err := newReadiness()
	if err != nil {
		s.hubFailed(h, fmt.Errorf("making its ready pipe: %w", err))
		return
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		s.hubFailed(h, err)
		return
	}
	defer null.Close()
	files, env := s.hubFiles(h, ready, null)
	attr := &syscall.ProcAttr{Dir: "/", Env: env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	var pid int
	s.oom.raised(func() {
		pid, err = s.fork(h.file, []string{h.file, "run"}, attr, func(status syscall.WaitStatus) { s.hubExited(h, status) })
	})
	ready.started()
	if err != nil {
		s.hubFailed(h, explainExec(h.file, "", "/", err))
		return
	}
	h.ready, h.started = ready, time.Now()
	h.state.State, h.state.PID, h.state.Ready = initctl.HubRunning, pid, false
	h.state.StartedAt, h.state.NextStart = time.Now().UTC(), time.Time{}
	s.changed()
	s.spawn(func() {
		if ready.wait() {
			s.post(func() { s.hubReady(h, ready) })
		}
	})
	if h.name == initctl.Loghub {
		s.watchPipes()
	}
}

// hubFiles are the hub's descriptors from 0 up, and the environment that names them.
func (s *supervisor) hubFiles(h *hub, ready *readiness, null *os.File) (files []uintptr, env []string) {
	files = []uintptr{null.Fd(), 2, 2}
	if s.pipes != nil && h.name != initctl.Loghub {
		w := uintptr(s.pipes.byName[initctl.PipeHubs].w)
		files[1], files[2] = w, w
	}
	env = s.hubEnv(h.name)
	give := func(fd uintptr) int {
		files = append(files, fd)
		return len(files) - 1
	}
	env = setEnv(env,
		fmt.Sprintf("%s=%d", initctl.EnvReadyFD, give(ready.w)),
		fmt.Sprintf("%s=%d", initctl.EnvCtlFD, give(uintptr(h.ctl.w))))
	if s.pipes != nil {
		if fd := s.pipes.secret.end(h.name); fd >= 0 {
			env = setEnv(env, fmt.Sprintf("%s=%d", initctl.EnvSecretsFD, give(uintptr(fd))))
		}
	}
	if h.name != initctl.Loghub {
		return files, env
	}
	if s.pipes != nil {
		var list []string
		for _, p := range s.pipes.all {
			list = append(list, fmt.Sprintf("%s=%d", p.name, give(uintptr(p.r))))
		}
		env = setEnv(env, initctl.EnvLogFDs+"="+strings.Join(list, ","))
		if s.pipes.spool >= 0 {
			env = setEnv(env, fmt.Sprintf("%s=%d", initctl.EnvSpoolFD, give(uintptr(s.pipes.spool))))
		}
	}
	return files, setEnv(env, fmt.Sprintf("%s=%s=%d,%s=%d", initctl.EnvOutFDs,
		initctl.PipeStdout, give(1), initctl.PipeStderr, give(2)))
}

// hubEnv is the container's environment and the protocol's; the tokens go to
// confighub alone, which owns the identity.
func (s *supervisor) hubEnv(name string) []string {
	env := withoutPrivate(s.env)
	if name == initctl.Confighub {
		env = slices.DeleteFunc(slices.Clone(s.env), func(kv string) bool {
			key, _, _ := strings.Cut(kv, "=")
			return private(key) && !strings.HasPrefix(key, initctl.EnvToken)
		})
	}
	if s.phase > phaseGate && name != initctl.Loghub {
		env = setEnv(env, initctl.EnvGate+"="+initctl.GateOpen)
	}
	return setEnv(env, s.protocolEnv()...)
}

// hubReady notes the hub's word; confighub's and healthhub's open the gate.
func (s *supervisor) hubReady(h *hub, which *readiness) {
	if h.ready == which {
		h.state.Ready = true
		s.changed()
	}
	s.letGo(h.name, h.name+" is ready")
}

// hubExited decides what the end of a hub means: 0 before it was ready done, 2
// final. Else it is started again, after a 0 too: nobody had told it to stop.
func (s *supervisor) hubExited(h *hub, status syscall.WaitStatus) {
	wasReady := h.ready.settled()
	exit := exitOf(status, h.started)
	h.state.PID, h.state.Ready, h.state.LastExit = 0, false, exit
	s.changed()
	if h.name == initctl.Loghub && s.pipes != nil {
		s.alarms.clear(alarmWatch)
	}
	switch {
	case s.phase == phaseEnding:
		h.state.State = initctl.HubDone
	case exit.Code == 0 && !wasReady:
		h.state.State = initctl.HubDone
		s.log.info("hub is done", "hub", h.name)
	case exit.Code == exitFinal:
		h.state.State = initctl.HubOff
		s.log.error("hub is off: it finds its settings wrong and is not started again", "hub", h.name)
	default:
		s.log.warn("hub ended", "hub", h.name, "code", exit.Code, "signal", exit.Signal, "again_in", s.backOff(h))
	}
	if h.name == initctl.Loghub {
		s.drainPipes()
	}
	s.judgeGate(h, wasReady)
}

// backOff plans the hub's next start and returns the pause.
func (s *supervisor) backOff(h *hub) time.Duration {
	if time.Since(h.started) >= backoffReset {
		h.backoff = backoffMin
	}
	pause := min(h.backoff, s.set.restartMax)
	h.backoff = min(2*h.backoff, s.set.restartMax)
	h.state.State, h.state.NextStart = initctl.HubBackoff, time.Now().Add(pause).UTC()
	s.changed()
	s.alarms.set("start "+h.name, pause, func() {
		if s.phase < phaseEnding {
			h.state.Restarts++
			s.startHub(h)
		}
	})
	return pause
}

// hubFailed is a start that did not get as far as a process.
func (s *supervisor) hubFailed(h *hub, err error) {
	h.started = time.Now()
	s.log.error("hub cannot be started", "hub", h.name, "error", err, "again_in", s.backOff(h))
	if h.name == initctl.Loghub {
		s.drainPipes()
	}
}

// running says whether the hub has a process.
func (h *hub) running() bool { return h != nil && h.state.PID != 0 }
