// SPDX-License-Identifier: AGPL-3.0-or-later

// Package collect takes the reports of containers and makes a host of them, or those of hosts and makes the fleet.
//
// Who may say what is decided by the certificate alone: at a host, its containers, each for itself; at the fleet,
// hosts, each for itself and its own containers. See [Collector.Take].
//
// A report is believed for as long as it says, counted on this machine's monotonic clock from its arrival. Then
// its sender is unknown and stale; if it is expected, it fails as missing a grace later (a host in any case). Whoever
// said goodbye is a warning for the time a restart takes, then missing if expected, else forgotten.
//
// What was known survives a restart of the collector as unknown with the time it was last seen: see store.go.
//
// Left out: the sums (rollup), and who may read (healthhub serve).
package collect

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	coalesce = 100 * time.Millisecond // from the first report to the new sum, which holds those in between too
	tick     = time.Second            // between looks at ages
	pulse    = 10 * time.Second       // a new generation at the latest, so that a reader can tell a frozen server
	// hostGrace is what rollup.MissingGrace is for containers: a host takes longer to come back.
	hostGrace = 5 * time.Minute
	forget    = 24 * time.Hour // until a silent sender that no list expects is forgotten

	maxContainers = 1000  // of a host
	maxHosts      = 10000 // of a fleet
)

// Config says what is collected.
type Config struct {
	Self     spiffe.ID // role host: this host's containers; role genesis: the hosts of the fleet
	Expected []string  // names of what should be there; nil: no list
	StateDir string    // where what is known is kept; "": nowhere
	Log      zerolog.Logger
	Changed  func() // called when a state changed; may be nil
}

// Collector keeps the last report of everybody. Its methods may be called from several goroutines.
type Collector struct {
	Config
	kind  string // of what reports: container or host
	log   zerolog.Logger
	born  time.Time
	dirty chan struct{}

	expected map[string]bool // Expected as a set

	mu    sync.Mutex // guards peers and open
	peers map[string]*peer
	open  map[spiffe.ID]int // reports under way

	view    sync.Mutex // guards what follows; taken before mu
	current page.Snapshot
}

// peer is who reports, or did before a restart.
type peer struct {
	node     health.Node
	instance string
	retired  []string // instances before this one, newest last
	seq      uint64
	seen     time.Time // arrival of the last report, with the monotonic clock; zero: not since this start
	wall     time.Time // the same on the wall clock
	valid    time.Duration
	stopping bool
	phase    phase // as of the last sum
}

// New makes a collector with what it knew before.
func New(c Config) (*Collector, error) {
	if c.Self.Role != spiffe.Host && c.Self != (spiffe.ID{TrustDomain: c.Self.TrustDomain, Role: spiffe.Genesis, Name: spiffe.KindHealth}) {
		return nil, fmt.Errorf("this machine is %s: only a docker host and genesis/health collect health", c.Self)
	}
	col := &Collector{
		Config: c, kind: health.KindContainer, log: c.Log, born: time.Now(),
		dirty: make(chan struct{}, 1), expected: map[string]bool{}, peers: map[string]*peer{}, open: map[spiffe.ID]int{},
	}
	for _, name := range c.Expected {
		col.expected[name] = true
	}
	if c.Self.Role == spiffe.Genesis {
		col.kind = health.KindHost
	}
	col.load()
	col.sum()
	return col, nil
}

// Level is the kind of what is made: host or fleet.
func (c *Collector) Level() string {
	if c.kind == health.KindContainer {
		return health.KindHost
	}
	return health.KindFleet
}

// Limits bounds the reports that are taken.
func (c *Collector) Limits() health.Limits {
	if c.kind == health.KindContainer {
		return health.ContainerLimits
	}
	return health.HostLimits
}

// name is what a sender's node must be called.
func name(id spiffe.ID) string {
	if id.Role == spiffe.Host {
		return id.Host
	}
	if id.Instance != "" {
		return id.BundleName() + "/" + id.Instance
	}
	return id.BundleName()
}

// Refusal is why a report was not taken, and the HTTP status that says so.
type Refusal struct {
	Status int
	Why    string
}

func (r *Refusal) Error() string { return r.Why }

// may judges whether the sender may report here at all, and what it says of whom.
func (c *Collector) may(from spiffe.ID, r *report.Report) error {
	refuse := func(format string, args ...any) error { return &Refusal{403, fmt.Sprintf(format, args...)} }
	if err := c.maySpeak(from); err != nil {
		return err
	}
	if r.Node.Kind != c.kind || r.Node.Name != name(from) {
		return refuse("%s speaks for %s %s alone, not for %s %s", from, c.kind, name(from), r.Node.Kind, r.Node.Name)
	}
	for i := range r.Node.Children {
		child := &r.Node.Children[i]
		switch {
		case c.kind == health.KindContainer && child.Kind != health.KindCheck:
			return refuse("%s is made of checks, not of %s %s", from, child.Kind, child.Name)
		case c.kind == health.KindHost && (child.Kind != health.KindContainer || !of(child.Name, from.Host)):
			return refuse("%s speaks for its own containers alone, not for %s %s", from, child.Kind, child.Name)
		}
	}
	return nil
}

// maySpeak judges who reports, whatever it says.
func (c *Collector) maySpeak(from spiffe.ID) *Refusal {
	refuse := func(format string, args ...any) *Refusal { return &Refusal{403, fmt.Sprintf(format, args...)} }
	switch {
	case from.TrustDomain != c.Self.TrustDomain:
		return refuse("%s is not of the trust domain %s", from, c.Self.TrustDomain)
	case c.kind == health.KindContainer && from.Role != spiffe.Container:
		return refuse("%s is no container: only containers report to a host", from)
	case c.kind == health.KindContainer && from.Host != c.Self.Host:
		return refuse("%s is a container of host %s; this is host %s", from, from.Host, c.Self.Host)
	case c.kind == health.KindHost && from.Role != spiffe.Host:
		return refuse("%s is no docker host: only hosts report to the fleet", from)
	}
	return nil
}

// of reports whether the container of that name ("web.shop.vm1", "web.shop.vm1/2") is one of the host.
func of(container, host string) bool {
	service, _, _ := strings.Cut(container, "/")
	return strings.HasSuffix(service, "."+host)
}

// Take takes a report from the holder of a certificate. The error is a *Refusal.
func (c *Collector) Take(from spiffe.ID, r *report.Report) error {
	if err := c.may(from, r); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := c.peer(r)
	if err != nil {
		return err
	}
	if p.instance == r.Instance && p.seq == r.Seq {
		return nil // a retry of what arrived: its answer was lost
	}
	if p.instance != r.Instance {
		p.retired = append(p.retired, p.instance)
		p.retired = p.retired[max(0, len(p.retired)-maxRetired):]
	}
	p.instance, p.seq = r.Instance, r.Seq
	p.node, p.stopping, p.valid = r.Node, r.Stopping, r.Valid()
	p.seen = time.Now()
	p.wall = p.seen.Round(0).UTC()
	c.poke()
	return nil
}

// maxRetired is how many instances of the past are told apart from new ones.
const maxRetired = 8

// peer finds the sender of a report, or makes it. The caller holds mu.
func (c *Collector) peer(r *report.Report) (*peer, error) {
	p := c.peers[r.Node.Name]
	limit := maxContainers
	if c.kind == health.KindHost {
		limit = maxHosts
	}
	switch {
	case p == nil && len(c.peers) >= limit:
		return nil, &Refusal{429, fmt.Sprintf("%d %ss report here already", limit, c.kind)}
	case p == nil:
		p = &peer{instance: r.Instance}
		c.peers[r.Node.Name] = p
	case slices.Contains(p.retired, r.Instance):
		return nil, &Refusal{409, fmt.Sprintf("another, newer instance of %s reports: are there two with one identity?", r.Node.Name)}
	case p.instance == r.Instance && r.Seq < p.seq:
		return nil, &Refusal{409, fmt.Sprintf("report %d of %s is older than report %d, which is known already", r.Seq, r.Node.Name, p.seq)}
	}
	return p, nil
}

func (c *Collector) poke() {
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

// Run sums up until ctx is done, and keeps what is known.
func (c *Collector) Run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	saved := time.Now()
	for {
		select {
		case <-ctx.Done():
			c.keep()
			return nil
		case <-c.dirty:
			timer := time.NewTimer(coalesce)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
			select {
			case <-c.dirty: // what came meanwhile is in this sum
			default:
			}
			c.sum()
		case <-ticker.C:
			if c.aged() {
				c.sum()
			}
			if time.Since(saved) >= saveEvery {
				saved = time.Now()
				c.keep()
			}
		}
	}
}

// Snapshot is the sum as of now, or of at most a tick ago.
func (c *Collector) Snapshot() page.Snapshot {
	c.view.Lock()
	defer c.view.Unlock()
	return c.current
}

// Node is the tree of the snapshot.
func (c *Collector) Node() health.Node { return *c.Snapshot().Node }
