// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrUnsupervised is returned by Restart and Signal in a process that hubinit did
// not start: there is no service it could act on.
var ErrUnsupervised = errors.New("not started by hubinit: there is no service to act on")

// pollInterval is how often a waiting request looks for its answer. hubinit
// writes init.json within about a millisecond; a look costs some 20 µs.
const pollInterval = 10 * time.Millisecond

// Hub is what hubinit handed to this process. Its methods may be called from
// several goroutines.
type Hub struct {
	runDir  string
	ctl     *os.File // nil: no requests
	pipes   map[string]*os.File
	out     map[string]*os.File
	spool   *os.File
	secrets *Secrets
	open    bool   // the gate, at our start
	ids     string // prefix of request ids, unique to this process
	count   atomic.Int64

	mu    sync.Mutex
	ready *os.File // nil once told
}

// FromEnv takes the descriptors that hubinit handed over, makes them
// close-on-exec and removes their variables from the environment, so that no
// child sees them. It is called once, early, before any child is started.
//
// Without the variables the Hub is a harmless one: Supervised is false, Ready,
// Hold and Release do nothing, Restart and Signal give ErrUnsupervised.
// An error means that a variable names no open descriptor.
func FromEnv() (*Hub, error) {
	h := &Hub{runDir: RunDir(), ids: newIDs()}
	var errs []error
	one := func(name string) *os.File {
		v, ok := takeEnv(name)
		if !ok {
			return nil
		}
		f, err := openFD(name, v)
		errs = append(errs, err)
		return f
	}
	many := func(name string) map[string]*os.File {
		v, ok := takeEnv(name)
		if !ok {
			return nil
		}
		files, err := openFDs(name, v)
		errs = append(errs, err)
		return files
	}
	h.ready, h.ctl, h.spool = one(EnvReadyFD), one(EnvCtlFD), one(EnvSpoolFD)
	if f := one(EnvSecretsFD); f != nil {
		h.secrets = &Secrets{f}
	}
	h.pipes, h.out = many(EnvLogFDs), many(EnvOutFDs)
	gate, _ := takeEnv(EnvGate)
	h.open = gate == GateOpen
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return h, nil
}

// Supervised says whether hubinit started this process.
func (h *Hub) Supervised() bool { return h.ctl != nil }

// RunDir is the directory of the state files this hub was started with.
func (h *Hub) RunDir() string { return h.runDir }

// GateOpen says whether the start of the service had gone on before this process was started: it may run, though
// init.json, in a run directory that is full, does not say so.
func (h *Hub) GateOpen() bool { return h.open }

// Ready tells hubinit that this hub is up, and is to be until hubinit stops it;
// confighub's opens the gate. Only the first call does anything.
func (h *Hub) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ready == nil {
		return nil
	}
	f := h.ready
	h.ready = nil
	_, err := f.Write([]byte{'\n'})
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("telling hubinit that this hub is ready: %w", err)
	}
	return nil
}

// Pipes are the read ends of the log pipes by name ("stdout", "stderr", "hubs"),
// non-blocking, so that deadlines work on them. Empty for all but loghub.
func (h *Hub) Pipes() map[string]*os.File { return h.pipes }

// Stdout is the container's own stdout, for loghub; nil when not handed.
func (h *Hub) Stdout() *os.File { return h.out[PipeStdout] }

// Stderr is the container's own stderr, for loghub; nil when not handed.
func (h *Hub) Stderr() *os.File { return h.out[PipeStderr] }

// Spool is a memory file that hubinit holds for loghub: what is in it outlives
// loghub but not the container. nil when not handed.
func (h *Hub) Spool() *os.File { return h.spool }

// Secrets is where confighub tells loghub what to hide; nil, which does no harm, when not handed.
func (h *Hub) Secrets() *Secrets { return h.secrets }

// Hold asks that an exit of the service within d should not end the container:
// hubinit records the exit and waits for Restart or Release, or until d is over.
// A second Hold replaces the first.
func (h *Hub) Hold(ctx context.Context, d time.Duration) error {
	if !h.Supervised() {
		return nil
	}
	return h.ask(ctx, Request{Verb: Hold, Hold: d})
}

// Release ends the hold. If the service exited meanwhile and was not restarted,
// the container ends with its code.
func (h *Hub) Release(ctx context.Context) error {
	if !h.Supervised() {
		return nil
	}
	return h.ask(ctx, Request{Verb: Release})
}

// waitLimit bounds the write of a Wait: what is not said now is said with the next one.
const waitLimit = time.Second

// Wait asks, while the service has not been started, to keep it from that for d (at most MaxWait) or until Ready. what says
// what for, for people. Who still waits renews it in time. Only healthhub's counts. It does not wait for an answer.
func (h *Hub) Wait(d time.Duration, what string) error {
	if !h.Supervised() {
		return nil
	}
	_, err := h.write(Request{Verb: Wait, Wait: d, What: cleanWhat(what)}, time.Now().Add(waitLimit))
	return err
}

// Restart stops the service and starts it anew in the same container; it
// returns when the new process runs.
func (h *Hub) Restart(ctx context.Context) error {
	return h.ask(ctx, Request{Verb: Restart})
}

// Signal sends a signal ("HUP", "USR1", "RTMIN+3") to the service's process group.
func (h *Hub) Signal(ctx context.Context, name string) error {
	sig, err := ParseSignal(name)
	if err != nil {
		return err
	}
	return h.ask(ctx, Request{Verb: Signal, Signal: sig})
}

// ask writes the request and waits for its answer in init.json. It ends with
// ctx, which should have a deadline.
func (h *Hub) ask(ctx context.Context, r Request) error {
	if !h.Supervised() {
		return ErrUnsupervised
	}
	deadline, _ := ctx.Deadline()
	id, err := h.write(r, deadline)
	if err != nil {
		return err
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		answer, err := h.answer(id)
		if err == nil && answer.State == AnswerOK {
			return nil
		}
		if err == nil && answer.State == AnswerRefused {
			return fmt.Errorf("asking hubinit to %s: refused: %s", r.Verb, answer.Error)
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return fmt.Errorf("waiting for hubinit's answer to %s: %w: %w", r.Verb, context.Cause(ctx), err)
			}
			return fmt.Errorf("waiting for hubinit to %s: %w", r.Verb, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// write sends a request under a name of its own. A stopped hubinit must not hang its hubs: past the deadline a write to
// the full pipe fails; the zero time means none.
func (h *Hub) write(r Request, deadline time.Time) (id string, err error) {
	r.ID = h.ids + strconv.FormatInt(h.count.Add(1), 10)
	if _, err := ParseRequest(r.String()); err != nil {
		return "", err
	}
	if err = h.ctl.SetWriteDeadline(deadline); err == nil {
		_, err = h.ctl.Write([]byte(r.String() + "\n"))
	}
	if err != nil {
		return "", fmt.Errorf("asking hubinit to %s: %w", r.Verb, err)
	}
	return r.ID, nil
}

func (h *Hub) answer(id string) (Answer, error) {
	s, err := ReadState(h.runDir)
	if err != nil {
		return Answer{}, err
	}
	if a, ok := s.Answer(id); ok {
		return a, nil
	}
	return Answer{}, errors.New("no answer yet in init.json")
}

// newIDs makes a prefix no other process of this container's life has: a
// restarted hub may get its predecessor's pid, but not its nanosecond.
func newIDs() string {
	program := filepath.Base(os.Args[0])
	if checkID(program) != nil || len(program) > 16 {
		program = "hub"
	}
	return program + "-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36) + "-"
}

func takeEnv(name string) (string, bool) {
	v, ok := os.LookupEnv(name)
	os.Unsetenv(name)
	return v, ok && v != ""
}

// openFD takes over one inherited descriptor.
func openFD(name, value string) (*os.File, error) {
	fd, err := strconv.ParseUint(value, 10, 16)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("%s=%q: want the number of a descriptor above 2", name, value)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(fd), &stat); err != nil {
		return nil, fmt.Errorf("%s=%s: %w", name, value, err)
	}
	syscall.CloseOnExec(int(fd))
	if name == EnvCtlFD { // only this end: each end of a pipe has flags of its own
		if err := syscall.SetNonblock(int(fd), true); err != nil {
			return nil, fmt.Errorf("%s=%s: %w", name, value, err)
		}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openFDs takes over a list: "stdout=5,stderr=6".
func openFDs(name, value string) (map[string]*os.File, error) {
	files := make(map[string]*os.File)
	for item := range strings.SplitSeq(value, ",") {
		key, number, ok := strings.Cut(item, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("%s=%q: want name=number pairs with commas between", name, value)
		}
		f, err := openFD(name, number)
		if err != nil {
			return nil, err
		}
		files[key] = f
	}
	return files, nil
}
