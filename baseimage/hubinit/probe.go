// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// probeBytes bounds the probe's line; Docker keeps five outputs of up to 4096 bytes.
const probeBytes = 200

// probe is the HEALTHCHECK: it reads what hubinit and healthhub wrote, asks
// nobody and runs nothing. 0: pass, or warn with everything up; 1: all else.
func probe(runDir string, out io.Writer) int {
	healthy, text := judge(runDir)
	line := strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	if len(line) > probeBytes-1 {
		line = strings.ToValidUTF8(line[:probeBytes-4], "") + "..."
	}
	_, _ = io.WriteString(out, line+"\n") // the exit code is what counts
	if healthy {
		return 0
	}
	return 1
}

// judge looks at the processes first, then at what healthhub says.
func judge(runDir string) (healthy bool, text string) {
	var schema, pid, service, waiting, healthhub string
	err := readFields(filepath.Join(runDir, initctl.StateFile), map[string]*string{
		"schema": &schema, "pid": &pid, "service.state": &service, "service.waiting": &waiting,
		"hubs." + initctl.Healthhub + ".state": &healthhub,
	})
	number, noNumber := strconv.Atoi(pid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, "fail: no " + runDir + "/init.json: hubinit does not run here (was ENTRYPOINT replaced?) or cannot write there"
	case err != nil:
		return false, "fail: " + err.Error()
	case !known(schema) || noNumber != nil || number < 1:
		return false, "fail: " + runDir + "/init.json was not written by this hubinit: schema " + schema + ", pid " + pid
	case syscall.Kill(number, 0) == syscall.ESRCH:
		return false, "fail: hubinit (pid " + pid + ") is not running"
	case service == initctl.ServiceWaiting || service == initctl.ServiceStarting:
		return false, "starting: service " + service + " " + waiting
	case service != initctl.ServiceRunning:
		return false, "fail: service " + service
	}
	switch healthhub {
	case "":
		return true, "pass: service running (no healthhub)"
	case initctl.HubOff, initctl.HubDone:
		return true, "warn: service running, healthhub " + healthhub
	}
	return judgeHealth(runDir)
}

func judgeHealth(runDir string) (healthy bool, text string) {
	var schema, until, name, said, ready string
	err := readFields(filepath.Join(runDir, health.HealthFile+".json"), map[string]*string{
		"schema": &schema, "valid_until_boot": &until, "health.state": &name, "health.text": &said, "healthhub.ready": &ready,
	})
	if errors.Is(err, fs.ErrNotExist) {
		return false, "starting: healthhub has not reported yet"
	}
	if err != nil {
		return false, "unknown: " + err.Error()
	}
	state, err := health.ParseState(name)
	end, noEnd := strconv.ParseFloat(until, 64)
	switch {
	case err != nil || !known(schema) || until != "" && noEnd != nil:
		return false, "unknown: " + runDir + "/health.json was not written by this healthhub: schema " + schema + ", state " + name
	case (&health.File{ValidUntilBoot: end}).Stale():
		return false, "unknown: healthhub's report is stale"
	}
	// Healthhub's own word, where it says one: a warning does not make well what has not come up, which others wait for, and
	// nobody is to restart the service for what is only forced.
	if word, err := health.ParseState(ready); err == nil {
		state, name = word, ready
	}
	text = name
	if said != "" {
		text += ": " + said
	}
	return state == health.Pass || state == health.Warn, text
}

// known says whether a file's version is the first or a later one, whose known
// fields keep their meaning.
func known(schema string) bool {
	n, err := strconv.Atoi(schema)
	return err == nil && n >= 1
}
