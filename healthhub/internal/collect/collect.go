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
// Two instances of one identity that report in turns are forked: both are heard, and the worse is shown. A restart is no
// fork, see take. A job that has done its work holds what it said until it is due again.
//
// Operators mute and forget, see operator.go; history and mutes survive a restart too.
//
// Left out: the sums (rollup), what is expected (manifest), and who may read (healthhub serve).
package collect

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/healthhub/internal/manifest"
	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/healthhub/internal/rollup"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	coalesce = 100 * time.Millisecond // from the first report to the new sum, which holds those in between too
	tick     = time.Second            // between looks at ages
	pulse    = 10 * time.Second       // a new generation at the latest, so that a reader can tell a frozen server
	// hostGrace is what rollup.MissingGrace is for containers: a host takes longer to come back.
	hostGrace = 5 * time.Minute
	forget    = 24 * time.Hour // until a silent sender that is not on the list is forgotten; without a list nobody is

	maxContainers = 1000  // of a host
	maxHosts      = 10000 // of a fleet
)

// Config says what is collected.
type Config struct {
	Self     spiffe.ID      // role host: this host's containers; role genesis: the hosts of the fleet
	Expected *manifest.List // what should be there at first, see Expect; nil: no list
	Rules    rollup.Rules   // groups and classes of the settings
	StateDir string         // where what is known, mutes and the history are kept; "": nowhere
	Log      zerolog.Logger
	Changed  func() // called when a state changed; may be nil

	// Own gives the checks of this machine itself, as fresh as they are; nil: none. It is called without the locks of Take.
	Own func() []health.Node
}

// Collector keeps the last report of everybody. Its methods may be called from several goroutines.
type Collector struct {
	Config
	kind  string // of what reports: container or host
	log   zerolog.Logger
	born  time.Time
	dirty chan struct{}

	mutes    *mute.List
	recorder *record.Recorder
	tell     func(page.Snapshot, []record.Event) // of every new sum; see OnSum
	current  atomic.Pointer[page.Snapshot]

	summing  sync.Mutex // one sum at a time; guards what follows. Taken before mu
	expected *expected
	troubles map[string]string // name → what is wrong here

	mu    sync.Mutex // guards peers and open
	peers map[string]*peer
	open  map[spiffe.ID]int // reports under way
}

// New makes a collector with what it knew before.
func New(c Config) (*Collector, error) {
	if c.Self.Role != spiffe.Host && c.Self != (spiffe.ID{TrustDomain: c.Self.TrustDomain, Role: spiffe.Genesis, Name: spiffe.KindHealth}) {
		return nil, fmt.Errorf("this machine is %s: only a docker host and genesis/health collect health", c.Self)
	}
	col := &Collector{
		Config: c, kind: health.KindContainer, log: c.Log, born: time.Now(),
		dirty: make(chan struct{}, 1), recorder: record.New(c.StateDir, record.Size), troubles: map[string]string{}, peers: map[string]*peer{}, open: map[spiffe.ID]int{},
	}
	if c.Self.Role == spiffe.Genesis {
		col.kind = health.KindHost
	}
	var mutes string
	if c.StateDir != "" {
		mutes = filepath.Join(c.StateDir, muteFile)
		if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
			col.log.Warn().Err(err).Msg("nothing is remembered over a restart")
		}
	}
	var err error
	if col.mutes, err = mute.Open(mutes, func(err error) { col.log.Warn().Err(err).Msg("mutes end with this server: they cannot be kept") }); err != nil {
		col.log.Warn().Err(err).Msg("some mutes of before are not used")
	}
	col.expected = newExpected(c.Expected, c.Rules)
	col.current.Store(&page.Snapshot{})
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

// Poke asks for a new sum soon, as when Own has something else to say. It never blocks.
func (c *Collector) Poke() {
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

// Run sums up until ctx is done, and keeps what is known.
func (c *Collector) Run(ctx context.Context) error {
	var recording sync.WaitGroup
	defer recording.Wait()
	defer c.mutes.Wait()
	recording.Go(func() { c.recorder.Run(ctx, c.log) })
	recording.Go(func() { c.remember(ctx) })
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
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
		}
	}
}

// Snapshot is the sum as of now, or of at most a tick ago.
func (c *Collector) Snapshot() page.Snapshot { return *c.current.Load() }

// Node is the tree of the snapshot.
func (c *Collector) Node() health.Node { return *c.Snapshot().Node }

// History is what changed, oldest first, as far as it is kept.
func (c *Collector) History() []record.Event { return c.recorder.Query("", time.Time{}, 0) }

// Mutes are those of now.
func (c *Collector) Mutes() []mute.Mute { return c.mutes.All() }

// OnSum sets what is told of every new sum, with what it changed. Call it before Run.
func (c *Collector) OnSum(tell func(page.Snapshot, []record.Event)) { c.tell = tell }
