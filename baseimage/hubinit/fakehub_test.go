// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// playHub is a hub that does what PLAY_<name> says, steps separated by ";", and
// writes down what happens to it. By default loghub copies the pipes and the
// others are ready and wait. TERM ends it with 0.
//
//	ready            say ready
//	wait             for ever
//	exit:N           end
//	await:PATH       until the file is there
//	note:TEXT        a line in the journal
//	env:NAME         a variable's value into the journal
//	gate             whether the gate was open at the start into the journal
//	files            the open descriptors into the journal
//	print:TEXT       a line on stdout
//	slow             loghub: read a little of stdout every 100 ms
//	spool            loghub: note the memory file's size, then write 7 bytes into it
//	secret:NAME      hand over a secret of that name, or note why not
//	secrets          the names of what was handed over, and who has its file, into the journal
//	copy             loghub: read the pipes and write to the container's stdout and stderr
//	hold:D release restart signal:NAME
//	                 a request; the outcome goes into the journal
//	keep:D,TEXT      ask to keep the start waiting for D, and what for
//	raw:TEXT         a line on the request pipe, as it is
//	deaf             ignore TERM
//	ending           on TERM, how the container ends into the journal
func playHub(name string) int {
	hub, err := initctl.FromEnv()
	if err != nil {
		note("%s: %v", name, err)
		return 1
	}
	note("%s start", name)
	play := os.Getenv("PLAY_" + strings.ToUpper(name))
	if play == "" {
		play = "ready;wait"
		if name == initctl.Loghub {
			play = "copy"
		}
	}
	term := make(chan os.Signal, 1)
	if strings.Contains(play, "deaf") {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(term, syscall.SIGTERM)
	}
	done := make(chan int, 1)
	stop := make(chan struct{})
	go func() { done <- playSteps(name, hub, strings.Split(play, ";"), stop) }()
	select {
	case code := <-done:
		return code
	case <-term:
		note("%s TERM", name)
		if s, err := initctl.ReadState(hub.RunDir()); strings.Contains(play, "ending") && err == nil && s.ExitCode != nil && s.Service.LastExit != nil {
			note("%s TERM code %d last %d", name, *s.ExitCode, s.Service.LastExit.Code)
		}
		close(stop)
		if strings.Contains(play, "copy") {
			<-done
		}
		return 0
	}
}

func playSteps(name string, hub *initctl.Hub, steps []string, stop <-chan struct{}) int {
	for _, step := range steps {
		key, value, _ := strings.Cut(step, ":")
		switch key {
		case "ready":
			if err := hub.Ready(); err != nil {
				note("%s: %v", name, err)
			}
		case "wait":
			for {
				time.Sleep(time.Hour)
			}
		case "exit":
			code, _ := strconv.Atoi(value)
			return code
		case "await":
			for _, err := os.Stat(value); err != nil; _, err = os.Stat(value) {
				time.Sleep(2 * time.Millisecond)
			}
		case "note":
			note("%s", value)
		case "env":
			note("%s %s=%s", name, value, os.Getenv(value))
		case "gate":
			note("%s gate open: %v", name, hub.GateOpen())
		case "print":
			fmt.Println(value)
		case "copy":
			copyPipes(hub, stop)
		case "slow":
			for buf := make([]byte, 8192); ; time.Sleep(100 * time.Millisecond) {
				hub.Pipes()[initctl.PipeStdout].Read(buf)
			}
		case "spool":
			info, err := hub.Spool().Stat()
			if err != nil {
				note("spool: %v", err)
				return 1
			}
			note("spool held %d bytes", info.Size())
			hub.Spool().WriteAt([]byte("spooled"), 0)
		case "secret":
			if _, err := hub.Secrets().Add([]initctl.Secret{{Name: value, Value: "the value of " + value}}); err != nil {
				note("%s cannot hand over", name)
			}
		case "secrets":
			all, generation, err := hub.Secrets().Read()
			note("%s generation %d %v %v env %q files %d", name, generation, all, err, os.Getenv(initctl.EnvSecretsFD), secretFiles("self"))
		case "keep": // D,TEXT: keep the start waiting
			d, what, _ := strings.Cut(value, ",")
			limit, err := time.ParseDuration(d)
			if err = errors.Join(err, hub.Wait(limit, what)); err != nil {
				note("%s: %v", name, err)
			}
		case "raw":
			rawRequest(hub, value)
		case "hold", "release", "restart", "signal":
			note("%s %s: %v", name, step, ask(hub, key, value))
		}
	}
	return 0
}

// secretFiles counts the descriptors of a process that lead to the memory file for secrets.
func secretFiles(pid string) (n int) {
	files, _ := filepath.Glob("/proc/" + pid + "/fd/*")
	for _, f := range files {
		if to, _ := os.Readlink(f); strings.Contains(to, "memfd:hub-secrets") {
			n++
		}
	}
	return n
}

func ask(hub *initctl.Hub, verb, arg string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	switch verb {
	case "hold":
		d, err := time.ParseDuration(arg)
		return errors.Join(err, hub.Hold(ctx, d))
	case "release":
		return hub.Release(ctx)
	case "restart":
		return hub.Restart(ctx)
	}
	return hub.Signal(ctx, arg)
}

// rawRequest finds the request pipe again: descriptor 4 by hubinit's order.
func rawRequest(_ *initctl.Hub, line string) {
	if _, err := syscall.Write(4, []byte(line+"\n")); err != nil {
		note("raw: %v", err)
	}
}

// copyPipes is the least a loghub does: everything in the pipes to the
// container's own stdout and stderr; on stop until they are empty.
func copyPipes(hub *initctl.Hub, stop <-chan struct{}) {
	hub.Ready()
	var all sync.WaitGroup
	for name, r := range hub.Pipes() {
		to := hub.Stderr()
		if name == initctl.PipeStdout {
			to = hub.Stdout()
		}
		all.Go(func() {
			buf := make([]byte, 16<<10)
			for {
				r.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				n, err := r.Read(buf)
				to.Write(buf[:n])
				if err == nil {
					continue
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	all.Wait()
}

// note writes a line to the journal in one piece.
func note(format string, args ...any) {
	f, err := os.OpenFile(os.Getenv("JOURNAL"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, "journal:", err)
		return
	}
	defer f.Close()
	fmt.Fprintf(f, format+"\n", args...)
}
