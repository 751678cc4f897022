// SPDX-License-Identifier: AGPL-3.0-or-later

package proctest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Steps lists what a child can be told, as key or key=value:
//
//	print=TEXT      a line on stdout
//	eprint=TEXT     a line on stderr
//	append=PATH:TEXT  a line at the end of a file
//	sleep=1s        wait
//	wait            wait for ever (for a trapped or a deadly signal)
//	trap=TERM:7     from here on exit 7 on TERM; TERM: alone writes "TERM" as a line on stdout and goes on
//	ignore=TERM     from here on ignore it
//	exit=3          end
//	kill=TERM       kill itself with the signal
//	orphans=1000    that many grandchildren that outlive their parent and then die
//	daemon=STEPS    a grandchild in a session of its own; its steps are separated by ";"
//	child=STEPS     a child in the same process group
//	flood=10s       as many lines as stdout takes, in all that time; then "flood N MAXBLOCK" on stderr
//
// What the child is made to be by whoever starts it (signal mask, limits,
// descriptors) is better read by a program that is not written in Go, whose
// runtime changes some of it: cat /proc/self/status, sh -c "ulimit -n".
func Steps() []string {
	return []string{"print", "eprint", "append", "sleep", "wait", "trap", "ignore", "exit", "kill", "orphans", "daemon",
		"child", "flood"}
}

// runSteps is a child's main.
func runSteps(steps []string) int {
	for _, s := range steps {
		key, value, _ := strings.Cut(s, "=")
		if key == "exit" {
			code, err := strconv.Atoi(value)
			if err != nil {
				return fail(s, err)
			}
			return code
		}
		if err := step(key, value); err != nil {
			return fail(s, err)
		}
	}
	return 0
}

func fail(step string, err error) int {
	fmt.Fprintf(os.Stderr, "proctest: step %q: %v\n", step, err)
	return 99
}

func step(key, value string) error {
	switch key {
	case "print":
		_, err := fmt.Println(value)
		return err
	case "eprint":
		_, err := fmt.Fprintln(os.Stderr, value)
		return err
	case "append":
		path, text, _ := strings.Cut(value, ":")
		return appendLine(path, text)
	case "sleep":
		d, err := time.ParseDuration(value)
		time.Sleep(d)
		return err
	case "wait":
		for {
			time.Sleep(time.Hour)
		}
	case "trap", "ignore", "kill":
		return signalStep(key, value)
	case "orphans", "daemon", "child":
		return childStep(key, value)
	case "flood":
		return flood(value)
	}
	return fmt.Errorf("unknown: want one of %s", strings.Join(Steps(), " "))
}

func appendLine(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, text); err != nil {
		return err
	}
	return f.Close()
}

// parseSignal takes the names the steps need; numbers do as well.
func parseSignal(s string) (syscall.Signal, error) {
	names := map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1,
		"USR2": syscall.SIGUSR2, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "STOP": syscall.SIGSTOP,
	}
	if sig, ok := names[s]; ok {
		return sig, nil
	}
	n, err := strconv.Atoi(s)
	return syscall.Signal(n), err
}

func signalStep(key, value string) error {
	name, code, exits := strings.Cut(value, ":")
	sig, err := parseSignal(name)
	if err != nil {
		return err
	}
	switch key {
	case "ignore":
		signal.Ignore(sig)
	case "kill":
		// The Go runtime has plans of its own for most signals; a shell has none.
		return syscall.Exec("/bin/sh", []string{"sh", "-c", fmt.Sprintf("kill -%d $$", sig)}, os.Environ())
	case "trap":
		caught := make(chan os.Signal, 64)
		signal.Notify(caught, sig)
		go func() {
			for range caught {
				if !exits || code == "" {
					fmt.Println(name)
					continue
				}
				n, err := strconv.Atoi(code)
				if err != nil {
					n = fail("trap="+value, err)
				}
				os.Exit(n)
			}
		}()
	}
	return nil
}

func childStep(key, value string) error {
	if key == "orphans" {
		n, err := strconv.Atoi(value)
		if err != nil {
			return err
		}
		// A shell makes them: one fork each. The last one's death is awaited by nobody.
		return exec.Command("/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do (: &); i=$((i+1)); done", n)).Run()
	}
	cmd := exec.Command(self(), append([]string{stepsArg}, strings.Split(value, ";")...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: key == "daemon"}
	return cmd.Start()
}

// flood writes lines of 100 bytes until the time is over and reports the longest
// time one write took, in milliseconds.
func flood(value string) error {
	d, err := time.ParseDuration(value)
	if err != nil {
		return err
	}
	line := []byte(strings.Repeat("x", 99) + "\n")
	var lines int
	var longest time.Duration
	for begin := time.Now(); time.Since(begin) < d; lines++ {
		before := time.Now()
		if _, err := os.Stdout.Write(line); err != nil {
			return err
		}
		longest = max(longest, time.Since(before))
	}
	_, err = fmt.Fprintf(os.Stderr, "flood %d %d\n", lines, longest.Milliseconds())
	return err
}
