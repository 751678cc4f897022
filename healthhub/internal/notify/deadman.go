// SPDX-License-Identifier: AGPL-3.0-or-later

package notify

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/page"
	"cloud4.internal/hub/healthhub/internal/webhook"
	"cloud4.internal/hub/internal/health"
)

// freshLimit is how old a sum may be that counts as one of now: the collector makes one every ten seconds, whatever happens.
const freshLimit = 30 * time.Second

// DeadMan pings somebody outside as long as this level of health is alive: healthchecks.io and what is like it. It says nothing
// of whether things are well. What ends the pings is for the other side to notice: this machine without power or network,
// this process gone or hung, sums that do not advance, nobody who would tell, a state directory that takes no files.
type DeadMan struct {
	Ping     Hook          // takes a message, of which nothing matters
	Every    time.Duration // between pings
	Source   func() page.Snapshot
	Alive    func() error // why nobody would be told of what is wrong; nil: somebody would
	StateDir string       // "": none
	Changed  func()       // called when Nodes has something else to say
	Log      zerolog.Logger

	generation uint64 // of the sum that was there at the last ping
	trouble    atomic.Pointer[string]
}

// Run pings until ctx is done.
func (d *DeadMan) Run(ctx context.Context) error {
	defer d.Ping.Close()
	ticker := time.NewTicker(d.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := d.beat(ctx)
		if ctx.Err() != nil {
			return nil
		}
		d.tell(err)
	}
}

// beat pings if this level lives.
func (d *DeadMan) beat(ctx context.Context) error {
	s := d.Source()
	switch age := time.Since(s.At); {
	case s.Node == nil || s.Generation == d.generation:
		return fmt.Errorf("no ping: health was not summed up since the last one")
	case age > freshLimit:
		return fmt.Errorf("no ping: health was last summed up %v ago", age.Round(time.Second))
	}
	if err := d.Alive(); err != nil {
		return fmt.Errorf("no ping: %w", err)
	}
	if d.StateDir != "" {
		if err := unix.Access(d.StateDir, unix.W_OK); err != nil {
			return fmt.Errorf("no ping: %s cannot be written: %w", d.StateDir, err)
		}
	}
	if _, err := d.Ping.Send(ctx, webhook.Message{}); err != nil {
		return err
	}
	d.generation = s.Generation
	return nil
}

// tell says in the log that pings fail, and that they do not any more.
func (d *DeadMan) tell(err error) {
	was := d.trouble.Load()
	if err == nil {
		d.trouble.Store(nil)
	} else {
		words := err.Error()
		d.trouble.Store(&words)
	}
	switch {
	case err != nil && was == nil:
		d.Log.Warn().Str("reason", err.Error()).Msg("the outside does not hear that this server is alive")
	case err == nil && was != nil:
		d.Log.Info().Msg("the outside hears again that this server is alive")
	default:
		return
	}
	if d.Changed != nil {
		d.Changed()
	}
}

// Nodes is a check that tells how the pings fare.
func (d *DeadMan) Nodes() []health.Node {
	n := health.Node{Kind: health.KindCheck, Name: "deadman", ObservedAt: stamp(time.Now())}
	if words := d.trouble.Load(); words != nil {
		n.State = health.Warn
		n.Text = health.CleanText("nobody outside hears that this server is alive: " + *words)
		n.Action = "look whether health.deadman is right and its server can be reached from here"
	}
	return []health.Node{n}
}
