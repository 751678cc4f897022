// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/dirlock"
	"cloud4.internal/hub/confighub/internal/tree"
	"cloud4.internal/hub/confighub/internal/webhook"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	// lookForIdentity is how often the files of an identity that is not there yet are looked for.
	lookForIdentity = 500 * time.Millisecond
	// sayWaiting is how often waiting for it is said.
	sayWaiting = 10 * time.Second
	// stopTime is what requests in progress get when the server is told to stop.
	stopTime = 2 * time.Second
	// abandonTime is what the answers to waiting requests get after that: nothing else is on its way there, so that the
	// kernel takes them at once.
	abandonTime = time.Second
)

// Options of Run. All but Ref, Keys and the webhook are needed.
type Options struct {
	// Root is the directory of the tree, or of the git repository when Ref names a branch or tag of it.
	Root, Ref string
	// State is the directory of what must outlive a restart; it is made.
	State string
	// Listen is host:port.
	Listen string
	// Keys sign every version; without any the TLS connection alone vouches for them.
	Keys []ed25519.PrivateKey
	// Webhook is host:port to take webhooks on, signed with WebhookSecret; "" for none.
	Webhook       string
	WebhookSecret []byte
	// IdentityDir is named in messages; Files reads it.
	IdentityDir string
	Files       *identity.Files
	Log         zerolog.Logger
}

// Run serves until ctx ends. It waits for an identity of genesis/config if there is none yet; any other identity is an
// error, since no client would accept it.
func Run(ctx context.Context, o Options) error {
	root, err := tree.Open(o.Root, o.Ref)
	if err != nil {
		return err
	}
	// Two would give serials and write reports over each other.
	if err := os.MkdirAll(o.State, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	unlock, err := dirlock.Take(o.State)
	if errors.Is(err, dirlock.ErrTaken) {
		return fmt.Errorf("another confighub serve works with the state directory %s: give this one its own (--state), or stop that one", o.State)
	}
	if err != nil {
		return err
	}
	defer unlock()
	published, err := OpenPublication(o.State, o.Keys...)
	if err != nil {
		return err
	}
	own, err := waitForIdentity(ctx, o)
	if err != nil || ctx.Err() != nil {
		return err
	}
	if own.Role != spiffe.Genesis || own.Name != spiffe.KindConfig {
		return fmt.Errorf("the identity in %s is %s, but clients accept genesis/%s only: set identity.genesis to %q where it enrols",
			o.IdentityDir, own, spiffe.KindConfig, spiffe.KindConfig)
	}
	o.sayExpired()
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	ledger := OpenLedger(o.State, o.Log)
	server := New(own.TrustDomain, published, ledger, o.Log)
	tasks := []daemon.Task{
		{Name: "keeping reports", Run: ledger.Run},
		{Name: "serving", Run: func(ctx context.Context) error { return server.listen(ctx, listener, o.Files) }},
	}
	var look <-chan struct{}
	if o.Webhook != "" {
		receiver := webhook.New(o.WebhookSecret, o.Log)
		hooks, err := net.Listen("tcp", o.Webhook)
		if err != nil {
			return fmt.Errorf("listening for webhooks: %w", err)
		}
		o.Log.Info().Str("address", hooks.Addr().String()).Msg("taking webhooks")
		look = receiver.Look()
		tasks = append(tasks, daemon.Task{Name: "taking webhooks", Run: func(ctx context.Context) error { return receiver.Run(ctx, hooks) }})
	}
	tasks = append(tasks, daemon.Task{Name: "following the tree", Run: func(ctx context.Context) error { return Follow(ctx, root, look, published, o.Log) }})
	o.Log.Info().Str("address", listener.Addr().String()).Str("root", o.Root).Str("ref", o.Ref).Str("identity", own.String()).Msg("serving configuration")
	return daemon.Run(ctx, tasks...)
}

// sayExpired warns of a certificate that no container will take. It is used all the same: a renewal is seen while serving.
func (o Options) sayExpired() {
	certificate, err := o.Files.Certificate()
	if err != nil || certificate.Leaf == nil || time.Now().Before(certificate.Leaf.NotAfter) {
		return
	}
	o.Log.Warn().Time("not_after", certificate.Leaf.NotAfter).Str("directory", o.IdentityDir).
		Msg("the certificate has expired, and no container connects: is confighub run at work where it is renewed?")
}

func waitForIdentity(ctx context.Context, o Options) (spiffe.ID, error) {
	look := time.NewTicker(lookForIdentity)
	defer look.Stop()
	var said time.Time
	for {
		own, err := o.Files.ID()
		if err == nil {
			if _, err = o.Files.Roots(); err == nil {
				return own, nil
			}
		}
		if time.Since(said) >= sayWaiting {
			said = time.Now()
			o.Log.Warn().Err(err).Str("directory", o.IdentityDir).
				Msg("waiting for an identity: confighub enrols genesis/config there, with a token of confighub token --genesis config")
		}
		select {
		case <-ctx.Done():
			return spiffe.ID{}, nil
		case <-look.C:
		}
	}
}

// listen answers on the listener until ctx ends, and a moment longer for what is in progress.
func (s *Server) listen(ctx context.Context, listener net.Listener, files *identity.Files) error {
	lot, err := newLot(listener.Addr())
	if err != nil {
		listener.Close()
		return err
	}
	s.lot = lot
	server := mtls.HTTP1Server(files, s.Handler(), s.Refused)
	server.RegisterOnShutdown(s.Stop)
	back := make(chan error, 1)
	err = daemon.Serve(ctx, server, stopTime, func() error {
		go func() { back <- server.Serve(lot) }()
		return server.ServeTLS(listener, "", "")
	})
	s.Stop()
	lot.abandon(abandonTime)
	<-back
	return err
}
