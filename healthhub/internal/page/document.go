// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"encoding/json"
	"fmt"
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

// word is the state in the three words of the draft, for readers that know no others.
func word(s health.State) string {
	switch s {
	case health.Pass:
		return "pass"
	case health.Warn:
		return "warn"
	}
	return "fail"
}

// healthDoc is application/health+json; state is ours.
type healthDoc struct {
	Status      string                   `json:"status"`
	State       health.State             `json:"state"`
	ServiceID   string                   `json:"serviceId"`
	Description string                   `json:"description"`
	Output      string                   `json:"output,omitempty"`
	Score       *int                     `json:"score,omitempty"`
	Notes       []string                 `json:"notes,omitempty"`
	Checks      map[string][]healthCheck `json:"checks,omitempty"`
}

type healthCheck struct {
	ComponentType string       `json:"componentType"`
	Status        string       `json:"status"`
	State         health.State `json:"state"`
	Time          time.Time    `json:"time,omitzero"`
	Output        string       `json:"output,omitempty"`
	Flags         []string     `json:"flags,omitempty"`
}

func healthDocument(s Snapshot) []byte {
	n := s.Node
	doc := healthDoc{
		Status: word(n.State), State: n.State, ServiceID: n.Name, Description: "health of " + n.Kind + " " + n.Name,
		Output: n.Text, Score: n.Score, Notes: n.Flags, Checks: map[string][]healthCheck{},
	}
	for _, c := range n.Children {
		doc.Checks[c.Name] = append(doc.Checks[c.Name], healthCheck{
			ComponentType: componentType(c.Kind), Status: word(c.State), State: c.State, Time: c.ObservedAt, Output: c.Text, Flags: c.Flags,
		})
	}
	return encode(doc)
}

func componentType(kind string) string {
	if kind == health.KindCheck {
		return "component"
	}
	return "system"
}

// summary is /v1/summary: keys that never change, values that fit into a widget.
type summary struct {
	Status     string             `json:"status"` // pass, warn, fail or unknown
	State      health.State       `json:"state"`  // the same with starting told apart
	Up         int                `json:"up"`     // 1: pass or warn
	Score      int                `json:"score"`
	Host       string             `json:"host"` // its name: of the host, the fleet or the container
	Text       string             `json:"text"`
	Time       string             `json:"time"` // RFC 3339, of this snapshot
	TimeUnix   int64              `json:"time_unix"`
	Summary    summaryCounts      `json:"summary"`
	Hosts      []summaryHost      `json:"hosts,omitempty"`
	Containers []summaryContainer `json:"containers"`
}

// summaryCounts counts containers.
type summaryCounts struct {
	Total    int `json:"total"`
	Pass     int `json:"pass"`
	Starting int `json:"starting"`
	Warn     int `json:"warn"`
	Unknown  int `json:"unknown"`
	Fail     int `json:"fail"`
	Missing  int `json:"missing"`
	Checks   int `json:"checks"`
}

type summaryHost struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	OK     int    `json:"ok"`
	Score  int    `json:"score"`
	Since  string `json:"since"`
	Output string `json:"output"`
	Stale  bool   `json:"stale"`
}

type summaryContainer struct {
	Name     string `json:"name"`
	Host     string `json:"host,omitempty"` // on a fleet
	Status   string `json:"status"`
	OK       int    `json:"ok"`
	Since    string `json:"since"`
	Output   string `json:"output"`
	Critical bool   `json:"critical"` // its failure is the host's: every container that is expected
	Stale    bool   `json:"stale"`
}

func summaryDocument(s Snapshot) []byte {
	n := s.Node
	doc := summary{
		Status: plain(n.State), State: n.State, Up: up(n.State), Score: score(n), Host: n.Name, Text: n.Text,
		Time: s.At.UTC().Format(time.RFC3339), TimeUnix: s.At.Unix(), Containers: []summaryContainer{},
	}
	switch n.Kind {
	case health.KindContainer:
		doc.add(n, "")
	case health.KindHost:
		for i := range n.Children {
			doc.add(&n.Children[i], "")
		}
	case health.KindFleet:
		for i := range n.Children {
			host := &n.Children[i]
			doc.Hosts = append(doc.Hosts, summaryHost{
				Name: host.Name, Status: plain(host.State), OK: up(host.State), Score: score(host), Since: since(host),
				Output: host.Text, Stale: host.HasFlag(health.FlagStale),
			})
			for j := range host.Children {
				doc.add(&host.Children[j], host.Name)
			}
		}
	}
	return encode(doc)
}

func (doc *summary) add(c *health.Node, host string) {
	doc.Containers = append(doc.Containers, summaryContainer{
		Name: c.Name, Host: host, Status: plain(c.State), OK: up(c.State), Since: since(c), Output: c.Text,
		Critical: !c.HasFlag(health.FlagUnexpected), Stale: c.HasFlag(health.FlagStale),
	})
	n := &doc.Summary
	n.Total++
	n.Checks += len(c.Children)
	*map[health.State]*int{
		health.Pass: &n.Pass, health.Starting: &n.Starting, health.Warn: &n.Warn, health.Unknown: &n.Unknown, health.Fail: &n.Fail,
	}[c.State]++
	if c.HasFlag(health.FlagMissing) {
		n.Missing++
	}
}

// plain is the state in the words widgets map to colours: starting is a kind of warn.
func plain(s health.State) string {
	if s == health.Starting {
		return "warn"
	}
	return s.String()
}

func up(s health.State) int {
	if s == health.Pass || s == health.Warn {
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
