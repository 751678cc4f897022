// SPDX-License-Identifier: AGPL-3.0-or-later

package initctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRequest(t *testing.T) {
	for line, want := range map[string]Request{
		"a1 hold 30s":                        {ID: "a1", Verb: Hold, Hold: 30 * time.Second},
		"a1 hold 30s\n":                      {ID: "a1", Verb: Hold, Hold: 30 * time.Second},
		"confighub-7-x.1 release":            {ID: "confighub-7-x.1", Verb: Release},
		"r restart":                          {ID: "r", Verb: Restart},
		"s signal HUP":                       {ID: "s", Verb: Signal, Signal: syscall.SIGHUP},
		"s signal SIGUSR1":                   {ID: "s", Verb: Signal, Signal: syscall.SIGUSR1},
		"s signal RTMIN+3":                   {ID: "s", Verb: Signal, Signal: 37},
		"s signal 10":                        {ID: "s", Verb: Signal, Signal: 10},
		"_ hold 10m":                         {ID: "_", Verb: Hold, Hold: MaxHold},
		"w wait 30s tcp://db:1: no, not yet": {ID: "w", Verb: Wait, Wait: 30 * time.Second, What: "tcp://db:1: no, not yet"},
		"w wait 1m x":                        {ID: "w", Verb: Wait, Wait: MaxWait, What: "x"},
		"_ hold 1ms":                         {ID: "_", Verb: Hold, Hold: time.Millisecond},
		strings.Repeat("i", 64) + " release": {ID: strings.Repeat("i", 64), Verb: Release},
	} {
		got, err := ParseRequest(line)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %s %v", line, diff, err)
		}
	}
}

func TestParseRequestRefused(t *testing.T) {
	for line, want := range map[string]struct{ id, text string }{
		"":                      {"", "id of 0 bytes"},
		"\n":                    {"", "id of 0 bytes"},
		" hold 3s":              {"", "id of 0 bytes"},
		"a":                     {"a", "without a verb"},
		"a dance":               {"a", `unknown request "dance"`},
		"a Hold 3s":             {"a", "unknown request"},
		"a hold":                {"a", "takes 1 argument(s), got 0"},
		"a hold 3s now":         {"a", "takes 1 argument(s), got 2"},
		"a release 3s":          {"a", "takes 0 argument(s), got 1"},
		"a  release":            {"a", "unknown request"},
		"a hold soon":           {"a", "want a duration"},
		"a hold 0s":             {"a", "must be between"},
		"a hold -3s":            {"a", "must be between"},
		"a hold 11m":            {"a", "must be between"},
		"a wait 30s":            {"a", "takes 2 argument(s), got 1"},
		"a wait 30s ":           {"a", "printable words"},
		"a wait 30s a  b":       {"a", "printable words"},
		"a wait 30s a\x1b[2J":   {"a", "printable words"},
		"a wait 61s x":          {"a", "must be between"},
		"a wait x y":            {"a", "want a duration"},
		"a signal":              {"a", "takes 1"},
		"a signal NONE":         {"a", "unknown signal"},
		"a signal 0":            {"a", "unknown signal"},
		"a signal 33":           {"a", "unknown signal"},
		"a signal 65":           {"a", "unknown signal"},
		"a signal RTMIN3":       {"a", "unknown signal"},
		"a signal RTMIN+31":     {"a", "unknown signal"},
		"a signal RTMAX-31":     {"a", "unknown signal"},
		"a\tb release":          {"", "only letters"},
		"ä release":             {"", "only letters"},
		"a/b release":           {"", "only letters"},
		strings.Repeat("i", 65): {"", "65 bytes"},
		"a hold " + strings.Repeat("0", 600) + "1s": {"", "at most 512"},
	} {
		got, err := ParseRequest(line)
		if err == nil || !strings.Contains(err.Error(), want.text) || got.ID != want.id {
			t.Errorf("%q: id %q, error %v; want %q and %q", line, got.ID, err, want.id, want.text)
		}
	}
}

// FuzzParseRequest: what is taken can be written and read again, and stays within
// its bounds.
func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{"a hold 30s", "a release", "a restart\n", "a signal RTMAX-2", "a signal sigterm", "a  b", "a hold 1e9h", "\x00", "a wait 9s b c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		r, err := ParseRequest(line)
		if r.ID != "" && checkID(r.ID) != nil {
			t.Errorf("%q: id %q", line, r.ID)
		}
		if err != nil {
			return
		}
		if r.Hold < 0 || r.Hold > MaxHold || r.Wait < 0 || r.Wait > MaxWait || r.Signal < 0 || r.Signal > sigRTMax {
			t.Errorf("%q: out of bounds: %+v", line, r)
		}
		again, err := ParseRequest(r.String())
		if diff := cmp.Diff(r, again); diff != "" || err != nil || len(r.String()) >= MaxRequestBytes {
			t.Errorf("%q: %s %v", line, diff, err)
		}
	})
}

func TestSignalNames(t *testing.T) {
	for n := syscall.Signal(1); n <= sigRTMax; n++ {
		if n == 32 || n == 33 {
			continue
		}
		name := SignalName(n)
		for _, s := range []string{name, "SIG" + name, strings.ToLower(name)} {
			if got, err := ParseSignal(s); got != n || err != nil {
				t.Errorf("%s: %d %v, want %d", s, got, err, n)
			}
		}
	}
	if got, err := ParseSignal("RTMAX-1"); got != 63 || err != nil {
		t.Errorf("RTMAX-1: %d %v", got, err)
	}
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadState(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := &State{
		Boot: "b", PID: 1, StartedAt: at, Slot: "0", StateDir: "/var/lib/hub/0",
		Hold: &HoldState{By: Confighub, Until: at},
		Service: ServiceState{State: ServiceRunning, PID: 9, Ready: true, StartedAt: at, Restarts: 2,
			LastExit: &Exit{Code: 137, Signal: "KILL", OOM: true, At: at, Uptime: 1.5}},
		Hubs:     map[string]*HubState{Loghub: {State: HubBackoff, Restarts: 3, NextStart: at}},
		Pipes:    map[string]Pipe{PipeStdout: {Drained: 5, Lost: 6, Open: true}},
		Requests: []Answer{{ID: "a", From: Confighub, Verb: Restart, State: AnswerOK, At: at}},
	}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadState(dir)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for name, content := range map[string]string{"torn": `{"schema":1`, "older": `{"schema":0}`, "large": strings.Repeat(" ", maxStateBytes) + `{"schema":1}`} {
		os.WriteFile(filepath.Join(dir, StateFile), []byte(content), 0o644)
		if got, err := ReadState(dir); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	os.WriteFile(filepath.Join(dir, StateFile), []byte(`{"schema":2,"boot":"x","more":1}`), 0o644)
	if got, err := ReadState(dir); err != nil || got.Boot != "x" {
		t.Errorf("newer: %+v %v", got, err)
	}
}

func TestAnswers(t *testing.T) {
	var s State
	for i := range 40 {
		s.AddAnswer(Answer{ID: fmt.Sprint(i), State: AnswerOK})
	}
	s.AddAnswer(Answer{ID: "r", State: AnswerPending})
	s.AddAnswer(Answer{ID: "x", State: AnswerOK})
	s.AddAnswer(Answer{ID: "r", State: AnswerRefused, Error: "no"})
	if len(s.Requests) != AnswersKept || s.Requests[0].ID != "26" || s.Requests[AnswersKept-1].ID != "x" {
		t.Errorf("kept %+v", s.Requests)
	}
	if a, ok := s.Answer("r"); !ok || a.State != AnswerRefused {
		t.Errorf("answer %+v", a)
	}
	if a, ok := s.Answer("3"); ok {
		t.Errorf("an old answer is there: %+v", a)
	}
}

// handed sets the variables as hubinit does; it returns the other ends.
func handed(t *testing.T, dir string) (ready, ctl *os.File) {
	t.Helper()
	give := func() (*os.File, int) {
		var fds [2]int
		if err := syscall.Pipe(fds[:]); err != nil { // inheritable, as in a child
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fds[0]), "read end")
		t.Cleanup(func() { f.Close() })
		return f, fds[1]
	}
	ready, readyFD := give()
	ctl, ctlFD := give()
	var log [2]int
	if err := syscall.Pipe2(log[:], syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvReadyFD, fmt.Sprint(readyFD))
	t.Setenv(EnvCtlFD, fmt.Sprint(ctlFD))
	t.Setenv(EnvLogFDs, fmt.Sprintf("stdout=%d", log[0]))
	t.Setenv(EnvOutFDs, fmt.Sprintf("stdout=%d", log[1]))
	t.Setenv(EnvGate, GateOpen)
	t.Setenv(EnvRunDir, dir)
	return ready, ctl
}

func TestFromEnv(t *testing.T) {
	ready, ctl := handed(t, t.TempDir())
	h, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{EnvReadyFD, EnvCtlFD, EnvLogFDs, EnvOutFDs, EnvSpoolFD, EnvSecretsFD, EnvGate} {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%s is left", name, v)
		}
	}
	for name, f := range map[string]*os.File{"ctl": h.ctl, "ready": h.ready, "stdout": h.Pipes()["stdout"], "out": h.Stdout()} {
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), syscall.F_GETFD, 0)
		if errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
			t.Errorf("%s is inherited by children (%v)", name, errno)
		}
	}
	if !h.Supervised() || !h.GateOpen() || h.Spool() != nil || h.Stderr() != nil {
		t.Errorf("hub %+v", h)
	}
	if err := errors.Join(h.Ready(), h.Ready()); err != nil {
		t.Error(err)
	}
	buf := make([]byte, 8)
	n, _ := ready.Read(buf)
	rest, _ := ready.Read(buf[n:])
	if string(buf[:n]) != "\n" || rest != 0 {
		t.Errorf("ready said %q and %d more", buf[:n], rest)
	}
	ctl.Close()
}

func TestFromEnvRefused(t *testing.T) {
	for name, value := range map[string]string{EnvReadyFD: "987", EnvCtlFD: "one", EnvLogFDs: "stdout", EnvOutFDs: "stdout=1", EnvSpoolFD: "-4", EnvSecretsFD: "77"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if _, err := FromEnv(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		})
	}
}

func TestWithoutHubinit(t *testing.T) {
	h, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := errors.Join(h.Ready(), h.Hold(ctx, time.Second), h.Release(ctx)); err != nil {
		t.Error(err)
	}
	if err := h.Wait(time.Second, "x"); err != nil {
		t.Error(err)
	}
	if err := h.Restart(ctx); !errors.Is(err, ErrUnsupervised) {
		t.Errorf("restart: %v", err)
	}
	if err := h.Signal(ctx, "HUP"); !errors.Is(err, ErrUnsupervised) {
		t.Errorf("signal: %v", err)
	}
	if h.Supervised() || h.GateOpen() || len(h.Pipes()) != 0 || h.Stdout() != nil || h.Spool() != nil || h.Secrets() != nil {
		t.Errorf("hub %+v", h)
	}
}

// TestAsk plays hubinit's side: it reads the line and writes the answer.
func TestAsk(t *testing.T) {
	dir := t.TempDir()
	_, ctl := handed(t, dir)
	h, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		var s State
		lines := bufio.NewScanner(ctl)
		for lines.Scan() {
			r, err := ParseRequest(lines.Text())
			if err != nil {
				continue
			}
			a := Answer{ID: r.ID, Verb: r.Verb, State: AnswerOK}
			switch r.Verb {
			case Signal:
				a.State, a.Error = AnswerRefused, "not now"
			case Release:
				continue // never answered
			case Restart:
				s.AddAnswer(Answer{ID: r.ID, State: AnswerPending})
				s.Write(dir)
			}
			s.AddAnswer(a)
			s.Write(dir)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.Hold(ctx, time.Second); err != nil {
		t.Errorf("hold: %v", err)
	}
	if err := h.Restart(ctx); err != nil {
		t.Errorf("restart: %v", err)
	}
	if err := h.Signal(ctx, "HUP"); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Errorf("signal: %v", err)
	}
	if err := h.Signal(ctx, "NOPE"); err == nil || !strings.Contains(err.Error(), "unknown signal") {
		t.Errorf("unknown signal: %v", err)
	}
	if err := h.Hold(ctx, time.Hour); err == nil || !strings.Contains(err.Error(), "must be between") {
		t.Errorf("long hold: %v", err)
	}
	short, cancelShort := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelShort()
	if err := h.Release(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("unanswered: %v", err)
	}
}

// TestAskHungHubinit: a full pipe does not block a hub past its deadline.
func TestAskHungHubinit(t *testing.T) {
	handed(t, t.TempDir())
	h, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	h.ctl.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	for err == nil {
		_, err = h.ctl.Write(make([]byte, 4096))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.Hold(ctx, time.Second); err == nil || !strings.Contains(err.Error(), "asking hubinit to hold") {
		t.Errorf("hold: %v", err)
	}
}

// TestWait: whatever words an error has, they arrive as one line.
func TestWait(t *testing.T) {
	_, ctl := handed(t, t.TempDir())
	h, err := FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"tcp://db:1: no\nsuch\x1b[2J host \xff", strings.Repeat("ä", 400)} {
		if err := h.Wait(30*time.Second, what); err != nil {
			t.Fatal(err)
		}
	}
	lines := bufio.NewScanner(ctl)
	for _, want := range []string{"tcp://db:1: no such [2J host ?", strings.Repeat("ä", 150)} {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
		if r, err := ParseRequest(lines.Text()); err != nil || r.Verb != Wait || r.Wait != 30*time.Second || r.What != want {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if err := h.Wait(time.Hour, "x"); err == nil || !strings.Contains(err.Error(), "must be between") {
		t.Errorf("long wait: %v", err)
	}
}

func TestPlaces(t *testing.T) {
	t.Setenv(EnvRunDir, "")
	t.Setenv(EnvStateDir, "")
	t.Setenv(EnvVarDir, "/v")
	t.Setenv(EnvSlot, "")
	if diff := cmp.Diff([]string{"/run/hub", "/v", "/v/0", "0"}, []string{RunDir(), VarDir(), StateDir(), Slot()}); diff != "" {
		t.Error(diff)
	}
	t.Setenv(EnvStateDir, "/v/3")
	t.Setenv(EnvSlot, NoSlot)
	if StateDir() != "/v/3" || Slot() != NoSlot {
		t.Errorf("%s %s", StateDir(), Slot())
	}
}
