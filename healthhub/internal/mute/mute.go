// SPDX-License-Identifier: AGPL-3.0-or-later

// Package mute keeps what somebody said, for a time, is known and shall not count: a list of mutes, one a path (see
// health.Node.Find), each with an end, a reason and an author.
//
// A mute hides nothing: what is muted keeps its true state in the tree, with the flag muted. Package rollup leaves it out
// of the state and the score of what is above it, which says how many are muted.
//
// A mute ends at its time; when what it mutes passes, for then there is nothing to mute any more; and when that gets worse
// than it was when it was muted, in state or in the number of troubled parts, for that is something nobody has
// said to know. A sticky mute ends at its time alone, and may be given for what is well, before work on it.
// What is silent but may come back within its grace (stale, not missing) is judged by nobody: after a restart of the server
// all are silent, and mutes must survive that.
//
// The list is one file, replaced with every change:
//
//	{"schema":1,"mutes":[{"path":"web.shop.vm1/page","at":"…","until":"…","reason":"disk ordered","by":"ops","state":"fail","count":1}]}
//
// Limits: 1,000 mutes of at most 30 days. Ends are counted on the monotonic clock, after a restart on the wall clock.
//
// Left out: who may mute (the server's), and times that come again, such as every night.
package mute

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// Limits of a list.
const (
	MaxMutes       = 1000
	MinFor         = time.Second
	MaxFor         = 30 * 24 * time.Hour
	maxReasonBytes = 500
	maxByBytes     = 100
)

// Errors of Add. That a path names nothing is health.ErrNotFound.
var (
	ErrPasses = errors.New("there is nothing to mute; a sticky mute is for what is still to come")
	ErrFull   = errors.New("too many mutes: remove one first")
)

// Mute is one.
type Mute struct {
	Path   string       `json:"path"` // from the root of the tree, the host at the fleet included
	At     time.Time    `json:"at"`
	Until  time.Time    `json:"until"`
	Reason string       `json:"reason"`
	By     string       `json:"by"`
	Sticky bool         `json:"sticky,omitempty"`
	State  health.State `json:"state"` // of what is muted, when it was
	Count  int          `json:"count"` // of its troubled parts then, itself for one; see rollup.Troubled
}

// Request asks for a mute. All but Sticky is needed.
type Request struct {
	Path   string `json:"path"`
	For    string `json:"for"` // a duration as in 2h30m or 3d, MinFor to MaxFor
	Reason string `json:"reason"`
	By     string `json:"by"`
	Sticky bool   `json:"sticky,omitempty"`
}

// End is a mute that is no more, and why.
type End struct {
	Mute Mute
	Why  string // "its time is over", "it passes", "it got worse: fail, was warn"
}

// List is the mutes of one tree. Its methods may be called from several goroutines.
type List struct {
	file   string // "": none
	failed func(error)

	mu      sync.Mutex // guards mutes and changes
	mutes   []Mute     // sorted by path; Until has the monotonic clock unless it came from the file
	changes uint64     // so far

	writing sync.WaitGroup // writes that nobody waits for
	disk    sync.Mutex     // held while the file is written; guards written
	written uint64         // the change that the file has
}

// Add mutes what the request's path names in the tree, in place of an earlier mute of it, and returns the mute.
func (l *List) Add(root *health.Node, r Request) (Mute, error) {
	d, err := parseFor(r.For)
	if err != nil {
		return Mute{}, err
	}
	chain, err := root.Find(r.Path)
	if err != nil {
		return Mute{}, err
	}
	target := chain[len(chain)-1]
	now := time.Now()
	m := Mute{
		Path: health.Path(chain), At: now.Round(0).UTC(), Until: now.Add(d), Sticky: r.Sticky,
		Reason: health.CleanText(r.Reason), By: health.CleanText(r.By), State: target.State, Count: rollup.Troubled(target),
	}
	switch {
	case m.Reason == "" || len(m.Reason) > maxReasonBytes:
		return Mute{}, fmt.Errorf("reason: must say in 1 to %d bytes why %s is muted", maxReasonBytes, m.Path)
	case m.By == "" || len(m.By) > maxByBytes:
		return Mute{}, fmt.Errorf("by: must say in 1 to %d bytes who mutes %s", maxByBytes, m.Path)
	case !m.Sticky && m.State == health.Pass:
		return Mute{}, fmt.Errorf("%s passes: %w", m.Path, ErrPasses)
	}
	list, err := l.put(m)
	if err != nil {
		return Mute{}, err
	}
	l.write(list)
	return m.shown(), nil
}

// put puts a mute on the list.
func (l *List) put(m Mute) (kept, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, again := l.search(m.Path)
	switch {
	case again:
		l.mutes[i] = m
	case len(l.mutes) >= MaxMutes:
		return kept{}, fmt.Errorf("%d mutes: %w", len(l.mutes), ErrFull)
	default:
		l.mutes = slices.Insert(l.mutes, i, m)
	}
	return l.kept(), nil
}

// Remove ends the mute of exactly that path. The error wraps health.ErrNotFound if there is none.
func (l *List) Remove(path string) error {
	l.mu.Lock()
	i, found := l.search(path)
	if !found {
		l.mu.Unlock()
		return fmt.Errorf("mute of %.80q: %w", path, health.ErrNotFound)
	}
	l.mutes = slices.Delete(l.mutes, i, i+1)
	left := l.kept()
	l.mu.Unlock()
	l.write(left)
	return nil
}

// All lists the mutes by path.
func (l *List) All() []Mute {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Mute, len(l.mutes))
	for i, m := range l.mutes {
		out[i] = m.shown()
	}
	return out
}

// Muted reports whether there is a mute of exactly that path: of a group, say, which is no part of a tree before it is summed up.
func (l *List) Muted(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, found := l.search(path)
	return found
}

// Look ends the mutes whose time is over, and those that ended with what they mute: root is the tree that has been summed up
// last. Call it with every new sum, before Apply. It does not wait for the file: a mute whose end a crash forgets ends once more.
func (l *List) Look(root *health.Node) []End {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mutes) == 0 {
		return nil
	}
	now := time.Now()
	var ends []End
	l.mutes = slices.DeleteFunc(l.mutes, func(m Mute) bool {
		why := m.end(root, now)
		if why != "" {
			ends = append(ends, End{m.shown(), why})
		}
		return why != ""
	})
	if len(ends) > 0 {
		left := l.kept()
		l.writing.Go(func() { l.write(left) })
	}
	return ends
}

// end says why a mute ends now, or nothing.
func (m *Mute) end(root *health.Node, now time.Time) string {
	if !now.Before(m.Until) {
		return "its time is over"
	}
	chain, err := root.Find(m.Path)
	if m.Sticky || err != nil {
		return "" // what is not there may come back within the time
	}
	n := chain[len(chain)-1]
	switch {
	case n.HasFlag(health.FlagStale) && !n.HasFlag(health.FlagMissing):
		return ""
	case n.State == health.Pass:
		return "it passes"
	case n.State > m.State:
		return fmt.Sprintf("it got worse: %v, was %v", n.State, m.State)
	}
	if count := rollup.Troubled(n); count > m.Count {
		return fmt.Sprintf("it got worse: %d parts are in trouble, were %d", count, m.Count)
	}
	return ""
}

// Apply flags what is muted below root. Nodes are copied before they are changed, so that slices of children may be shared with
// other trees; the root itself is changed. It returns which of the root's children it touched, in order.
func (l *List) Apply(root *health.Node) (touched []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.mutes {
		chain, err := root.Find(l.mutes[i].Path)
		if err != nil {
			continue // not there now
		}
		first := flag(chain)
		if at, found := slices.BinarySearch(touched, first); !found {
			touched = slices.Insert(touched, at, first)
		}
	}
	return touched
}

// flag sets the flag at the end of a chain and returns which child of its first node the second one is.
func flag(chain []*health.Node) (first int) {
	parent := chain[0]
	for level, next := range chain[1:] {
		i := slices.IndexFunc(parent.Children, func(n health.Node) bool { return n.Kind == next.Kind && n.Name == next.Name })
		parent.Children = slices.Clone(parent.Children)
		if parent = &parent.Children[i]; level == 0 {
			first = i
		}
	}
	parent.SetFlag(health.FlagMuted, true)
	return first
}

// search finds the mute of a path. The caller holds mu.
func (l *List) search(path string) (int, bool) {
	return slices.BinarySearchFunc(l.mutes, path, func(m Mute, path string) int { return strings.Compare(m.Path, path) })
}

// shown is a mute as others see it: without the monotonic clock.
func (m Mute) shown() Mute {
	m.Until = m.Until.Round(0).UTC()
	return m
}

// parseFor reads how long: what time.ParseDuration takes, or days, as in 3d.
func parseFor(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, isDays := strings.CutSuffix(s, "d"); isDays {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 8)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < MinFor || d > MaxFor {
		return 0, fmt.Errorf("for: must be between 1s and 30d, as in 2h30m or 3d, got %.40q", s)
	}
	return d, nil
}
