// SPDX-License-Identifier: AGPL-3.0-or-later

package health

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Kinds of nodes, from leaf to root.
const (
	KindCheck     = "check"
	KindHub       = "hub" // what confighub and loghub say of themselves
	KindContainer = "container"
	KindHost      = "host"
	KindFleet     = "fleet"
)

// Flags say something about a node that is not a state.
const (
	FlagCritical   = "critical"   // a check whose failure is the container's failure
	FlagInfo       = "info"       // a check that never touches the container's state
	FlagLive       = "live"       // a check of class live: failing it means that a restart would help
	FlagStarted    = "started"    // a check of class started: it counts until its first pass
	FlagStale      = "stale"      // nothing was heard of it for too long
	FlagMissing    = "missing"    // expected, but not there
	FlagUnexpected = "unexpected" // there, but nobody expected it
	FlagUnchecked  = "unchecked"  // runs, but nothing looks at it
	FlagStopping   = "stopping"   // said that it is on its way down

	// FlagSuppressedBy is followed by the name of what this node depends on and what is in trouble itself:
	// look there first.
	FlagSuppressedBy = "suppressed_by="
)

// Node is the health of one thing and of what it is made of.
type Node struct {
	Kind       string    `json:"kind"`                 // one of the Kind constants
	Name       string    `json:"name"`                 // unique among its siblings of the same kind; see CheckName
	State      State     `json:"state"`                //
	Since      time.Time `json:"since,omitzero"`       // when State became what it is
	ObservedAt time.Time `json:"observed_at,omitzero"` // when it was last looked at, whatever came out
	ValidUntil time.Time `json:"valid_until,omitzero"` // from then on State should be taken for unknown; zero: no limit
	Score      *int      `json:"score,omitempty"`      // 0 … 100, in the band of State; nil: not summed up
	Flags      []string  `json:"flags,omitempty"`      // Flag constants, sorted
	Text       string    `json:"text,omitempty"`       // what was seen, for people, one line
	Action     string    `json:"action,omitempty"`     // what to do about it, for people
	Children   []Node    `json:"children,omitempty"`   // what it is made of
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
	HostLimits      = Limits{Nodes: 5000, Depth: 4}
)

// MaxTextBytes bounds Node.Text and Node.Action, MaxCheckName the name of a check, MaxName every other: a
// container's consists of three DNS labels and the number of a replica. MaxFlags bounds the flags of a node.
const (
	MaxTextBytes = 4 << 10
	MaxCheckName = 64
	MaxName      = 256
	MaxFlags     = 16
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
	if len(n.Flags) > MaxFlags {
		return fmt.Errorf("%s %q: %d flags, at most %d", n.Kind, n.Name, len(n.Flags), MaxFlags)
	}
	for _, flag := range n.Flags {
		if err := checkChars(strings.TrimPrefix(flag, FlagSuppressedBy), MaxCheckName); err != nil {
			return fmt.Errorf("%s %q: flag %w", n.Kind, n.Name, err)
		}
	}
	slices.Sort(n.Flags)
	n.Flags = slices.Compact(n.Flags)
	n.Text, n.Action = CleanText(n.Text), CleanText(n.Action)
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
	case KindHub, KindContainer, KindHost, KindFleet:
	default:
		return fmt.Errorf("kind %.40q: must be check, hub, container, host or fleet", kind)
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

// CleanText makes what a check or a stranger wrote fit to be shown: one line of valid UTF-8, at most MaxTextBytes,
// without control and direction characters. What was cut ends in an ellipsis.
func CleanText(s string) string {
	const ellipsis = "…"
	if len(s) > 2*MaxTextBytes { // enough to find MaxTextBytes in, unless most of it is dropped
		s = s[:2*MaxTextBytes]
	}
	var b strings.Builder
	space := true // drops leading space, and a second one
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			if space {
				continue
			}
			r, space = ' ', true
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r):
			continue
		default:
			space = false
		}
		if b.Len()+utf8.RuneLen(r) > MaxTextBytes-len(ellipsis) {
			return strings.TrimRight(b.String(), " ") + ellipsis
		}
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ")
}
