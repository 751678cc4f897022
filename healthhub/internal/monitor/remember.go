// SPDX-License-Identifier: AGPL-3.0-or-later

package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/health"
)

// <RunDir>/reports.json remembers what was reported, for as long as the container runs: after a restart of healthhub alone
// what a program said to be broken is not well again, and a service that hangs is still awaited. It is written within a
// second of a report that says another state, of others every half a minute, and never forced to a disk. Times in it are
// seconds since the machine booted, which setting the date does not move.
const (
	reportsFile     = "reports.json"
	reportsSchema   = 1
	maxReportsBytes = 4 << 20
	rememberEvery   = 30 * time.Second
)

type memory struct {
	Schema  int            `json:"schema"`
	Uptime  float64        `json:"uptime"` // when it was written
	Final   bool           `json:"final"`  // by a healthhub that ended: no report came after it
	Service *memoryService `json:"service,omitempty"`
	Reports []memoryReport `json:"reports"`
}

// memoryService is what is kept of notified.
type memoryService struct {
	Process  time.Time `json:"process"`
	Ready    bool      `json:"ready"`
	Stopping bool      `json:"stopping"`
	Status   string    `json:"status,omitempty"`
	Watched  bool      `json:"watched"`
	Watchdog float64   `json:"watchdog,omitempty"` // seconds
}

type memoryReport struct {
	Name        string       `json:"name"`
	State       health.State `json:"state"`
	Text        string       `json:"text,omitempty"`
	Since       time.Time    `json:"since"` // when it became what it is
	At          time.Time    `json:"at"`
	Expires     float64      `json:"expires,omitempty"` // on the clock of Uptime; 0: never
	Overdue     string       `json:"overdue,omitempty"`
	Undeclared  bool         `json:"undeclared,omitempty"`
	Class       string       `json:"class"`
	Criticality string       `json:"criticality"`
}

// remember writes what was reported since it was written last, and says once that it cannot. final says that no more will come.
func (m *Monitor) remember(final bool) {
	m.mu.Lock()
	due := m.news || m.dirty && (final || time.Since(m.remembered) >= rememberEvery)
	if due {
		m.news, m.dirty = false, false
	}
	m.mu.Unlock()
	if !due {
		return
	}
	m.remembered = time.Now()
	err := m.writeMemory(final)
	if err != nil && !m.forgetful {
		m.Log.Warn().Err(err).Msg("what is reported is not remembered over a restart of healthhub")
	}
	m.forgetful = err != nil
}

func (m *Monitor) writeMemory(final bool) error {
	uptime, err := uptime()
	if err != nil {
		return err
	}
	m.mu.Lock()
	mem := m.memory(uptime)
	mem.Final = final
	m.mu.Unlock()
	data, err := json.Marshal(mem)
	if err != nil {
		return err
	}
	return atomicfile.WriteVolatile(filepath.Join(m.RunDir, reportsFile), append(data, '\n'), 0o600)
}

// memory is what is worth remembering. The caller holds the lock.
func (m *Monitor) memory(uptime float64) memory {
	now := time.Now()
	mem := memory{Schema: reportsSchema, Uptime: uptime, Reports: []memoryReport{}}
	if n := m.notified; n != (notified{}) {
		mem.Service = &memoryService{n.process, n.ready, n.stopping, n.status, n.watched, n.watchdog.Seconds()}
	}
	for _, c := range m.checks {
		if !c.reported || c.Name == setting.JobCheck { // which has a file of its own
			continue
		}
		r := memoryReport{
			Name: c.Name, State: c.state, Text: c.result.Text, Since: wall(c.since), At: wall(c.seen), Overdue: c.overdue,
			Undeclared: c.undeclared, Class: c.Class, Criticality: c.Criticality,
		}
		if !c.expires.IsZero() {
			r.Expires = uptime + c.expires.Sub(now).Seconds()
		}
		mem.Reports = append(mem.Reports, r)
	}
	return mem
}

// recall takes up what a healthhub before this one remembered in the same container. Settings that changed meanwhile go first.
func (m *Monitor) recall() {
	uptime, err := uptime()
	var mem memory
	if err == nil {
		mem, err = readMemory(m.RunDir, uptime)
	}
	if err != nil {
		m.Log.Warn().Err(err).Msg("what was reported before is forgotten")
		return
	}
	if s := mem.Service; s != nil {
		m.notified = notified{
			process: s.Process, ready: s.Ready, stopping: s.Stopping, status: health.CleanText(s.Status),
			watched: s.Watched, watchdog: time.Duration(s.Watchdog * float64(time.Second)),
		}
	}
	now := m.born
	for _, r := range mem.Reports {
		if health.CheckName(health.KindCheck, r.Name) != nil || r.Name == setting.JobCheck && m.Job.Every > 0 {
			continue
		}
		_, declared := m.index(r.Name)
		c, err := m.pushed(r.Name, now)
		if err != nil || c.Look != nil {
			continue
		}
		if !declared {
			c.undeclared, c.Class, c.Criticality = r.Undeclared, r.Class, r.Criticality
		}
		m.report(c, now, r.State, health.CleanText(r.Text), 0)
		if r.Expires != 0 {
			left := r.Expires - uptime
			if r.Expires > mem.Uptime && !mem.Final { // the same may have been said again since
				left += rememberEvery.Seconds()
			}
			c.expires = now.Add(time.Duration(left * float64(time.Second)))
		}
		c.runs, c.seen, c.overdue = 0, r.At, health.CleanText(r.Overdue)
		c.told = m.tell(c, now)
		c.flags, c.since = c.told.flags(c), r.Since
	}
}

func readMemory(dir string, uptime float64) (mem memory, err error) {
	path := filepath.Join(dir, reportsFile)
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return mem, nil
	case err != nil:
		return mem, err
	case !info.Mode().IsRegular() || info.Size() > maxReportsBytes:
		return mem, fmt.Errorf("%s must be a regular file of at most %d bytes", path, maxReportsBytes)
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &mem)
	}
	switch {
	case err != nil:
		return memory{}, fmt.Errorf("%s: %w", path, err)
	case mem.Schema < reportsSchema:
		return memory{}, fmt.Errorf("%s: schema %d, want %d or above", path, mem.Schema, reportsSchema)
	case mem.Uptime > uptime: // the machine was started anew
		return memory{}, nil
	}
	return mem, nil
}

// uptime is how many seconds ago the machine booted.
func uptime() (float64, error) {
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(data), " ")
	return strconv.ParseFloat(first, 64)
}
