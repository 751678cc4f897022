// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/initctl"
)

const (
	// stuckAfter is how long a process may be found waiting for storage, without any work done meanwhile.
	stuckAfter = 30 * time.Second
	// fullFiles is the part of the files a process may have open from which on it is warned of.
	fullFiles = 0.9
	// ticks is in how many parts of a second the kernel counts a process's time for others (proc_pid_stat(5)).
	ticks = 100
)

// Process makes the look of kind process: hubinit says in init.json that the service runs, and its process is there
// and does something: it is no zombie, not stopped by a signal or a debugger, and does not wait for storage for
// long. What it uses are values; what this user may not read of it is left out.
func Process(runDir string) Func { return newProcess(runDir, "").look }

type process struct {
	runDir string
	root   tree

	stuck   procStat  // what was found waiting for storage
	stuckAt time.Time // since when it does nothing else; zero: it does not wait
}

func newProcess(runDir string, root tree) *process { return &process{runDir: runDir, root: root} }

func (p *process) look(context.Context) Result {
	state, err := initctl.ReadState(p.runDir)
	if err != nil {
		return blind("%v", err)
	}
	s := state.Service
	switch s.State {
	case initctl.ServiceRunning:
	case initctl.ServiceWaiting:
		return fail("not started: waits for %s", s.Waiting)
	case initctl.ServiceExited:
		return fail("exited%s", describeExit(s.LastExit))
	default:
		return fail("%s", s.State)
	}
	stat, err := p.root.procStat(s.PID)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("process %d is gone", s.PID)
	}
	if err != nil {
		return blind("%v", err)
	}
	r := p.judge(stat, s)
	r.Values = append(r.Values, value("restarts", "c", float64(s.Restarts)))
	return r
}

// judge looks at what the process does.
func (p *process) judge(stat procStat, s initctl.ServiceState) Result {
	waits := stat.state == 'D' && !p.stuckAt.IsZero() && stat.cpu == p.stuck.cpu && stat.pid == p.stuck.pid
	switch {
	case !waits:
		p.stuck, p.stuckAt = stat, time.Time{}
		if stat.state == 'D' {
			p.stuckAt = time.Now()
		}
	case time.Since(p.stuckAt) >= stuckAfter:
		return fail("process %d waits for storage since %s, and nothing can interrupt it", stat.pid, span(time.Since(p.stuckAt))).
			advise("see whether a disk or network storage hangs; the kernel's log says so (hung task)")
	}
	switch stat.state {
	case 'Z', 'X':
		return fail("process %d ended and is not yet cleared away (zombie)", stat.pid)
	case 'T', 't':
		return fail("process %d is stopped, by a signal or a debugger", stat.pid).advise("kill -CONT %d lets it go on", stat.pid)
	}
	text := fmt.Sprintf("process %d runs since %s", stat.pid, s.StartedAt.UTC().Format(time.RFC3339))
	if s.Restarts > 0 {
		text += ", restarted " + plural(uint64(s.Restarts), "time", "times")
	}
	r := Result{State: health.Pass, Text: text, Values: []health.Value{
		value("cpu", "s", stat.cpu.Seconds()), value("threads", "1", float64(stat.threads)),
	}}
	if rss := p.root.resident(stat.pid); rss > 0 {
		r.Values = append(r.Values, value("rss", "By", float64(rss)))
	}
	files, limit, ok := p.root.openFiles(stat.pid)
	if !ok {
		return r
	}
	v := value("open_files", "1", float64(files))
	if limit > 0 {
		v.Warn = some(fullFiles * float64(limit))
		if float64(files) >= *v.Warn {
			r.State = health.Warn
			r.Text = fmt.Sprintf("process %d has %d files open of %d that it may", stat.pid, files, limit)
			r = r.advise("raise its limit (ulimits in compose.yaml), or see why it does not close them")
		}
	}
	r.Values = append(r.Values, v)
	return r
}

func describeExit(e *initctl.Exit) string {
	switch {
	case e == nil:
		return ""
	case e.OOM:
		return fmt.Sprintf(" with code %d: out of memory", e.Code)
	case e.Signal != "":
		return fmt.Sprintf(" with code %d: killed by %s", e.Code, e.Signal)
	}
	return fmt.Sprintf(" with code %d", e.Code)
}

// procStat is what everybody may know of a process.
type procStat struct {
	pid     int
	state   byte
	cpu     time.Duration
	threads int
}

// procStat reads /proc/<pid>/stat (proc_pid_stat(5)).
func (t tree) procStat(pid int) (procStat, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	text, err := t.read(path)
	if err != nil {
		return procStat{}, err
	}
	fields := statFields(text)
	if len(fields) < 18 {
		return procStat{}, fmt.Errorf("%s: %d fields", path, len(fields))
	}
	var numbers [3]uint64
	for i, field := range []int{11, 12, 17} {
		if numbers[i], err = strconv.ParseUint(fields[field], 10, 64); err != nil {
			return procStat{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	return procStat{
		pid: pid, state: fields[0][0], cpu: time.Duration(numbers[0]+numbers[1]) * time.Second / ticks, threads: int(numbers[2]),
	}, nil
}

// resident is how many bytes of memory a process has; 0: not known. It reads statm: what stat says is off by what each
// processor has not yet added up since Linux 6.2, and 0 for small processes.
func (t tree) resident(pid int) uint64 {
	text, _ := t.read(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}

// statFields splits "12 (name, which may hold anything) S 1 …" behind the last parenthesis: state, parent, ….
func statFields(text string) []string {
	return strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
}

// openFiles counts the files that a process has open, and says how many it may; 0 is no limit. ok is false
// where this user may not know.
func (t tree) openFiles(pid int) (n, limit uint64, ok bool) {
	dir := t.path(fmt.Sprintf("/proc/%d/fd", pid))
	d, err := os.Open(dir)
	if err != nil {
		return 0, 0, false
	}
	defer d.Close()
	if info, err := d.Stat(); err == nil && info.Size() > 0 { // since Linux 6.2 the size is the number
		n = uint64(info.Size())
	} else {
		names, err := d.Readdirnames(-1)
		if err != nil {
			return 0, 0, false
		}
		n = uint64(len(names))
	}
	limits, _ := t.read(fmt.Sprintf("/proc/%d/limits", pid))
	for line := range strings.Lines(limits) {
		if rest, found := strings.CutPrefix(line, "Max open files"); found {
			limit, _ = strconv.ParseUint(strings.Fields(rest + " 0")[0], 10, 64) // "unlimited" is 0
		}
	}
	return n, limit, true
}
