// SPDX-License-Identifier: AGPL-3.0-or-later

// Package lint finds what is likely wrong with the checks of a container: it takes each look once, for real, sees what that
// costs, and judges the settings by what came of it.
//
// In: the checks of the settings, where looks are taken, and what else is known of the container ([Container]). Out: a
// [Report], with the cost of each look and the findings.
//
// Cost is wall time, processor time (of this process and of what it started and waited for) and processes started. The latter
// is how far the kernel's last process id moved (/proc/loadavg, proc(5)), less threads of our own: what else starts
// in the container meanwhile counts too, so that it is at most that many. Looks are taken one after the other.
//
// Left out: what cannot be at all, which reading the settings refuses.
package lint

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// Levels of findings.
const (
	Error   = "error"   // it will not do what it is there for, or will do harm
	Warning = "warning" // it may be meant so
)

// Finding is one thing that is likely wrong.
type Finding struct {
	Check  string `json:"check,omitempty"` // "": all of them together
	Level  string `json:"level"`
	Text   string `json:"text"`
	Action string `json:"action"` // what to do about it
}

// Look is one that was taken.
type Look struct {
	Check    string       `json:"check"`
	Kind     string       `json:"kind"`
	Interval float64      `json:"interval"` // s; 0: somebody else reports
	State    health.State `json:"state"`
	Text     string       `json:"text"`
	Took     float64      `json:"took"`      // s
	CPU      float64      `json:"cpu"`       // s
	Started  int          `json:"processes"` // at most; -1: not known

	result probe.Result
}

// Report is what came of it.
type Report struct {
	Schema   int       `json:"schema"`
	Looks    []Look    `json:"looks"`
	Findings []Finding `json:"findings"` // errors first
}

// Errors counts the findings of level Error.
func (r *Report) Errors() (n int) {
	for _, f := range r.Findings {
		if f.Level == Error {
			n++
		}
	}
	return n
}

// Container is what is linted.
type Container struct {
	Checks map[string]setting.Check
	Place  probe.Place
	Ports  []uint16 // on which the service listens; nil: none, or nobody knows
	Own    []string // names of this container and addresses of its interfaces, besides the loopback
}

// Run takes the looks and judges. said is told of each check before its look.
func Run(ctx context.Context, c Container, said func(check string)) (Report, error) {
	report := Report{Schema: 1, Looks: []Look{}, Findings: []Finding{}}
	for _, name := range slices.Sorted(maps.Keys(c.Checks)) {
		said(name)
		l, err := take(ctx, name, c.Checks[name], c.Place)
		if err != nil {
			return report, err
		}
		if ctx.Err() != nil {
			return report, ctx.Err()
		}
		report.Looks = append(report.Looks, l)
	}
	report.Findings = append(report.Findings, judge(c, report.Looks)...)
	slices.SortStableFunc(report.Findings, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Check, b.Check)) })
	return report, nil
}

// take takes one look.
func take(ctx context.Context, name string, s setting.Check, place probe.Place) (Look, error) {
	l := Look{Check: name, Kind: s.Kind, Interval: s.Interval.Seconds()}
	look, err := probe.New(s, place)
	if err != nil {
		return l, err
	}
	if look == nil {
		l.Interval, l.Text = 0, "reports are awaited; nothing is looked at"
		return l, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	pid, threads, cpu, began := lastPID(), ownThreads(), processorTime(), time.Now()
	l.result = look(ctx)
	l.Took, l.CPU, l.Started = time.Since(began).Seconds(), (processorTime() - cpu).Seconds(), 0
	l.State, l.Text = l.result.State, l.result.Text
	if s.Kind == setting.KindExec { // no other kind starts anything
		l.Started = -1
		if after := lastPID(); pid > 0 && after >= pid {
			l.Started = max(after-pid-max(ownThreads()-threads, 0), 1)
		}
	}
	return l, nil
}

// processorTime is what this process and those it waited for have used.
func processorTime() (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil { // cannot fail with these
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

// lastPID is the id that was given to a process or thread last, in this namespace; 0: not known.
func lastPID() int {
	data, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(data))
	if err != nil || len(fields) < 5 {
		return 0
	}
	pid, _ := strconv.Atoi(fields[4]) // 0 where it is no number
	return pid
}

func ownThreads() int {
	entries, _ := os.ReadDir("/proc/self/task") // none: none is taken off
	return len(entries)
}
