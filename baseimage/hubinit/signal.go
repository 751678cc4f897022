// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// lastSignal is the highest signal number of Linux (signal(7)).
const lastSignal = 64

// sigRTMin3 is what systemd as PID 1 takes for "stop"; images made for it set
// STOPSIGNAL RTMIN+3.
const sigRTMin3 = syscall.Signal(37)

// signals are three queues, since os/signal drops what does not fit: a burst of
// USR1 must lose neither a stop signal nor the notice of a dead child.
type signals struct {
	chld  chan os.Signal // one place: each notice makes the loop reap all there is
	stop  chan os.Signal
	other chan os.Signal
}

// catchSignals takes every signal but PIPE (a write then fails with EPIPE), URG
// (the Go runtime's own) and those that cannot be caught. HUP and INT that were
// ignored when hubinit started (nohup, a background job) stay so, for the service too.
func catchSignals() *signals {
	s := &signals{
		chld:  make(chan os.Signal, 1),
		stop:  make(chan os.Signal, 16),
		other: make(chan os.Signal, 256),
	}
	signal.Notify(s.stop, syscall.SIGTERM)
	signal.Notify(s.chld, syscall.SIGCHLD)
	for n := syscall.Signal(1); n <= lastSignal; n++ {
		switch {
		case n == syscall.SIGCHLD, n == syscall.SIGURG, n == syscall.SIGPIPE, n == syscall.SIGKILL, n == syscall.SIGSTOP:
		case signal.Ignored(n):
		case isStop(n):
			signal.Notify(s.stop, n)
		default:
			signal.Notify(s.other, n)
		}
	}
	return s
}

// isStop says whether the signal asks for the container's end. HUP does not.
func isStop(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, sigRTMin3:
		return true
	}
	return false
}
