// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// What the levels of memory are where nobody says. What can be dropped is not counted, so 90 % are close.
const memoryWarn, memoryFail = "90%", "97%"

// memory looks at the memory of a container or of a host.
//
// A container's is what its control group uses without the cache of files that are not in use, as `docker stats` counts,
// of the group's limit, or of a group's above it that is nearer to its own. Without a limit it is a part of the machine's memory:
// that the machine as a whole runs short is the host's to say. A host's is what is not available (MemAvailable).
//
// Processes that the kernel killed for memory are told for a while, as a warning: what is left of the service may work.
type memory struct {
	root   tree
	levels levels
	kills  growth
	group  cgroup // zero: not found yet
}

func memoryLook(s setting.Check, root tree) (Func, error) {
	l, err := parseLevels(s, memoryWarn, memoryFail)
	if err != nil {
		return nil, err
	}
	m := &memory{root: root, levels: l, kills: growth{window: cmp.Or(s.Window, setting.DefaultTold)}}
	if s.Scope == setting.ScopeHost {
		return func(context.Context) Result { return m.host() }, nil
	}
	return func(context.Context) Result { return m.container() }, nil
}

// host looks at /proc/meminfo and /proc/vmstat.
func (m *memory) host() Result {
	info, err := m.root.read("/proc/meminfo")
	if err != nil {
		return unreadable("memory", err)
	}
	whole, ok1 := field(info, "MemTotal")
	free, ok2 := field(info, "MemAvailable")
	if !ok1 || !ok2 || whole == 0 {
		return unsupported("memory: this kernel does not say what is available")
	}
	stat, _ := m.root.read("/proc/vmstat") // without it nothing is known of kills
	kills, counted := field(stat, "oom_kill")
	return m.judge(use{used: whole - min(free, whole), whole: whole}, kills, counted)
}

// container looks at the control group.
func (m *memory) container() Result {
	if m.group == (cgroup{}) {
		group, err := m.root.findCgroup("memory")
		if err != nil {
			return unreadable("memory of the control group", err)
		}
		m.group = group
	}
	total, err := m.root.read("/proc/meminfo")
	if err != nil {
		return unreadable("memory", err)
	}
	machine, _ := field(total, "MemTotal")
	nearest, err := m.nearest(machine)
	if err != nil {
		return m.lost(err)
	}
	kills, counted := m.root.oomKills(m.group)
	return m.judge(nearest, kills, counted)
}

// lost is the result where the group found has no files for memory.
func (m *memory) lost(err error) Result {
	group := m.group
	m.group = cgroup{} // it may have moved: it is looked for anew
	if !group.v2 || !errors.Is(err, fs.ErrNotExist) {
		return unreadable("memory of the control group", err)
	}
	controllers, err := m.root.read(group.dir + "/cgroup.controllers")
	if err == nil && slices.Contains(strings.Fields(controllers), "memory") {
		return m.host() // the root group, which has none of its own
	}
	return unsupported("memory: the kernel counts none for control groups here, and limits of it do not hold; " +
		"a Raspberry Pi does with cgroup_enable=memory on its kernel's command line")
}

// use is how much is used, and of what.
type use struct {
	used, whole uint64
	unlimited   bool
}

// nearest finds the group, of the own one and those above it that are seen, that is nearest to its limit.
func (m *memory) nearest(machine uint64) (use, error) {
	best, err := m.root.memoryUse(m.group.dir, m.group.v2, machine)
	if err != nil {
		return use{}, err
	}
	for dir := m.group.dir; dir != m.group.top && len(dir) > 1; {
		dir = filepath.Dir(dir)
		u, err := m.root.memoryUse(dir, m.group.v2, machine)
		if err != nil {
			break // the uppermost group of version 2 has neither limit nor usage
		}
		if !u.unlimited && (best.unlimited || u.part() > best.part()) {
			best = u
		}
	}
	return best, nil
}

func (u use) part() float64 {
	if u.whole == 0 {
		return 0
	}
	return float64(u.used) / float64(u.whole)
}

// memoryUse is what a group uses without what can be dropped at once, and its limit.
func (t tree) memoryUse(dir string, v2 bool, machine uint64) (use, error) {
	limitName, usageName, cache := "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"
	if v2 {
		limitName, usageName, cache = "/memory.max", "/memory.current", "inactive_file"
	}
	used, err := t.number(dir + usageName)
	if err != nil {
		return use{}, err
	}
	limit, err := t.number(dir + limitName)
	if err != nil {
		return use{}, err
	}
	stat, err := t.read(dir + "/memory.stat")
	if err != nil {
		return use{}, err
	}
	idle, _ := field(stat, cache)
	u := use{used: used - min(idle, used), whole: limit}
	if limit >= machine { // version 1 says about 2^63 for none
		u.whole, u.unlimited = machine, true
	}
	return u, nil
}

// oomKills counts the processes of a group that were killed for memory, whoever's limit it was.
func (t tree) oomKills(c cgroup) (n uint64, ok bool) {
	name := "/memory.oom_control" // counts since Linux 4.13
	if c.v2 {
		name = "/memory.events"
	}
	text, err := t.read(c.dir + name)
	if err != nil {
		return 0, false
	}
	return field(text, "oom_kill")
}

// OOMKills makes a counter of the processes of this container that were killed for want of memory; false: the kernel does not say.
func OOMKills() func() (n uint64, ok bool) {
	const root = tree("/")
	var group cgroup
	return func() (n uint64, ok bool) {
		if group == (cgroup{}) {
			var err error
			if group, err = root.findCgroup("memory"); err != nil {
				return 0, false
			}
		}
		return root.oomKills(group)
	}
}

// judge makes a result; counted says whether kills is known.
func (m *memory) judge(u use, kills uint64, counted bool) Result {
	text := fmt.Sprintf("%s of %s used", percent(u.part()), size(u.whole))
	if u.unlimited {
		text = fmt.Sprintf("%s used, without a limit: %s of the machine's %s", size(u.used), percent(u.part()), size(u.whole))
	}
	left := int64(min(u.whole-min(u.used, u.whole), math.MaxInt64))
	r := m.levels.judge(text, u.part(), left, []health.Value{
		m.levels.value("used", u.part(), float64(u.whole)), value("usage", "By", float64(u.used)), value("limit", "By", float64(u.whole)),
	})
	if !counted {
		return r
	}
	now := time.Now()
	killed := m.kills.add(now, kills)
	r.Values = append(r.Values, value("oom_kills", "c", float64(kills)))
	if killed > 0 {
		r.State = max(r.State, health.Warn)
		r.Text = health.CleanText(fmt.Sprintf("%s killed for want of memory in the last %s; %s", plural(killed, "process", "processes"), span(m.kills.window), r.Text))
	}
	return r
}
