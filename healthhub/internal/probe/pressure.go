// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// stall is one line of a pressure file and from where on it is trouble. That a process waits for a processor is
// common; that all of them wait for memory or storage means that no work is done meanwhile.
type stall struct {
	resource, line string
	levels         levels
}

var stalls = []struct{ resource, line, warn, fail string }{
	{setting.ResourceCPU, setting.StallSome, "80%", "95%"},
	{setting.ResourceMemory, setting.StallFull, "10%", "40%"},
	{setting.ResourceIO, setting.StallFull, "40%", "80%"},
}

// pressureLook makes the look of kind pressure: the part of the time in which processes wait for what they need
// (Documentation/accounting/psi.rst). A container's pressure is kept by control groups of version 2 alone, a host's stands in
// /proc/pressure.
func pressureLook(s setting.Check, root tree) (Func, error) {
	var want []stall
	for _, d := range stalls {
		if s.Resource != "" && s.Resource != d.resource {
			continue
		}
		l, err := parseLevels(s, d.warn, d.fail)
		if err != nil {
			return nil, err
		}
		want = append(want, stall{d.resource, cmp.Or(s.Stall, d.line), l})
	}
	average := fmt.Sprintf("avg%d=", int(cmp.Or(s.Window, setting.DefaultAverage)/time.Second))
	if s.Scope == setting.ScopeHost {
		return func(context.Context) Result { return pressure(root, want, "/proc/pressure/", "", average) }, nil
	}
	var group cgroup // zero: to be found
	return func(context.Context) Result {
		if group == (cgroup{}) {
			var err error
			if group, err = root.findCgroup(""); err != nil {
				group = cgroup{}
				return unsupported("pressure: a container's is kept by control groups of version 2, and this machine has none; " +
					"the machine's is had with scope host")
			}
		}
		r := pressure(root, want, group.dir+"/", ".pressure", average)
		if r.Blind {
			group = cgroup{} // it may have moved
		}
		return r
	}, nil
}

func pressure(root tree, want []stall, dir, suffix, average string) Result {
	state, level := health.Pass, ""
	var parts []string
	var values []health.Value
	for _, w := range want {
		text, err := root.read(dir + w.resource + suffix)
		if errors.Is(err, syscall.EOPNOTSUPP) {
			return unsupported("pressure: this kernel was started without it (psi=1 on its command line turns it on)")
		}
		if err != nil {
			return unreadable("pressure", err)
		}
		part, ok := stalled(text, w.line, average)
		if !ok {
			return unsupported("pressure: this kernel keeps no %s for %s", w.line, w.resource)
		}
		values = append(values, w.levels.value(w.resource+"."+w.line, part, 0))
		parts = append(parts, fmt.Sprintf("%s %s", w.resource, percent(part)))
		if s, l := w.levels.state(part, 0); s > state {
			state, level = s, fmt.Sprintf(" (%s: %v at %s)", w.resource, s, l)
		}
	}
	r := Result{State: state, Values: values, Text: "time lost waiting: " + strings.Join(parts, ", ") + level}
	if state > health.Pass {
		r = r.advise("see what runs there (top): there is too much of it, or one of its programs is out of bounds")
	}
	return r
}

// stalled reads "some avg10=0.12 avg60=…" as a part of one.
func stalled(text, line, average string) (part float64, ok bool) {
	for l := range strings.Lines(text) {
		rest, found := strings.CutPrefix(l, line+" ")
		if !found {
			continue
		}
		for _, word := range strings.Fields(rest) {
			if number, found := strings.CutPrefix(word, average); found {
				percent, err := strconv.ParseFloat(number, 64)
				return percent / 100, err == nil && percent >= 0 && percent <= 100
			}
		}
	}
	return 0, false
}
