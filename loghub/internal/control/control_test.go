// SPDX-License-Identifier: AGPL-3.0-or-later

package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

type word struct {
	Word string `json:"word"`
}

// serve runs a server that says hello and then what it is told, in a directory that every user may enter.
func serve(t *testing.T) (runDir string, stop func()) {
	t.Helper()
	runDir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(runDir) })
	if err := os.Chmod(runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Server{RunDir: runDir, Log: zerolog.New(zerolog.NewTestWriter(t)), Talk: func(_ context.Context, c *Conn) {
		for w := (word{"hello"}); c.Send(w) == nil && c.Receive(&w) == nil; {
		}
	}}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if info, err := os.Stat(filepath.Join(runDir, Socket)); err == nil && info.Mode().Perm() == 0o600 {
			return runDir, stop
		}
		if time.Now().After(end) {
			t.Fatal("no socket of mode 0600")
		}
	}
}

func TestConversation(t *testing.T) {
	run, stop := serve(t)
	var hello word
	first, err := Dial(run, &hello)
	if err != nil || hello.Word != "hello" {
		t.Fatalf("%v %q", err, hello)
	}
	if _, err := Dial(run, &hello); err == nil || !strings.Contains(err.Error(), "another loghub doctor is at work here") {
		t.Errorf("beside another: %v", err)
	}
	long := word{strings.Repeat("x", 1<<20)}
	var back word
	if err := errors.Join(first.Send(long), first.Receive(&back)); err != nil || back != long {
		t.Errorf("%v, %d bytes", err, len(back.Word))
	}
	other := &Server{RunDir: run, Log: zerolog.New(zerolog.NewTestWriter(t))}
	if _, err := other.listen(); !errors.Is(err, ErrAnother) {
		t.Errorf("a second server: %v", err)
	}
	first.Close()
	var next *Conn
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if next, err = Dial(run, &hello); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	stop()
	if err := next.Receive(&back); err == nil {
		t.Error("it goes on after the end")
	}
	if _, err := Dial(run, &hello); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "there is no "+run) {
		t.Errorf("after the end: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(run, Socket), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as one that was killed leaves it
	l.Close()
	if _, err := Dial(run, &hello); !errors.Is(err, ErrAbsent) || !strings.Contains(err.Error(), "nobody answers on "+run) {
		t.Errorf("after a kill: %v", err)
	}
	if l, err := other.listen(); err != nil {
		t.Errorf("on what a kill left: %v", err)
	} else {
		l.Close()
	}
}

// Who is neither root nor the uid of the hubs is kept out twice: by the socket's mode, and by what the kernel says of him.
func TestStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("taking another uid needs root")
	}
	run, _ := serve(t)
	socket := filepath.Join(run, Socket)
	ask := func() string {
		t.Helper()
		said := make(chan string)
		go func() { // on a thread of another uid, which ends with it
			runtime.LockOSThread()
			keep := ^uintptr(0)
			if _, _, no := unix.RawSyscall(unix.SYS_SETRESUID, keep, 65534, keep); no != 0 {
				said <- no.Error()
				return
			}
			_, err := Dial(run, new(word))
			said <- fmt.Sprint(err)
		}()
		return <-said
	}
	if out := ask(); !strings.Contains(out, "log.sock is for root and uid 0: run this as one of them") {
		t.Errorf("with mode 0600: %s", out)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if out := ask(); !strings.Contains(out, "uid 65534 may not ask this container's loghub: root and uid 0 may") {
		t.Errorf("with mode 0666: %s", out)
	}
}
