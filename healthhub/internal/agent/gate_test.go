// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
)

// said waits until the agent tells hubinit that it waits for exactly this.
func (h *hubinit) said(t *testing.T, want string) {
	t.Helper()
	var all []string
	for limit := time.After(10 * time.Second); ; {
		select {
		case what := <-h.waits:
			if what == want {
				return
			}
			all = append(all, what)
		case <-limit:
			t.Fatalf("never said %q, but %q", want, all)
		}
	}
}

func (h *hubinit) isReady() bool {
	select {
	case <-h.ready:
		return true
	default:
		return false
	}
}

// The start waits until everything is there at one time, and what is missing is said as it changes.
func TestGate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	waiting := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceWaiting}}
	if err := waiting.Write(dir); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, file := closed.Addr().String(), filepath.Join(dir, "there")
	closed.Close()
	init := newHubinit(true)
	launch(t, dir, setting.Settings{
		WaitFor: []string{"tcp://" + address, "file://" + file, "dns:localhost", "check:seed"},
		Checks:  map[string]setting.Check{"seed": setting.DefaultCheck(setting.KindPush)},
	}, init)
	init.said(t, "tcp://"+address+" (connection refused), file://"+file+" ("+file+" does not exist), check:seed (nobody has reported on it yet)")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	init.said(t, "tcp://"+address+" (connection refused), check:seed (nobody has reported on it yet)")
	if code, body := ask(t, dir, "POST", "/v1/report", `{"name": "seed", "state": "pass"}`); code != 204 {
		t.Fatal(code, body)
	}
	init.said(t, "tcp://"+address+" (connection refused)")
	if init.isReady() {
		t.Error("ready though the port is closed")
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	waitFor(t, 10*time.Second, init.isReady)
}

// A service that was started anyway is not waited with any more, nor is one that runs already.
func TestGateIsOpen(t *testing.T) {
	nowhere := setting.Settings{WaitFor: []string{"file:///nowhere/at/all"}}
	t.Run("hubinit went on", func(t *testing.T) {
		dir := t.TempDir()
		init := newHubinit(true)
		launch(t, dir, nowhere, init)
		init.said(t, "file:///nowhere/at/all (/nowhere/at/all does not exist)")
		state := &initctl.State{Service: initctl.ServiceState{State: initctl.ServiceRunning, StartedAt: time.Now()}}
		if err := state.Write(dir); err != nil {
			t.Fatal(err)
		}
		waitFor(t, 10*time.Second, init.isReady)
	})
	for name, init := range map[string]*hubinit{"already": newHubinit(true), "without hubinit": newHubinit(false)} {
		init.open = init.supervised
		t.Run(name, func(t *testing.T) {
			launch(t, t.TempDir(), nowhere, init)
			waitFor(t, 5*time.Second, init.isReady)
			if len(init.waits) > 0 {
				t.Errorf("waited for %s", <-init.waits)
			}
		})
	}
}

// What is waited for is told to hubinit, which logs it: no password, no token.
func TestGateKeepsSecrets(t *testing.T) {
	t.Parallel()
	init := newHubinit(true)
	launch(t, t.TempDir(), setting.Settings{WaitFor: []string{"http://ops:s3cret@127.0.0.1:1/ready?token=t0ken"}}, init)
	init.said(t, "http://hidden@127.0.0.1:1/ready?hidden (127.0.0.1:1: connection refused)")
}

// What hangs and no context ends keeps healthhub from nothing.
func TestGateHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	g := &gate{news: make(chan struct{}, 1), items: []*gateItem{{name: "file:///gone", timeout: time.Minute, look: func(context.Context) probe.Result {
		<-release
		return probe.Result{}
	}}}}
	ctx, cancel := context.WithCancel(t.Context())
	init := newHubinit(true)
	done := make(chan error, 1)
	go func() { done <- g.keep(ctx, init, t.TempDir()) }()
	init.said(t, "file:///gone")
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it is still waited for")
	}
}

func TestGateRefuses(t *testing.T) {
	_, err := New(Config{
		Name: "c", RunDir: t.TempDir(), Settings: setting.Settings{WaitFor: []string{"dns:a", "db:5432"}},
		Files: identity.Open(t.TempDir()), Log: zerolog.Nop(), Init: newHubinit(true),
	})
	if err == nil || !strings.Contains(err.Error(), "health.wait_for[1]") {
		t.Errorf("got %v", err)
	}
}
