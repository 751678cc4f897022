// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// Tree is /v1/snapshot.
type Tree struct {
	Schema      int          `json:"schema"`
	Generation  uint64       `json:"generation"`
	GeneratedAt time.Time    `json:"generated_at"`
	Node        *health.Node `json:"node"`
}

func treeDocument(s Snapshot) []byte {
	return encode(Tree{Schema: 1, Generation: s.Generation, GeneratedAt: s.At.UTC(), Node: s.Node})
}

// word is the state in the three words of the draft, for readers that know no others. It goes with the status of the answer:
// fail is 503.
func word(n *health.Node) string {
	switch rollup.Judge(n, rollup.Ready) {
	case health.Pass:
		return "pass"
	case health.Warn:
		return "warn"
	}
	return "fail"
}

// healthDoc is application/health+json. Status is the one member that the draft requires (§3); state, kind, path, since,
// score and action are ours.
type healthDoc struct {
	Status      string                   `json:"status"`
	State       health.State             `json:"state"`
	Version     string                   `json:"version"` // of this document's form
	ServiceID   string                   `json:"serviceId"`
	Description string                   `json:"description"`
	Kind        string                   `json:"kind"`
	Path        string                   `json:"path,omitempty"` // empty: the root
	Since       time.Time                `json:"since,omitzero"`
	Score       *int                     `json:"score,omitempty"`
	Output      string                   `json:"output,omitempty"` // left out for pass, as §3.5 wants
	Action      string                   `json:"action,omitempty"`
	Notes       []string                 `json:"notes,omitempty"`
	Checks      map[string][]healthCheck `json:"checks,omitempty"` // by "component" or "component:measurement" (§4)
	Links       map[string]string        `json:"links"`
}

// healthCheck is a part of what the document is about, or something that was measured there.
type healthCheck struct {
	ComponentType string            `json:"componentType"`
	Status        string            `json:"status"`
	State         health.State      `json:"state"`
	ObservedValue *float64          `json:"observedValue,omitempty"`
	ObservedUnit  string            `json:"observedUnit,omitempty"`
	Time          time.Time         `json:"time,omitzero"`
	Output        string            `json:"output,omitempty"`
	Flags         []string          `json:"flags,omitempty"`
	Links         map[string]string `json:"links,omitempty"`
}

// healthDocument is about the node at the end of a chain that begins with the root.
func healthDocument(chain []*health.Node) []byte {
	n, path := chain[len(chain)-1], health.Path(chain)
	doc := healthDoc{
		Status: word(n), State: n.State, Version: "1", ServiceID: n.Name, Description: "health of " + n.Kind + " " + n.Name,
		Kind: n.Kind, Path: path, Since: n.Since, Score: n.Score, Output: output(n), Action: n.Action, Notes: n.Flags,
		Checks: map[string][]healthCheck{}, Links: map[string]string{"self": "/health" + under(path), "about": "/"},
	}
	doc.values(n)
	for i := range n.Children {
		c := &n.Children[i]
		doc.Checks[c.Name] = append(doc.Checks[c.Name], healthCheck{
			ComponentType: componentType(c.Kind), Status: word(c), State: c.State, Time: c.ObservedAt, Output: output(c), Flags: c.Flags,
			Links: map[string]string{"self": "/health" + under(path) + "/" + c.Name},
		})
		doc.values(c)
	}
	return encode(doc)
}

// values adds what a check measured.
func (doc *healthDoc) values(n *health.Node) {
	for _, v := range n.Values {
		doc.Checks[n.Name+":"+v.Name] = []healthCheck{{
			ComponentType: componentType(n.Kind), Status: word(n), State: n.State, Time: n.ObservedAt,
			ObservedValue: &v.Value, ObservedUnit: v.Unit,
		}}
	}
}

func output(n *health.Node) string {
	if n.State == health.Pass {
		return ""
	}
	return n.Text
}

// under is a path as the rest of another.
func under(path string) string {
	if path == "" {
		return ""
	}
	return "/" + path
}

func componentType(kind string) string {
	if kind == health.KindCheck {
		return "component"
	}
	return "system"
}

// summary is /v1/summary: keys that never change, values that fit into a widget.
type summary struct {
	Status     string          `json:"status"` // pass, warn, fail or unknown
	State      health.State    `json:"state"`  // the same with starting told apart
	Up         int             `json:"up"`     // 1 where /health says 200: pass or warn, and nothing in it still starts
	Score      int             `json:"score"`
	ScoreHigh  int             `json:"score_high"` // the score if all that is unknown were well
	Confidence float64         `json:"confidence"` // 0 … 1: how much of it is fresh
	Coverage   float64         `json:"coverage"`   // 0 … 1: how much of it anything looks into
	Kind       string          `json:"kind"`       // fleet, host or container
	Host       string          `json:"host"`       // its name: of the host, the fleet or the container
	Text       string          `json:"text"`
	Muted      int             `json:"muted"` // things below it that do not count for a while
	Time       string          `json:"time"`  // RFC 3339, of this snapshot
	TimeUnix   int64           `json:"time_unix"`
	Summary    summaryCounts   `json:"summary"`
	Reasons    []summaryReason `json:"reasons"` // what is to blame, worst first, at most maxReasons
	Hosts      []summaryPart   `json:"hosts,omitempty"`
	Groups     []summaryPart   `json:"groups,omitempty"`
	Containers []summaryPart   `json:"containers"`
	Checks     []summaryPart   `json:"checks"` // of the root itself: of a host its disks, of a container all of its checks
}

// summaryCounts counts containers, and all checks.
type summaryCounts struct {
	Total    int `json:"total"`
	Pass     int `json:"pass"`
	Starting int `json:"starting"`
	Warn     int `json:"warn"`
	Unknown  int `json:"unknown"`
	Fail     int `json:"fail"`
	Missing  int `json:"missing"`
	Stale    int `json:"stale"`
	Muted    int `json:"muted"`
	Checks   int `json:"checks"`
}

type summaryReason struct {
	Path   string `json:"path"`
	Status string `json:"status"`
	Output string `json:"output"`
	Action string `json:"action"`
}

// summaryPart is a row: a host, a group, a container or a check.
type summaryPart struct {
	Name     string `json:"name"`
	Host     string `json:"host,omitempty"` // of a container in a fleet
	Status   string `json:"status"`
	OK       int    `json:"ok"`
	Score    *int   `json:"score,omitempty"`
	Since    string `json:"since"`
	Output   string `json:"output"`
	Critical bool   `json:"critical"` // its failure is that of what it is a part of
	Stale    bool   `json:"stale"`
	Muted    bool   `json:"muted"`
}

const maxReasons = 3

func summaryDocument(s Snapshot) []byte {
	n := s.Node
	doc := summary{
		Status: plain(n.State), State: n.State, Up: up(n), Score: score(n), ScoreHigh: score(n), Kind: n.Kind, Host: n.Name, Text: n.Text,
		Muted: mutes(n), Time: s.At.UTC().Format(time.RFC3339), TimeUnix: s.At.Unix(),
		Reasons: []summaryReason{}, Containers: []summaryPart{}, Checks: []summaryPart{},
	}
	if e := n.Extent; e != nil {
		doc.ScoreHigh, doc.Confidence, doc.Coverage = e.ScoreHigh, e.Confidence, e.Coverage
	}
	for _, r := range rollup.Reasons(n, maxReasons) {
		doc.Reasons = append(doc.Reasons, summaryReason{strings.Join(r.Path, "/"), plain(r.State), r.Text, r.Action})
	}
	doc.add(n, "", n.Kind != health.KindHost && n.Kind != health.KindFleet)
	return encode(doc)
}

// add adds what is below a node, and itself unless it is the root of more than one container. Rows of checks are those of the root.
func (doc *summary) add(n *health.Node, host string, root bool) {
	if root || n.Kind == health.KindContainer {
		doc.container(n, host)
	}
	for i := range n.Children {
		switch c := &n.Children[i]; c.Kind {
		case health.KindHost:
			doc.Hosts = append(doc.Hosts, newPart(c, ""))
			doc.add(c, c.Name, false)
		case health.KindGroup:
			doc.Groups = append(doc.Groups, newPart(c, host))
		case health.KindContainer:
			doc.add(c, host, false)
		default:
			doc.Summary.Checks++
			if host == "" && (root || n.Kind == health.KindHost) {
				doc.Checks = append(doc.Checks, newPart(c, ""))
			}
		}
	}
}

func (doc *summary) container(c *health.Node, host string) {
	doc.Containers = append(doc.Containers, newPart(c, host))
	n := &doc.Summary
	n.Total++
	*[...]*int{
		health.Pass: &n.Pass, health.Starting: &n.Starting, health.Warn: &n.Warn, health.Unknown: &n.Unknown, health.Fail: &n.Fail,
	}[c.State]++
	n.Missing += bit(c.HasFlag(health.FlagMissing))
	n.Stale += bit(c.HasFlag(health.FlagStale))
	n.Muted += bit(c.HasFlag(health.FlagMuted))
}

func newPart(n *health.Node, host string) summaryPart {
	return summaryPart{
		Name: n.Name, Host: host, Status: plain(n.State), OK: up(n), Score: n.Score, Since: since(n), Output: n.Text,
		Critical: critical(n), Stale: n.HasFlag(health.FlagStale), Muted: n.HasFlag(health.FlagMuted),
	}
}

// critical reports whether the failure of a node is that of what it is a part of.
func critical(n *health.Node) bool {
	if n.Kind == health.KindCheck || n.Kind == health.KindHub {
		return n.HasFlag(health.FlagCritical)
	}
	return !n.HasFlag(health.FlagUnexpected) && !n.HasFlag(health.FlagDegrading) && n.FlagValue(health.FlagGrouped) == ""
}

// part is /v1/summary/<path>: one flat object.
type part struct {
	Path   string       `json:"path"`
	Kind   string       `json:"kind"`
	State  health.State `json:"state"`
	Up     int          `json:"up"` // like ok
	Action string       `json:"action"`
	summaryPart
	SeenAt   string             `json:"observed_at"`
	Flags    []string           `json:"flags"`
	Checks   summaryChecks      `json:"checks"` // how many of those below it are in a state
	Values   map[string]float64 `json:"values"` // of a check: what it measured
	Time     string             `json:"time"`   // RFC 3339, of this snapshot
	TimeUnix int64              `json:"time_unix"`
}

type summaryChecks map[string]int

func partDocument(s Snapshot, chain []*health.Node) []byte {
	n := chain[len(chain)-1]
	doc := part{
		Path: health.Path(chain), Kind: n.Kind, State: n.State, Up: up(n), Action: n.Action, summaryPart: newPart(n, hostOf(chain)),
		Flags: append([]string{}, n.Flags...), Checks: summaryChecks{}, Values: map[string]float64{},
		Time: s.At.UTC().Format(time.RFC3339), TimeUnix: s.At.Unix(),
	}
	if !n.ObservedAt.IsZero() {
		doc.SeenAt = n.ObservedAt.UTC().Format(time.RFC3339)
	}
	for _, state := range health.States() {
		doc.Checks[state.String()] = 0
	}
	doc.Checks.count(n)
	for _, v := range n.Values {
		doc.Values[v.Name] = v.Value
	}
	return encode(doc)
}

func (c summaryChecks) count(n *health.Node) {
	for i := range n.Children {
		if child := &n.Children[i]; child.Kind == health.KindCheck {
			c[child.State.String()]++
		} else {
			c.count(child)
		}
	}
}

// hostOf is the host on the way from the root to a container or check.
func hostOf(chain []*health.Node) string {
	for _, n := range chain[:len(chain)-1] {
		if n.Kind == health.KindHost {
			return n.Name
		}
	}
	return ""
}

// mutes is how many things below a node are muted.
func mutes(n *health.Node) int {
	count, err := strconv.Atoi(n.FlagValue(health.FlagMutes))
	if err != nil {
		return 0 // there is no such flag
	}
	return count
}

// plain is the state in the words widgets map to colours: starting is a kind of warn.
func plain(s health.State) string {
	if s == health.Starting {
		return "warn"
	}
	return s.String()
}

func up(n *health.Node) int { return bit(rollup.Yes(rollup.Judge(n, rollup.Ready))) }

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func score(n *health.Node) int {
	if n.Score != nil {
		return *n.Score
	}
	return rollup.Score(n)
}

func since(n *health.Node) string {
	if n.Since.IsZero() {
		return ""
	}
	return n.Since.UTC().Format(time.RFC3339)
}

// encode makes JSON of our own documents, all of which can be.
func encode(doc any) []byte {
	data, err := json.Marshal(doc)
	if err != nil {
		panic(fmt.Sprintf("encoding a document of health: %v", err))
	}
	return append(data, '\n')
}
