// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/probe"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/initctl"
)

// fileGrace is how long a hub that runs may be without a valid state file.
const fileGrace = 15 * time.Second

// hubs tells how the other hubs and hubinit are, from their files in the run directory: the checks hub/config,
// hub/identity, hub/drift, hub/log and hub/init. What a hub says of itself is told as it says it; that it
// says nothing, restarts or loses bytes is a warning, and so are a certificate that should be a new one by now and a
// container whose first process is not hubinit. What does not run because nobody wants it is not told of.
type hubs struct {
	dir        string
	supervised bool            // hubinit started us
	files      *identity.Files // whose certificate is looked at
	proc       string          // /proc
	parent     int             // the process that started us, 0: one outside of the container
	job        bool            // the service is one that ends (health.job)
	oomKills   func() (n uint64, ok bool)
	ends       []time.Time // when the service of earlier lives of this container ended by itself

	mu     sync.Mutex // guards what follows
	checks []health.Node
	silent map[string]time.Time // hub → since when it runs without a valid file
	past   past
	killed uint64 // for want of memory, as far as it could be read
}

func newHubs(dir string, supervised bool, files *identity.Files) *hubs {
	return &hubs{
		dir: dir, supervised: supervised, files: files, proc: "/proc", parent: os.Getppid(), oomKills: probe.OOMKills(), silent: map[string]time.Time{},
	}
}

// nodes gives the checks as of the last look.
func (h *hubs) nodes() []health.Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.checks)
}

// look reads the files.
func (h *hubs) look(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var next []health.Node
	state, err := initctl.ReadState(h.dir)
	switch first := h.bypassed(state); {
	case first != "":
		next = append(next, warn("init", now, "hubinit did not start healthhub: the first process here is %s, which nothing supervises", first).
			do("leave out the ENTRYPOINT that replaces hubinit, and give the program as CMD"))
		state = nil // of an earlier life
	case errors.Is(err, fs.ErrNotExist) && h.supervised:
		next = append(next, warn("init", now, "hubinit does not say how the service is: it cannot write init.json").
			do("see that the run directory (a tmpfs at /run/hub) can be written and has room"))
	case errors.Is(err, fs.ErrNotExist): // no hubinit
	case err != nil:
		next = append(next, warn("init", now, "%v", err).do("see that the run directory has room and that only hubinit writes init.json"))
	default:
		if n, ok := h.oomKills(); ok {
			h.killed = n
		}
		next = append(next, h.past.hubinit(state, h.killed, now))
		next = append(next, h.past.facts(state, h.job, h.ends, now)...)
	}
	next = append(next, h.hub(initctl.Confighub, health.ConfigFile, state, now)...)
	next = h.timeLeft(next, now)
	next = append(next, h.hub(initctl.Loghub, health.LogFile, state, now)...)
	prev, parent := health.Node{Children: h.checks}, health.Node{Children: next}
	rollup.CarrySince(&prev, &parent, now.Round(0).UTC())
	h.checks = parent.Children
}

// bypassed names the container's first process where that is somebody's service, which has healthhub started beside itself, and
// hubinit was left out; else it is "". Nothing was left out on a machine, where that process is its init, or where people
// started healthhub from a shell.
func (h *hubs) bypassed(state *initctl.State) string {
	if h.supervised || h.parent > 1 || state != nil && comm(h.proc, state.PID) == "hubinit" {
		return ""
	}
	switch first := comm(h.proc, 1); first {
	case "", "hubinit", "healthhub", "systemd", "init", "launchd":
		return ""
	default:
		return first
	}
}

// comm is what the kernel calls a process (proc_pid_comm(5)): the first 15 bytes of its program's name; "" if unknown.
func comm(proc string, pid int) string {
	data, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "comm"))
	if err != nil {
		return ""
	}
	return health.CleanText(string(data))
}

// renewBy is the part of a certificate's lifetime that is left when it is overdue. confighub renews at half of it, give
// or take a tenth: by then several tries have failed.
const renewBy = 0.3

// timeLeft adds to hub/identity what is left of the certificate's life, whoever keeps it. That it is overdue is seen from
// here, so that a confighub that hangs does not hide it.
func (h *hubs) timeLeft(checks []health.Node, now time.Time) []health.Node {
	if h.files == nil {
		return checks
	}
	cert, err := h.files.Certificate()
	if err != nil {
		return checks // who owns the identity says why there is none
	}
	const name = rollup.HubPrefix + "identity"
	i := slices.IndexFunc(checks, func(n health.Node) bool { return n.Name == name })
	if i < 0 {
		i = len(checks)
		checks = append(checks, node("identity", health.Pass, now, "valid until "+cert.Leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	n := &checks[i]
	left := cert.Leaf.NotAfter.Sub(now).Seconds() / cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore).Seconds()
	limit := renewBy
	n.Values = []health.Value{{Name: "lifetime_left", Value: max(0, math.Round(left*1000)/1000), Unit: "1", Warn: &limit}}
	if left < renewBy && n.State < health.Warn {
		n.State = health.Warn
		n.Text = fmt.Sprintf("the certificate should have been renewed by now: it ends at %s", cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
		n.Action = "see that the certificate authority (identity.ca_url) runs, is reachable from here and that both clocks are right"
	}
	return checks
}

func node(name string, s health.State, now time.Time, text string) health.Node {
	return health.Node{
		Kind: health.KindCheck, Name: rollup.HubPrefix + name, State: s, ObservedAt: now.Round(0).UTC(), Text: health.CleanText(text),
	}
}

func warn(name string, now time.Time, format string, args ...any) told {
	return told{node(name, health.Warn, now, fmt.Sprintf(format, args...))}
}

// told is a warning that still lacks what to do about it.
type told struct{ node health.Node }

func (t told) do(action string) health.Node {
	t.node.Action = health.CleanText(action)
	return t.node
}

// hub tells of one hub by the file that it writes; state is nil without hubinit.
func (h *hubs) hub(program, name string, state *initctl.State, now time.Time) []health.Node {
	var is *initctl.HubState
	if state != nil {
		is = state.Hubs[program]
		if is == nil || is.State == initctl.HubDone || is.State == initctl.HubOff {
			delete(h.silent, program)
			return nil // not wanted, nothing to do, or told of by hub/init
		}
	}
	f, err := health.ReadFile(h.dir, name)
	if err == nil && !f.Stale() {
		delete(h.silent, program)
		return flatten(name, f.Health, f.WrittenAt)
	}
	if is == nil {
		return nil // without hubinit nobody says that it should run
	}
	since, ok := h.silent[program]
	if !ok {
		since = now
		h.silent[program] = now
	}
	if now.Sub(since) < fileGrace {
		return nil
	}
	var n told
	switch {
	case errors.Is(err, fs.ErrNotExist):
		n = warn(name, now, "%s runs but has not said how it is (%s.json is missing)", program, name)
	case err != nil:
		n = warn(name, now, "%v", err)
	default:
		n = warn(name, now, "%s is silent since %s: it hangs, or cannot write", program, f.WrittenAt.UTC().Format(time.RFC3339))
	}
	return []health.Node{n.do("look at its log, and whether the run directory has room; the service is not touched by this")}
}

// flatten makes checks of a hub's node: one for each of its children, or for itself.
func flatten(name string, n health.Node, at time.Time) []health.Node {
	if len(n.Children) == 0 {
		n.Children = []health.Node{n}
		n.Children[0].Name = name
	}
	var out []health.Node
	for _, c := range n.Children {
		c.Kind, c.Name = health.KindCheck, rollup.HubPrefix+c.Name
		c.Text, c.Action, c.Children, c.Score = health.CleanText(c.Text), health.CleanText(c.Action), nil, nil
		if c.ObservedAt.IsZero() {
			c.ObservedAt = at
		}
		if health.CheckName(c.Kind, c.Name) == nil {
			out = append(out, c)
		}
	}
	return out
}
