// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// service is hubinit and the service in files: init.json, and one line for each time that it took its files up.
type service struct{ base, run, conf string }

func (s *service) state() *initctl.State {
	state, err := initctl.ReadState(s.run)
	if err != nil {
		state = &initctl.State{}
	}
	return state
}

func (s *service) change(change func(*initctl.State)) {
	state := s.state()
	change(state)
	if err := state.Write(s.run); err != nil {
		panic(err)
	}
}

// start makes it run as a new process.
func (s *service) start() {
	s.change(func(state *initctl.State) {
		state.Service.State, state.Service.StartedAt = initctl.ServiceRunning, time.Now()
	})
}

// end ends the container, and starts another one's hubs.
func (s *service) end() {
	s.change(func(state *initctl.State) {
		*state = initctl.State{Boot: state.Boot + "+", Service: initctl.ServiceState{State: initctl.ServiceWaiting}}
	})
}

// take reads the configuration in place.
func (s *service) take(way string) {
	raw, err := os.ReadFile(s.conf)
	if err == nil {
		line, _, _ := strings.Cut(string(raw), "\n")
		err = appendTo(filepath.Join(s.base, "told-by-"+way), line+"\n")
	}
	if err != nil {
		panic(err)
	}
}

func appendTo(name, text string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// silent reports, once for each generation of that kind, that hubinit does not answer.
func (s *service) silent(kind uint64, way string) bool {
	raw, err := os.ReadFile(s.conf)
	if err != nil {
		panic(err)
	}
	var n uint64
	fmt.Sscanf(string(raw), "gen %d", &n)
	name := filepath.Join(s.base, fmt.Sprintf("silent-%s-%d", way, n))
	if _, err := os.Stat(name); err == nil || n%8 != kind {
		return false
	}
	return os.WriteFile(name, nil, 0o600) == nil
}

var errSilent = errors.New("hubinit does not answer")

// Hold holds nothing: nothing in these files ends by itself.
func (s *service) Hold(context.Context, time.Duration) error { return nil }

// Release does nothing either.
func (s *service) Release(context.Context) error { return nil }

// Restart starts it with what is in place.
func (s *service) Restart(context.Context) error {
	if s.silent(muted, "restart") {
		return errSilent
	}
	s.take("take")
	s.take("hup")
	if !s.die() {
		s.start()
	}
	return nil
}

// die ends the service if what is in place kills it.
func (s *service) die() bool {
	raw, err := os.ReadFile(s.conf)
	if err == nil && !strings.Contains(string(raw), "deadly") {
		return false
	}
	s.change(func(state *initctl.State) {
		state.Service.State, state.Service.StartedAt = initctl.ServiceExited, time.Now()
		state.Service.LastExit = &initctl.Exit{Code: 1}
	})
	return true
}

// Signal lets it read what is in place, which may kill it.
func (s *service) Signal(context.Context, string) error {
	if s.silent(unanswered, "signal") {
		return errSilent
	}
	if !s.die() {
		s.take("hup")
	}
	return nil
}
