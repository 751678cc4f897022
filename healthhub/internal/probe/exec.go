// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

const (
	// maxOutputBytes is Docker's limit too (moby, daemon/health.go).
	maxOutputBytes = 4 << 10
	// outputDelay is how long after the command's own end what it started may hold its output open: the rest of a pipeline.
	outputDelay = time.Second
	// killDelay is how long after its time a look waits for the end of what it killed.
	killDelay = time.Second
	// endDelay is what reading takes that was written already.
	endDelay = 50 * time.Millisecond
)

// execCheck runs a command as the service's user, in a session of its own, with nothing of ours but two ends of a pipe. With the look everything
// ends that the command started (offspring); it is always waited for.
type execCheck struct {
	argv       []string
	convention string
	account    account
	busy       atomic.Bool // a command runs, or cannot be killed
}

// execLook makes the look of kind exec.
func execLook(s setting.Check, runDir string) Func {
	e := &execCheck{argv: s.Command, convention: s.Convention, account: account{runDir: runDir}}
	return e.look
}

// look runs the command apart, so that one in the kernel's hands (a dead network file system) does not hold it up for longer than its context.
func (e *execCheck) look(ctx context.Context) Result {
	const hangs = "see where it hangs with cat /proc/<pid>/stack, and whether a file system is gone; or who it became, if it took another uid"
	if !e.busy.CompareAndSwap(false, true) {
		return fail("the command of an earlier look still runs: it cannot be killed").advise(hangs)
	}
	done := make(chan Result, 1)
	go func() {
		r := e.run(ctx)
		e.busy.Store(false)
		done <- r
	}()
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
	}
	late := time.NewTimer(killDelay)
	defer late.Stop()
	select {
	case r := <-done:
		return r
	case <-late.C:
		return fail("took too long, and cannot be killed").advise(hangs)
	}
}

func (e *execCheck) run(ctx context.Context) Result {
	who, err := e.account.credential()
	if err != nil {
		r := blind("%v", err)
		if errors.Is(err, errTooFew) {
			r.Unsupported = true
			r = r.advise("give the container the capabilities SETUID, SETGID and KILL, or run it as the service's user")
		}
		return r
	}
	out, err := newOutput()
	if err != nil {
		return blind("%v", err)
	}
	brood := children.begin()
	cmd := exec.CommandContext(ctx, e.argv[0], e.argv[1:]...)
	cmd.Env = environ(who)
	cmd.Stdout, cmd.Stderr = out.write, out.write // stdin is /dev/null
	// Should we be killed, the command goes with us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: who, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { children.kill(cmd.Process.Pid); return nil }
	err = children.start(brood, cmd)
	out.begin()
	if err == nil {
		cmd.Wait() // what it says stands in cmd.ProcessState, or in ctx
		out.linger(ctx)
	}
	children.end(brood)
	said := out.end()
	switch {
	case err != nil:
		return e.unstarted(ctx, err)
	case ctx.Err() != nil:
		return fail("took too long and was killed%s", after(health.CleanText(said))).
			advise("run it by hand to see what it waits for, or give it more with timeout")
	}
	how := "exit code " + strconv.Itoa(cmd.ProcessState.ExitCode())
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		how = "killed by " + unix.SignalName(status.Signal())
	}
	return e.judge(cmd.ProcessState.ExitCode(), how, said)
}

func (e *execCheck) unstarted(ctx context.Context, err error) Result {
	action := "see whether this container has processes and memory to spare"
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, exec.ErrNotFound) || errors.Is(err, syscall.ENOEXEC) {
		action = "correct the check's command, or put the program there, for the service's user to run"
	}
	if e.convention == setting.ConventionDocker && ctx.Err() == nil {
		return fail("%v", err).advise("%s", action)
	}
	return blind("%v", err).advise("%s", action)
}

// judge reads an exit code, -1 after a signal, by the convention of the check, and with that of Nagios what the command measured.
func (e *execCheck) judge(code int, how, output string) Result {
	nagios := e.convention == setting.ConventionNagios
	var values []health.Value
	if nagios {
		output, values = splitPerfdata(output)
	}
	said := health.CleanText(output)
	text := how + after(said)
	if said != "" && (code == 0 || nagios && code > 0) {
		text = said // a plugin's first word says what the code does
	}
	r := e.state(code, text)
	r.Values = values
	if r.State != health.Pass {
		r = r.advise("run it by hand in this container for all it says")
	}
	return r
}

func (e *execCheck) state(code int, text string) Result {
	nagios := e.convention == setting.ConventionNagios
	switch {
	case code == 0:
		return pass("%s", text)
	case nagios && code == 1:
		return result(health.Warn, "%s", text)
	// What a shell says when it could not run what it was told to (POSIX, XCU 2.8.2).
	case e.convention != setting.ConventionDocker && (code == 126 || code == 127):
		return blind("%s", text)
	case nagios && code > 2:
		return result(health.Unknown, "%s", text)
	}
	return fail("%s", text)
}

func after(output string) string {
	if output == "" {
		return ""
	}
	return ": " + output
}

// output is a pipe from a command, and the first maxOutputBytes that came out of it; the rest is read and dropped.
type output struct {
	read, write *os.File
	buf         bytes.Buffer
	done        chan struct{} // closed when nothing more is read, and buf may be looked at
}

func newOutput() (*output, error) {
	o := &output{done: make(chan struct{})}
	var err error
	o.read, o.write, err = os.Pipe()
	return o, err
}

// begin starts reading, once the command has its end of the pipe.
func (o *output) begin() {
	o.write.Close()
	go func() {
		defer close(o.done)
		io.CopyN(&o.buf, o.read, maxOutputBytes)
		io.Copy(io.Discard, o.read)
	}()
}

// linger waits for the end of the output, for as long as that may be in coming once the command is gone.
func (o *output) linger(ctx context.Context) {
	late := time.NewTimer(outputDelay)
	defer late.Stop()
	select {
	case <-o.done:
	case <-ctx.Done():
	case <-late.C:
	}
}

// end gives what was said. It waits for nobody who still holds the other end.
func (o *output) end() string {
	o.read.SetReadDeadline(time.Now().Add(endDelay))
	<-o.done
	o.read.Close()
	return o.buf.String()
}
