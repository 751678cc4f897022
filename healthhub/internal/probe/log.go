// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// logRate looks at how many errors the container wrote lately, as loghub counts them in log.json. What was written
// before the first look is not told, nor is what was counted by a loghub that died since: it begins anew.
type logRate struct {
	runDir   string
	severity string
	max      uint64
	count    growth
	pid      int // of the loghub that counts
}

// severities is what log.json says in its section "log": how many events of each severity there were.
type severities struct {
	Severities *struct {
		Warn  uint64 `json:"warn"`
		Error uint64 `json:"error"`
		Fatal uint64 `json:"fatal"`
	} `json:"severities"`
}

func logLook(s setting.Check, runDir string) Func {
	l := &logRate{
		runDir: runDir, severity: cmp.Or(s.Severity, setting.DefaultSeverity), max: setting.DefaultMax,
		count: growth{window: cmp.Or(s.Window, setting.DefaultLogSpan)},
	}
	if s.Max != nil {
		l.max = uint64(*s.Max)
	}
	return func(context.Context) Result { return l.look() }
}

func (l *logRate) look() Result {
	f, err := health.ReadFile(l.runDir, health.LogFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return blind("loghub does not say what it counts: log.json is missing").advise("let loghub run: it is in HUB_HUBS, or that is not set")
	case err != nil:
		return blind("%v", err)
	case f.Stale():
		return blind("loghub is silent since %s", f.WrittenAt.UTC().Format(time.RFC3339)).advise("see hub/log and hub/init")
	}
	var counts severities
	if err := json.Unmarshal(f.Section, &counts); err != nil {
		return blind("log.json: %v", err)
	}
	if counts.Severities == nil {
		return unsupported("loghub copies lines and does not read them: it does with log.otlp, or log.stdout json")
	}
	n := counts.Severities.Fatal
	if l.severity != "fatal" {
		n += counts.Severities.Error
	}
	if l.severity == "warn" {
		n += counts.Severities.Warn
	}
	if f.PID != l.pid { // the same count of another loghub is none
		if l.pid != 0 {
			l.count.restart()
		}
		l.pid = f.PID
	}
	return l.judge(n)
}

func (l *logRate) judge(total uint64) Result {
	now := time.Now()
	first := len(l.count.samples) == 0
	grown := l.count.add(now, total)
	text := fmt.Sprintf("%s of severity %s or worse in the last %s", plural(grown, "event", "events"), l.severity, span(l.count.since(now)))
	if first {
		text = "events of severity " + l.severity + " or worse are counted from now on"
	}
	r := pass("%s", text)
	if grown > l.max {
		r = fail("%s, more than %d", text, l.max).advise("see what the container writes")
	}
	v := value("events", "1", float64(grown))
	v.Fail = some(float64(l.max) + 1)
	r.Values = []health.Value{v, value("total", "c", float64(total))}
	return r
}
