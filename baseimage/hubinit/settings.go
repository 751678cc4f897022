// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// startOrder and stopOrder are the hubs' own order: logs first and last.
func startOrder() []string {
	return []string{initctl.Loghub, initctl.Healthhub, initctl.Confighub}
}

func stopOrder() []string {
	return []string{initctl.Healthhub, initctl.Confighub, initctl.Loghub}
}

// settings are hubinit's own, all from the environment: it reads no file that a
// hub or a genesis could have written before the service runs.
type settings struct {
	hubs          []string // in startOrder
	explicit      bool     // HUB_HUBS was set: a hub that is not installed is an error
	user          string   // "": as hubinit itself
	startDeadline time.Duration
	stopGrace     time.Duration // 0: none
	restartMax    time.Duration // longest pause before a hub is started again
	stopSignal    syscall.Signal
	success       []int
	notify        bool // the service speaks sd_notify(3)
	runDir        string
	varDir        string
	hooksDir      string // where init.d and stop.d stand
}

// settingsFrom reads the environment; all problems at once.
func settingsFrom(getenv func(string) string) (settings, []error) {
	var errs []error
	s := settings{
		user:       getenv(initctl.EnvUser),
		stopSignal: syscall.SIGTERM,
		runDir:     or(getenv(initctl.EnvRunDir), initctl.DefaultRunDir),
		varDir:     or(getenv(initctl.EnvVarDir), initctl.DefaultVarDir),
		hooksDir:   filepath.Dir(or(getenv(initctl.EnvConfig), initctl.DefaultConfig)),
	}
	note := func(name string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s=%q: %w", name, getenv(name), err))
		}
	}
	var err error
	s.hubs, s.explicit, err = parseHubs(getenv(initctl.EnvHubs))
	note(initctl.EnvHubs, err)
	s.startDeadline, err = parseDuration(getenv(initctl.EnvStartDeadline))
	note(initctl.EnvStartDeadline, err)
	s.stopGrace, err = parseDuration(getenv(initctl.EnvStopGrace))
	note(initctl.EnvStopGrace, err)
	s.restartMax, err = parseDuration(getenv(initctl.EnvRestartMax))
	note(initctl.EnvRestartMax, err)
	switch {
	case s.restartMax == 0:
		s.restartMax = backoffMax
	case s.restartMax < restartMaxMin:
		note(initctl.EnvRestartMax, fmt.Errorf("must be %s or more", restartMaxMin))
	}
	s.success, err = parseCodes(getenv(initctl.EnvSuccessCodes))
	note(initctl.EnvSuccessCodes, err)
	s.notify, err = initctl.ParseSwitch(getenv(initctl.EnvNotify))
	note(initctl.EnvNotify, err)
	if v := getenv(initctl.EnvStopSignal); v != "" {
		s.stopSignal, err = initctl.ParseSignal(v)
		note(initctl.EnvStopSignal, err)
	}
	note(initctl.EnvRunDir, checkRunDir(s.runDir))
	if !filepath.IsAbs(s.varDir) {
		note(initctl.EnvVarDir, fmt.Errorf("must be an absolute path"))
	}
	return s, errs
}

func or(v, fallback string) string {
	if v == "" {
		return fallback
	}
	return v
}

// parseHubs reads HUB_HUBS: "" is all that are installed, "none" is none.
func parseHubs(v string) (hubs []string, explicit bool, err error) {
	switch strings.TrimSpace(v) {
	case "":
		return startOrder(), false, nil
	case "none":
		return nil, true, nil
	}
	wanted := strings.Split(v, ",")
	for i, name := range wanted {
		wanted[i] = strings.TrimSpace(name)
		if !slices.Contains(startOrder(), wanted[i]) {
			return nil, true, fmt.Errorf("no hub is called %q: want a comma list of %s, or none", wanted[i], strings.Join(startOrder(), ", "))
		}
	}
	for _, name := range startOrder() {
		if slices.Contains(wanted, name) {
			hubs = append(hubs, name)
		}
	}
	return hubs, true, nil
}

func parseDuration(v string) (time.Duration, error) {
	if v == "" || v == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("want a duration as in 30s")
	}
	return d, nil
}

func parseCodes(v string) (codes []int, err error) {
	if v == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(v, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(item), 10, 8)
		if err != nil {
			return nil, fmt.Errorf("want a comma list of exit codes, 0 to 255")
		}
		codes = append(codes, int(n))
	}
	return codes, nil
}

// checkRunDir keeps a slip of the pen from emptying /run or a home directory:
// the directory is emptied at each start.
func checkRunDir(dir string) error {
	if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
		return fmt.Errorf("must be a clean absolute path")
	}
	if strings.Count(dir, "/") < 2 {
		return fmt.Errorf("must not be a top-level directory: it is emptied at each start")
	}
	return nil
}
