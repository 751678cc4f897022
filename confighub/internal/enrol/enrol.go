// SPDX-License-Identifier: AGPL-3.0-or-later

// Package enrol owns a machine's identity over its whole life: it makes the key, gets the first certificate from the
// fleet's step-ca with a one-time token, renews it, and writes the files that internal/identity reads. It also mints
// the tokens ([Minter]). It is the one package of the house that links the authority's client,
// github.com/smallstep/certificates/ca.
//
// # What happens
//
// The key (ECDSA P-256) is made here, is on the disk before the first request, stays through all renewals and is
// sent nowhere. Where the authority is and which root it has are settings, never taken from the token: the root is
// fetched by its fingerprint, and only over a connection that this root vouches for is the token sent. A token is
// read first; one for another name or another authority, or one that has expired, is refused here, since the
// authority would mark it used. Once an identity exists the token is ignored, with one exception: an
// identity that has expired and that the authority refuses to renew is replaced, if the token is good.
//
// A certificate is renewed at half of its lifetime; the moment is spread by ±10 % of that half, by a hash of the
// name, so that a fleet that started at one moment does not renew at one. Time is that of the wall clock, looked at
// every 30 s, near its end more often: a timer would sleep through a suspended machine. An expired certificate is renewed with a token
// that it signs itself (claims.allowRenewalAfterExpiry). After each renewal the authority's roots are fetched and kept, which is
// how a new root reaches the fleet.
//
// What the network denies is tried again after up to 1 s … 1 min (full jitter); what the authority denies, after 5 min,
// unless the token has changed. Nothing of this ends the container.
//
// An identity of another name than the settings say is set aside (the host was renamed), and so is one of an authority
// that neither has the root in the settings nor is accepted by the one that has.
//
// # The authority
//
// Tokens come from a JWK provisioner in step-ca's ca.json ("confighub ca-init" writes all of this):
//
//	"authority": {
//	  "provisioners": [{"type": "JWK", "name": "enrol", "key": {…the public JWK…}}],
//	  "claims": {"minTLSCertDuration": "5m", "maxTLSCertDuration": "720h", "defaultTLSCertDuration": "24h",
//	             "allowRenewalAfterExpiry": true},
//	  "disableIssuedAtCheck": true
//	},
//	"db": {"type": "bbolt", "dataSource": "…/db/step-ca.db"}
//
// The provisioner has no "encryptedKey": step-ca would show it to everybody, for guessing the password at leisure; the
// private JWK is a file at the genesis. disableIssuedAtCheck is needed: without it the authority refuses tokens that
// were minted before it last started, so restarting it would strand every container whose token waits. It is safe with a database
// alone, which remembers the used tokens; never set it without one.
//
// # Limits
//
// Every call to the authority has a deadline of 20 s. A lost answer to an enrolment costs the token: the authority
// counts it as used. The modules linked here panic at start if STEP_TLS_TUNNEL or STEP_CLIENT_ADDR is set to nonsense.
// Of package ca neither Bootstrap, BootstrapClient nor TLSRenewer is used: they believe the token about the authority, keep no key,
// and give up on expired certificates. Left out: revocation, and vouching by the docker host.
package enrol

import (
	"context"
	"crypto/x509"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/backoff"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// The pauses of the keeper.
const (
	lookEvery    = 30 * time.Second // at a certificate, at most; 1/20 of the time it has left where that is less
	lookMin      = 200 * time.Millisecond
	tokenEvery   = time.Second      // at the token, while it is waited for or has been refused
	refusedPause = 5 * time.Minute  // after the authority said no
	retryMin     = time.Second      // after the network said no: upper limits of the first …
	retryMax     = time.Minute      // … and of every later pause
	sayEvery     = 10 * time.Second // the same trouble again, while there is no usable identity
	sayEveryLong = 10 * time.Minute // and while there is one
)

// Config is what a Keeper needs to know.
type Config struct {
	Settings identity.Settings
	Slot     int    // the state slot, [identity.Slot]: picks the token's line and numbers the replica
	Dir      string // where the identity lives, [identity.Dir]
	RunDir   string // where identity.json is written, initctl.RunDir
	Tokens   Tokens
	Log      zerolog.Logger
	// OnChange is called after every change of the state, which every change of the identity is. It is called from
	// Run's goroutine and must not block. Nil: nobody is told.
	OnChange func(identity.Status)
}

// Keeper keeps one identity. Run does the work; the other methods may be called from any goroutine.
type Keeper struct {
	conf        Config
	id          spiffe.ID
	fingerprint string
	files       *identity.Files
	ready       chan struct{}

	// Run's own.
	retry     backoff.Backoff
	retryAt   time.Time // no request before, unless the token changes; monotonic
	tried     string    // the token at the last attempt
	last      error     // of the last step
	pinned    *x509.Certificate
	obtained  time.Time // when the certificate at hand was; zero if in an earlier life
	judged    bool      // the identity on the disk is of the authority in the settings
	published bool
	said      string // the trouble last logged
	saidAt    time.Time
	writeFail bool // identity.json could not be written, which was said

	mu     sync.Mutex // guards status
	status identity.Status
}

// New returns a Keeper for the identity that the settings name. Without ca_url there is nothing to keep: Run returns at
// once. The error says what is wrong with the settings, key by key.
func New(c Config) (*Keeper, error) {
	k := &Keeper{
		conf:  c,
		files: identity.Open(c.Dir),
		ready: make(chan struct{}),
		retry: backoff.Backoff{Min: retryMin, Max: retryMax},
	}
	if c.Settings.CAURL == "" {
		k.status = identity.Status{State: identity.StateOff}
		return k, nil
	}
	var err error
	if k.id, err = c.Settings.ID(c.Slot); err != nil {
		return nil, err
	}
	if k.fingerprint, err = identity.ParseFingerprint(c.Settings.CAFingerprint); err != nil {
		return nil, fmt.Errorf("identity.ca_fingerprint: %w", err)
	}
	k.status = identity.Status{State: identity.StateEnrolling, ID: k.id.String(), CAURL: c.Settings.CAURL}
	return k, nil
}

// Run keeps the identity until the context ends. It returns nil, whatever happens to the identity.
func (k *Keeper) Run(ctx context.Context) error {
	if k.conf.Settings.CAURL == "" {
		k.publish(k.State())
		return nil
	}
	for {
		timer := time.NewTimer(k.step(ctx))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Ready is closed as soon as it is settled how this machine starts: with a certificate that is valid, or with none
// because none is to be had (states "off" and "none").
func (k *Keeper) Ready() <-chan struct{} { return k.ready }

// State returns how the identity fares.
func (k *Keeper) State() identity.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// Files returns the identity itself, for the programs' own connections.
func (k *Keeper) Files() *identity.Files { return k.files }

// publish makes a state known if it is another than before.
func (k *Keeper) publish(s identity.Status) {
	k.mu.Lock()
	changed := s != k.status || !k.published
	k.status = s
	k.mu.Unlock()
	k.published = true
	k.say(s)
	if changed {
		if err := identity.WriteStatus(k.conf.RunDir, s); err != nil && !k.writeFail {
			k.writeFail = true
			k.conf.Log.Warn().Err(err).Msg("the identity's state cannot be shown")
		}
		if k.conf.OnChange != nil {
			k.conf.OnChange(s)
		}
	}
	if s.State == identity.StateValid || s.State == identity.StateOff || s.State == identity.StateNone {
		select {
		case <-k.ready:
		default:
			close(k.ready)
		}
	}
}

// say logs trouble when it is new, and again after a while: soon while nothing works without an identity, seldom
// while the one at hand still does. That a replica has none by intent is no trouble and is said once.
func (k *Keeper) say(s identity.Status) {
	now := time.Now()
	every := sayEvery
	if s.State == identity.StateValid {
		every = sayEveryLong
	}
	isNew := s.Error != k.said
	switch {
	case s.Error == "" || (!isNew && now.Sub(k.saidAt) < every):
		k.said = s.Error
		return
	case s.State == identity.StateNone && isNew:
		k.conf.Log.Info().Str("identity", s.ID).Msg(s.Error)
	case s.State != identity.StateNone:
		k.conf.Log.Warn().Str("identity", s.ID).Str("state", s.State).Msg(s.Error)
	}
	k.said, k.saidAt = s.Error, now
}

// renewAt is when a certificate is to be renewed: half of its lifetime after it began, up to 10 % of that half
// earlier or later, always at the same point for the same name. An authority may date certificates back by more than
// half of their lifetime; then it is a third of what was left when this one came, else every look would renew it.
func (k *Keeper) renewAt(cert *x509.Certificate) time.Time {
	half := cert.NotAfter.Sub(cert.NotBefore) / 2
	h := fnv.New64a()
	h.Write([]byte(k.id.String()))
	spread := time.Duration(h.Sum64()%2001) - 1000 // -1000 … 1000
	at := cert.NotBefore.Add(half + half/1000*spread/10)
	if k.obtained.IsZero() {
		return at
	}
	if least := k.obtained.Add(cert.NotAfter.Sub(k.obtained) / 3); least.After(at) {
		return least
	}
	return at
}
