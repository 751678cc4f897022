// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/spiffe"
)

// FleetSchema is the version of Fleet's form.
const FleetSchema = 1

// Fleet is the answer to GET /v1/fleet: what every placed container is to have, and what it says it has.
type Fleet struct {
	Schema int  `json:"schema"`
	Tree   Tree `json:"tree"`
	// Containers by identity.
	Containers []Container `json:"containers"`
}

// Tree is the state of the tree that is served.
type Tree struct {
	// Revision of the tree that was read last and was good; "" when none was since the server started.
	Revision string `json:"revision,omitempty"`
	// Serial is the highest given.
	Serial uint64 `json:"serial"`
	// Read is when the tree was last read, for good or bad.
	Read time.Time `json:"read,omitzero"`
	// Problems is why the tree on disk is not the one that is served, as file:line: what is wrong.
	Problems []string `json:"problems,omitempty"`
	// published counts the trees since the start that changed something.
	published uint64
}

// Container is one placed container and its replicas.
type Container struct {
	// Identity is the bundle name: web.shop.vm1.
	Identity string `json:"identity"`
	// Desired is the version published for it.
	Desired  bundle.Version `json:"desired"`
	Revision string         `json:"revision"`
	Created  time.Time      `json:"created"`
	// Instances is empty while none was ever heard of.
	Instances []Instance `json:"instances"`
}

// fleet answers operators and genesis servers.
func (s *Server) fleet(_ http.ResponseWriter, _ *http.Request, c caller) (answer, error) {
	if c.peer.Role != spiffe.Operator && c.peer.Role != spiffe.Genesis {
		return answer{}, refuse(http.StatusForbidden, "the fleet is shown to operators and genesis servers, this is the certificate of %s", article(c.peer.Role))
	}
	raw, err := json.Marshal(s.Fleet())
	if err != nil {
		return answer{}, fmt.Errorf("writing the fleet: %w", err)
	}
	s.allowed(c, http.StatusOK).Msg("config request")
	return answer{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: append(raw, '\n')}, nil
}

// Fleet is the state of the whole fleet now.
func (s *Server) Fleet() Fleet {
	f := s.published.fleet()
	for i := range f.Containers {
		c := &f.Containers[i]
		c.Instances = s.ledger.Instances(c.Identity)
		for n := range c.Instances {
			c.Instances[n].Status = c.Instances[n].status(c.Desired)
		}
	}
	return f
}

func (p *Publication) fleet() Fleet {
	p.mu.RLock()
	defer p.mu.RUnlock()
	f := Fleet{Schema: FleetSchema, Tree: Tree{Serial: p.serial, Read: p.readAt.UTC(), Problems: p.problems, published: p.changes}, Containers: []Container{}}
	if p.tree != nil {
		f.Tree.Revision = p.tree.Revision
	}
	for _, name := range slices.Sorted(maps.Keys(p.entries)) {
		pointer := p.entries[name].pointer
		f.Containers = append(f.Containers, Container{
			Identity: name, Desired: pointer.Version(), Revision: pointer.Revision, Created: pointer.Created,
		})
	}
	return f
}
