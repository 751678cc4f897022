// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
)

// Group is a redundancy group: see rollup.Group.
type Group struct {
	Members []string `json:"members" max:"1000" doc:"serve: its containers, <service>.<stack>.<host>, which stands for all replicas, or with /<n> for one; * and ? as in file names"`
	Need    int      `json:"need" default:"1" min:"1" max:"1000" doc:"serve: how many must work; with fewer than all it warns, with fewer than these it fails"`
}

// CheckSettings reports members that can match nothing.
func (g *Group) CheckSettings(report func(key, message string)) {
	checkPatterns("members", g.Members, report)
}

// Class is hosts of which a part may be in trouble: see rollup.Class.
type Class struct {
	Hosts               []string `json:"hosts" max:"1000" doc:"serve: names of hosts; * and ? as in file names"`
	MaxUnhealthyPercent int      `json:"max_unhealthy_percent" min:"0" max:"99" doc:"serve: up to this part of them failing or unknown is a warning for the fleet"`
}

// CheckSettings reports hosts that can match nothing.
func (c *Class) CheckSettings(report func(key, message string)) {
	checkPatterns("hosts", c.Hosts, report)
}

func checkPatterns(key string, patterns []string, report func(key, message string)) {
	if len(patterns) == 0 {
		report(key, "is missing: must name at least one")
	}
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || len(pattern) > health.MaxName {
			report(key, fmt.Sprintf("%.80q is no name and no pattern", pattern))
		}
	}
}

// Rules are the groups and classes as the algebra takes them, sorted by name.
func (s *Settings) Rules() rollup.Rules {
	var rules rollup.Rules
	for _, name := range slices.Sorted(maps.Keys(s.Groups)) {
		g := s.Groups[name]
		rules.Groups = append(rules.Groups, rollup.Group{Name: name, Members: g.Members, Need: g.Need})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Classes)) {
		c := s.Classes[name]
		rules.Classes = append(rules.Classes, rollup.Class{Name: name, Hosts: c.Hosts, MaxUnhealthyPercent: c.MaxUnhealthyPercent})
	}
	return rules
}
