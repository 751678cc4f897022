// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// Real-time signals as userland counts them: 32 and 33 belong to the C library,
// so SIGRTMIN is 34 (signal(7)).
const (
	sigRTMin = 34
	sigRTMax = 64
)

// signalNames holds number → name without "SIG" (signal(7), the numbers of
// x86 and ARM, which are equal).
func signalNames() map[syscall.Signal]string {
	return map[syscall.Signal]string{
		syscall.SIGHUP: "HUP", syscall.SIGINT: "INT", syscall.SIGQUIT: "QUIT",
		syscall.SIGILL: "ILL", syscall.SIGTRAP: "TRAP", syscall.SIGABRT: "ABRT",
		syscall.SIGBUS: "BUS", syscall.SIGFPE: "FPE", syscall.SIGKILL: "KILL",
		syscall.SIGUSR1: "USR1", syscall.SIGSEGV: "SEGV", syscall.SIGUSR2: "USR2",
		syscall.SIGPIPE: "PIPE", syscall.SIGALRM: "ALRM", syscall.SIGTERM: "TERM",
		syscall.SIGSTKFLT: "STKFLT", syscall.SIGCHLD: "CHLD", syscall.SIGCONT: "CONT",
		syscall.SIGSTOP: "STOP", syscall.SIGTSTP: "TSTP", syscall.SIGTTIN: "TTIN",
		syscall.SIGTTOU: "TTOU", syscall.SIGURG: "URG", syscall.SIGXCPU: "XCPU",
		syscall.SIGXFSZ: "XFSZ", syscall.SIGVTALRM: "VTALRM", syscall.SIGPROF: "PROF",
		syscall.SIGWINCH: "WINCH", syscall.SIGIO: "IO", syscall.SIGPWR: "PWR",
		syscall.SIGSYS: "SYS",
	}
}

// SignalName is the signal's name without "SIG": "HUP", "RTMIN+3"; its number
// where it has no name.
func SignalName(sig syscall.Signal) string {
	if name, ok := signalNames()[sig]; ok {
		return name
	}
	switch {
	case sig == sigRTMin:
		return "RTMIN"
	case sig > sigRTMin && sig <= sigRTMax:
		return "RTMIN+" + strconv.Itoa(int(sig)-sigRTMin)
	}
	return strconv.Itoa(int(sig))
}

// ParseSignal reads "HUP", "SIGHUP", "1", "RTMIN+3" or "RTMAX-1".
func ParseSignal(s string) (syscall.Signal, error) {
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	for sig, known := range signalNames() {
		if name == known {
			return sig, nil
		}
	}
	n, ok := realtimeOrNumber(name)
	if !ok || n < 1 || n > sigRTMax || n == 32 || n == 33 {
		return 0, fmt.Errorf("unknown signal %q: want a name as in HUP, USR1 or RTMIN+3", s)
	}
	return syscall.Signal(n), nil
}

func realtimeOrNumber(name string) (n int, ok bool) {
	base, digits := 0, name
	if rest, found := strings.CutPrefix(name, "RTMIN"); found {
		base, digits = sigRTMin, strings.TrimPrefix(rest, "+")
		if rest == "" {
			return base, true
		}
		if len(digits) == len(rest) { // no plus sign
			return 0, false
		}
	} else if rest, found := strings.CutPrefix(name, "RTMAX"); found {
		base, digits = sigRTMax, rest
		if rest == "" {
			return base, true
		}
		if rest[0] != '-' {
			return 0, false
		}
		v, err := strconv.ParseUint(rest[1:], 10, 8)
		return base - int(v), err == nil && base-int(v) >= sigRTMin
	}
	v, err := strconv.ParseUint(digits, 10, 8)
	return base + int(v), err == nil
}
