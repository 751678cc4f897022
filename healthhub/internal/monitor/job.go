// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

// The check setting.JobCheck is how the service's work ended last, where health.job says that it is to end: pass for exit
// code 0, else fail, until the next end is due, which is every and grace after this one; then it fails. It is critical, if
// the settings do not declare a push check of that name.
//
// <StateDir>/job.json remembers the last end, and before the first one since when it is waited for, so that a container that
// is made anew each time it runs, or ends before it could say anything, is late all the same. It holds dates: what is left of
// the time is found once, at the start, and then counted on the monotonic clock. A date in the future counts as now. One from before a
// clock without a battery was set is too old, and makes the job late until its next end.
const (
	jobFileName  = "job.json"
	jobSchema    = 1
	maxJobBytes  = 4 << 10
	jobDateStyle = "2006-01-02 15:04:05Z"
)

type jobFile struct {
	Schema int           `json:"schema"`
	Since  time.Time     `json:"since"`          // when its first end began to be waited for
	Exit   *initctl.Exit `json:"exit,omitempty"` // the last one
}

// Exited says how the service ended. An end that is known already, as after a restart of healthhub, changes nothing.
func (m *Monitor) Exited(e initctl.Exit) {
	m.mu.Lock()
	known := m.job.Exit
	if m.Job.Every == 0 || known != nil && !e.At.After(known.At) && known.At.Sub(e.At) < m.jobTime() {
		m.mu.Unlock()
		return
	}
	m.job.Exit = &e
	m.sayJob(time.Now())
	keep := m.job
	m.mu.Unlock()
	m.keepJob(keep)
	m.refresh()
}

// jobTime is from one end to when the next one is overdue.
func (m *Monitor) jobTime() time.Duration { return m.Job.Every + m.Job.Grace }

// addJob makes the check of the job as it was left.
func (m *Monitor) addJob() {
	if m.Job.Every == 0 {
		return
	}
	if !slices.ContainsFunc(m.checks, func(c *check) bool { return c.Name == setting.JobCheck }) {
		c := setting.DefaultCheck(setting.KindPush)
		c.Criticality, c.TTL = setting.Critical, m.jobTime()
		m.checks = append(m.checks, newCheck(Check{Name: setting.JobCheck, Check: c}, m.born))
		slices.SortFunc(m.checks, byName)
	}
	var err error
	if m.job, err = readJob(m.StateDir); err != nil {
		m.Log.Warn().Err(err).Msg("how the job ended before is not known")
	}
	if m.job.Since.IsZero() {
		m.job = jobFile{Schema: jobSchema, Since: wall(m.born)}
		m.keepJob(m.job)
	}
	m.sayJob(m.born)
}

// sayJob tells of the last end. The caller holds the lock, or has the monitor to itself.
func (m *Monitor) sayJob(now time.Time) {
	i, ok := m.index(setting.JobCheck)
	if !ok || m.checks[i].Look != nil {
		return
	}
	left := func(from time.Time) time.Duration { return m.jobTime() - max(0, wall(now).Sub(from)) }
	c, e := m.checks[i], m.job.Exit
	if e == nil {
		c.awaited = now.Add(left(m.job.Since))
		c.overdue = fmt.Sprintf("the job has not ended once since %s, and is due every %s",
			m.job.Since.UTC().Format(jobDateStyle), setting.Words(m.Job.Every))
		return
	}
	ended := fmt.Sprintf("ended %s with %s", e.At.UTC().Format(jobDateStyle), ending(e))
	state := health.Pass
	if e.Code != 0 {
		state = health.Fail
	}
	m.report(c, now, state, "the job "+ended, 0)
	c.seen, c.expires = e.At, now.Add(left(e.At)) // it may be over already
	c.overdue = fmt.Sprintf("the job is due since %s; the last time it %s", e.At.Add(m.Job.Every).UTC().Format(jobDateStyle), ended)
	if state != health.Pass {
		c.result.Action = "see the job's log of that time"
	}
}

func ending(e *initctl.Exit) string {
	switch {
	case e.OOM:
		return fmt.Sprintf("exit code %d: out of memory", e.Code)
	case e.Signal != "":
		return fmt.Sprintf("exit code %d: killed by %s", e.Code, e.Signal)
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

func (m *Monitor) keepJob(j jobFile) {
	if m.StateDir == "" {
		return
	}
	data, err := json.Marshal(j)
	if err == nil {
		err = os.MkdirAll(m.StateDir, 0o700)
	}
	if err == nil {
		err = atomicfile.Write(filepath.Join(m.StateDir, jobFileName), append(data, '\n'), 0o600)
	}
	if err != nil {
		m.Log.Warn().Err(err).Msg("how the job ended is not remembered over a restart")
	}
}

func readJob(dir string) (j jobFile, err error) {
	if dir == "" {
		return j, nil
	}
	path := filepath.Join(dir, jobFileName)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return j, nil
	case err != nil:
		return j, err
	case !info.Mode().IsRegular() || info.Size() > maxJobBytes:
		return j, fmt.Errorf("%s must be a regular file of at most %d bytes", path, maxJobBytes)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &j)
	}
	if err == nil && (j.Schema < jobSchema || j.Since.IsZero()) {
		err = fmt.Errorf("%s: schema %d since %v", path, j.Schema, j.Since)
	}
	if err != nil {
		return jobFile{}, err
	}
	return j, nil
}
