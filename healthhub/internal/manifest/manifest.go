// SPDX-License-Identifier: AGPL-3.0-or-later

// Package manifest says what should be there: the containers of a host, or the hosts of the fleet. Only against such a
// list can anybody notice what is missing. The list comes from
//
//   - a file of it, see [List] and [Read], JSON with comments
//   - the placement in a configuration tree, hosts/<host>/host.json: its form is confighub's,
//     {"stacks": {"shop": {"services": ["web", "db"]}}}; the whole tree for the fleet
//   - compose files, see [Compose], without asking a Docker engine
//
// A bad file is refused whole, with every line that is wrong. Names are those of identities, <service>.<stack>.<host>:
// what is expected by another name than it reports by would be missing for ever.
//
// Limits: 1 MiB a file, 1,000 containers, 10,000 hosts.
//
// Left out: what is made of the list (rollup, collect).
package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/internal/spiffe"
)

// Limits of a list.
const (
	maxContainers = 1000
	maxHosts      = 10000
	maxReplicas   = 1000
)

// List is what should be there. Of a host:
//
//	{"containers": {"web.shop.vm1": {"replicas": 2, "need": 1}, "db.shop.vm1": {}, "backup.shop.vm1": {"job": "24h"}}}
//
// and of the fleet {"hosts": {"vm1": {}}}. What is not said of an entry has the default of its type.
type List struct {
	Containers map[string]Container `json:"containers" max:"1000" doc:"of a host: service.stack.host → what is expected of it"`
	Hosts      map[string]Host      `json:"hosts" max:"10000" doc:"of the fleet: the docker hosts"`
}

// Container is what is expected of the containers of one service.
type Container struct {
	Replicas    int           `json:"replicas" min:"0" max:"1000" doc:"how many run at once; 0: at least one"`
	Need        int           `json:"need" min:"0" max:"1000" doc:"how many of the replicas must be well for the service to be; fewer than all of them is a warning then; 0: all"`
	Criticality string        `json:"criticality" default:"critical" enum:"critical|degrading|info" doc:"what its failing does to the host: critical: the host fails; degrading: it warns; info: nothing"`
	Group       string        `json:"group" doc:"the redundancy group it is a member of"`
	Job         time.Duration `json:"job" min:"1s" max:"8784h" doc:"it is a job that runs this often, and may be away in between; 0: it runs all the time"`
}

// Host is what is expected of a docker host.
type Host struct {
	Criticality string `json:"criticality" default:"critical" enum:"critical|degrading|info" doc:"what its failing does to the fleet"`
	Group       string `json:"group" doc:"the redundancy group it is a member of"`
}

// criticality is what something is where nobody says.
const criticality = "critical"

// Expect is a container of which nothing special is said.
func Expect() Container { return Container{Criticality: criticality} }

// MarshalJSON writes what is not the default, as a list is read.
func (c Container) MarshalJSON() ([]byte, error) {
	said := map[string]any{}
	for key, value := range map[string]string{"criticality": c.Criticality, "group": c.Group} {
		if value != "" && value != criticality {
			said[key] = value
		}
	}
	if c.Replicas != 0 {
		said["replicas"] = c.Replicas
	}
	if c.Need != 0 {
		said["need"] = c.Need
	}
	if c.Job != 0 {
		said["job"] = c.Job.String()
	}
	return json.Marshal(said)
}

// CheckSettings reports needs that cannot be met and names of groups that are none.
func (c *Container) CheckSettings(report func(key, message string)) {
	if c.Need > c.Replicas {
		report("need", fmt.Sprintf("must be at most the number of replicas, which is %d, got %d", c.Replicas, c.Need))
	}
	checkGroup(c.Group, report)
}

// CheckSettings reports the name of a group that is none.
func (h *Host) CheckSettings(report func(key, message string)) { checkGroup(h.Group, report) }

func checkGroup(name string, report func(key, message string)) {
	if err := spiffe.CheckLabel(name); name != "" && err != nil {
		report("group", err.Error())
	}
}

// Names are those of what should be there, sorted. Replicas share their service's name.
func (l *List) Names() []string {
	names := make([]string, 0, len(l.Containers)+len(l.Hosts))
	for name := range l.Containers {
		names = append(names, name)
	}
	for name := range l.Hosts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Service is the name of the service that a container is of: "web.shop.vm1" of "web.shop.vm1/2".
func Service(container string) string {
	service, _, _ := strings.Cut(container, "/")
	return service
}
