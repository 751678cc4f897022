// SPDX-License-Identifier: AGPL-3.0-or-later

package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of nodes, from leaf to root.
const (
	KindCheck     = "check"
	KindHub       = "hub" // what confighub and loghub say of themselves
	KindContainer = "container"
	KindGroup     = "group" // containers of which a number is enough; stands beside them and has no children
	KindHost      = "host"
	KindFleet     = "fleet"
)

// Flags say something about a node that is not a state.
const (
	FlagDegrading  = "degrading"  // a container or a host whose failure is but a warning for what is above it
	FlagCritical   = "critical"   // a check whose failure is the container's failure
	FlagInfo       = "info"       // a check that never touches the container's state
	FlagLive       = "live"       // a check of class live: failing it means that a restart would help
	FlagStarted    = "started"    // a check of class started: it counts until its first pass
	FlagStale      = "stale"      // nothing was heard of it for too long
	FlagMissing    = "missing"    // expected, but not there
	FlagUnexpected = "unexpected" // there, but nobody expected it
	FlagUnchecked  = "unchecked"  // runs, but nothing looks at it
	FlagStopping   = "stopping"   // said that it is on its way down
	FlagFlapping   = "flapping"   // changes its mind too often to be believed either way
	FlagMuted      = "muted"      // somebody said, for a time, that it is known and shall not count
	FlagPaused     = "paused"     // somebody paused it
	FlagForced     = "forced"     // its state was forced to try out whether it is noticed
	FlagForked     = "forked"     // two instances of it report in turns
	FlagIsolated   = "isolated"   // who looks cannot see: the silence of many at once is likely its own

	// FlagUnsupported marks a check of what cannot be read here: it says nothing, and counts for nothing.
	FlagUnsupported = "unsupported"

	// FlagPartStarting marks a parent of which a part that counts is starting: the state, which shows the worst
	// alone, hides that behind a warning of another part.
	FlagPartStarting = "part_starting"

	// FlagSuppressedBy is followed by the name of what this node depends on and what is in trouble itself, a sibling or
	// what it is a part of: look there first.
	FlagSuppressedBy = "suppressed_by="
	// FlagGrouped is followed by the name of a group: the node is one of its members and counts through it alone.
	FlagGrouped = "grouped="
	// FlagMutes is followed by the number of nodes below this one that are muted, the outermost ones.
	FlagMutes = "mutes="
)

// flagKeys begin flags that say whom or how many, after the equals sign.
var flagKeys = []string{FlagSuppressedBy, FlagGrouped, FlagMutes}

// Node is the health of one thing and of what it is made of.
type Node struct {
	Kind       string    `json:"kind"`                 // one of the Kind constants
	Name       string    `json:"name"`                 // unique among its siblings of the same kind; see CheckName
	State      State     `json:"state"`                //
	Since      time.Time `json:"since,omitzero"`       // when State became what it is
	ObservedAt time.Time `json:"observed_at,omitzero"` // when it was last looked at, whatever came out
	ValidUntil time.Time `json:"valid_until,omitzero"` // from then on State should be taken for unknown; zero: no limit
	Score      *int      `json:"score,omitempty"`      // 0 … 100, in the band of State; nil: not summed up
	Extent     *Extent   `json:"extent,omitempty"`     // how much of this is known; nil: not summed up
	Runs       uint64    `json:"runs,omitempty"`       // of a check: looks taken, or reports received, since its agent started
	Took       float64   `json:"took,omitempty"`       // of a check: seconds that the last look took
	Values     []Value   `json:"values,omitempty"`     // of a check: what it measured; at most MaxValues, names differ
	Flags      []string  `json:"flags,omitempty"`      // Flag constants, sorted
	Text       string    `json:"text,omitempty"`       // what was seen, for people, one line
	Action     string    `json:"action,omitempty"`     // what to do about it, for people
	Children   []Node    `json:"children,omitempty"`   // what it is made of
}

// Extent tells bad from not known: what a sum would be if all that is unknown were well, and how much of it is known.
type Extent struct {
	ScoreHigh  int     `json:"score_high"` // Score, with everything unknown taken for pass
	Confidence float64 `json:"confidence"` // 0 … 1: weight of what is fresh in the weight of all
	Coverage   float64 `json:"coverage"`   // 0 … 1: containers that anything looks into, of those expected
}

// Value is one thing that a check measured: perfdata of a Nagios plugin, the part of a disk that is used.
type Value struct {
	Name  string   `json:"name"`           // letters a to z, digits, dot, underscore, slash and hyphen, 1 to MaxCheckName
	Value float64  `json:"value"`          // finite
	Unit  string   `json:"unit,omitempty"` // of at most MaxUnit bytes: s, By, 1 (a part of one), c (counts up), Cel, or a plugin's own
	Warn  *float64 `json:"warn,omitempty"` // from where on it warns; nil: nowhere
	Fail  *float64 `json:"fail,omitempty"` // from where on it fails; nil: nowhere
}

// HasFlag reports whether the node has the flag.
func (n *Node) HasFlag(flag string) bool { return slices.Contains(n.Flags, flag) }

// SetFlag adds the flag, or takes it away.
func (n *Node) SetFlag(flag string, on bool) {
	i, found := slices.BinarySearch(n.Flags, flag)
	switch {
	case on && !found:
		n.Flags = slices.Insert(slices.Clone(n.Flags), i, flag)
	case !on && found:
		n.Flags = slices.Delete(slices.Clone(n.Flags), i, i+1)
	}
}

// Limits bound a tree that came from elsewhere.
type Limits struct {
	Nodes int // in all, the root included
	Depth int // levels, the root's included
}

// The limits of what one container and one host may report. Fleet, host, container, check are four levels.
var (
	ContainerLimits = Limits{Nodes: 500, Depth: 4}
	HostLimits      = Limits{Nodes: 12000, Depth: 4} // a thousand containers with ten checks each
)

// MaxTextBytes bounds Node.Text and Node.Action, MaxCheckName the name of a check, MaxName every other: a
// container's consists of three DNS labels and the number of a replica. MaxFlags bounds the flags of a node,
// MaxValues what a check measures, MaxUnit the unit of that.
const (
	MaxTextBytes = 4 << 10
	MaxCheckName = 64
	MaxName      = 256
	MaxFlags     = 16
	MaxValues    = 16
	MaxUnit      = 16
)

// Accept judges a tree that came from elsewhere. It cuts and cleans the texts in place, sorts the flags, and
// reports the first thing that is not allowed: too many or too deep nodes, an unknown kind, a bad
// name or flag, a score that is none, two siblings of one kind and name.
func (n *Node) Accept(limits Limits) error {
	left := limits.Nodes
	if err := n.accept(limits.Depth, &left); err != nil {
		if errors.Is(err, errTooMany) {
			return fmt.Errorf("more than %d nodes", limits.Nodes)
		}
		return err
	}
	return nil
}

var errTooMany = errors.New("too many nodes")

func (n *Node) accept(depth int, left *int) error {
	if *left--; *left < 0 {
		return errTooMany
	}
	if depth < 1 {
		return fmt.Errorf("%s %.64q: the tree is too deep", n.Kind, n.Name)
	}
	if err := n.acceptSelf(); err != nil {
		return err
	}
	seen := make(map[[2]string]bool, len(n.Children))
	for i := range n.Children {
		child := &n.Children[i]
		if err := child.accept(depth-1, left); err != nil {
			return err
		}
		key := [2]string{child.Kind, child.Name}
		if seen[key] {
			return fmt.Errorf("%s %q: named twice", child.Kind, child.Name)
		}
		seen[key] = true
	}
	return nil
}

func (n *Node) acceptSelf() error {
	if err := CheckName(n.Kind, n.Name); err != nil {
		return err
	}
	if n.Score != nil && (*n.Score < 0 || *n.Score > 100) {
		return fmt.Errorf("%s %q: score %d, must be between 0 and 100", n.Kind, n.Name, *n.Score)
	}
	if e := n.Extent; e != nil && (e.ScoreHigh < 0 || e.ScoreHigh > 100 || !part(e.Confidence) || !part(e.Coverage)) {
		return fmt.Errorf("%s %q: extent %+v, must be a score and two parts of one", n.Kind, n.Name, *e)
	}
	if err := n.acceptValues(); err != nil {
		return fmt.Errorf("%s %q: %w", n.Kind, n.Name, err)
	}
	if len(n.Flags) > MaxFlags {
		return fmt.Errorf("%s %q: %d flags, at most %d", n.Kind, n.Name, len(n.Flags), MaxFlags)
	}
	for _, flag := range n.Flags {
		if err := checkFlag(flag); err != nil {
			return fmt.Errorf("%s %q: flag %w", n.Kind, n.Name, err)
		}
	}
	slices.Sort(n.Flags)
	n.Flags = slices.Compact(n.Flags)
	n.Text, n.Action = CleanText(n.Text), CleanText(n.Action)
	return nil
}

func checkFlag(flag string) error {
	for _, key := range flagKeys {
		if value, ok := strings.CutPrefix(flag, key); ok {
			return checkChars(value, MaxName)
		}
	}
	return checkChars(flag, MaxCheckName)
}

// FlagValue is what follows a flag's key, as in FlagGrouped; "" if the node has no such flag.
func (n *Node) FlagValue(key string) string {
	for _, flag := range n.Flags {
		if value, ok := strings.CutPrefix(flag, key); ok {
			return value
		}
	}
	return ""
}

func part(x float64) bool { return x >= 0 && x <= 1 }

// acceptValues judges Took and Values.
func (n *Node) acceptValues() error {
	if !(n.Took >= 0) {
		return fmt.Errorf("took %v s, must not be below 0", n.Took)
	}
	if len(n.Values) > MaxValues {
		return fmt.Errorf("%d values, at most %d", len(n.Values), MaxValues)
	}
	seen := make(map[string]bool, len(n.Values))
	for _, v := range n.Values {
		if err := checkChars(v.Name, MaxCheckName); err != nil {
			return fmt.Errorf("value %w", err)
		}
		if seen[v.Name] {
			return fmt.Errorf("value %q: named twice", v.Name)
		}
		seen[v.Name] = true
		if len(v.Unit) > MaxUnit || CleanText(v.Unit) != v.Unit {
			return fmt.Errorf("value %q: unit %.40q: must be at most %d bytes that can be shown", v.Name, v.Unit, MaxUnit)
		}
	}
	return nil
}

// CheckName reports why name cannot be the name of a node of that kind: letters a to z, digits, dot, underscore,
// slash and hyphen, 1 to MaxCheckName of them for a check, else 1 to MaxName. A slash puts a name
// under another, as in hub/log.
func CheckName(kind, name string) error {
	limit := MaxName
	switch kind {
	case KindCheck:
		limit = MaxCheckName
	case KindHub, KindContainer, KindGroup, KindHost, KindFleet:
	default:
		return fmt.Errorf("kind %.40q: must be check, hub, container, group, host or fleet", kind)
	}
	if err := checkChars(name, limit); err != nil {
		return fmt.Errorf("%s %w", kind, err)
	}
	return nil
}

func checkChars(name string, limit int) error {
	if name == "" || len(name) > limit {
		return fmt.Errorf("%.64q: must have 1 to %d characters", name, limit)
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("._/-", rune(c)) {
			return fmt.Errorf("%.64q: must consist of a-z, 0-9, dot, underscore, slash and hyphen", name)
		}
	}
	return nil
}
