// SPDX-License-Identifier: AGPL-3.0-or-later

package enrol

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/spiffe"
)

// errNoToken says that there is nothing to enrol with; errReplica that it is so by intent.
var (
	errNoToken = errors.New("no token: mint one at the genesis with \"confighub token\" and hand it in as HUB_TOKEN or HUB_TOKEN_FILE")
	errReplica = errors.New("no token of its own for this replica: it runs without identity (mint more with --replicas)")
)

// step looks at the identity, does what is due, publishes the state, and returns how long to wait.
func (k *Keeper) step(ctx context.Context) time.Duration {
	cert, err := k.load()
	if err == nil {
		err = k.act(ctx, cert)
	}
	if ctx.Err() != nil {
		return 0 // what failed now failed because we are stopping
	}
	if now, loadErr := k.load(); loadErr == nil {
		cert = now
	}
	k.last = err
	k.publish(k.describe(cert, err))
	return k.pause(cert, err)
}

// act does what is due, unless it was tried too short a time ago.
func (k *Keeper) act(ctx context.Context, cert *tls.Certificate) error {
	now := time.Now()
	if cert != nil && usable(cert, now) && !k.due(cert, now) {
		return nil
	}
	token, tokenErr := k.token()
	if now.Before(k.retryAt) && token == k.tried {
		return k.last
	}
	k.tried = token
	var err error
	switch {
	case cert == nil:
		err = k.enrol(ctx, token, tokenErr)
	case usable(cert, now):
		err = k.renew(ctx, cert, (*authority).renew)
	default:
		err = k.revive(ctx, cert, token, tokenErr)
	}
	k.schedule(err)
	return err
}

// revive replaces an expired identity: by itself, or, if that is refused, by a token not yet refused.
func (k *Keeper) revive(ctx context.Context, cert *tls.Certificate, token string, tokenErr error) error {
	err := k.renew(ctx, cert, (*authority).renewExpired)
	if _, refused := errors.AsType[*refusal](err); !refused || token == "" {
		return err
	}
	if tokenErr := k.enrol(ctx, token, tokenErr); tokenErr != nil {
		return fmt.Errorf("%w; %w", err, tokenErr)
	}
	return nil
}

// schedule says when the next request may be made after one that ended with err.
func (k *Keeper) schedule(err error) {
	switch {
	case err == nil:
		k.retry.Reset()
		k.retryAt = time.Time{}
	case errors.Is(err, errNoToken), errors.Is(err, errReplica):
		k.retryAt = time.Time{}
	case isRefusal(err):
		k.retryAt = time.Now().Add(refusedPause)
	default:
		k.retryAt = time.Now().Add(k.retry.Next())
	}
}

func isRefusal(err error) bool {
	_, refused := errors.AsType[*refusal](err)
	return refused || errors.Is(err, errStranger)
}

// load returns the identity on the disk; nil if there is none, or none of ours: that is set aside.
func (k *Keeper) load() (*tls.Certificate, error) {
	reloadErr := k.files.Reload()
	cert, err := k.files.Certificate()
	switch {
	case errors.Is(err, identity.ErrNone):
		return nil, nil
	case err != nil:
		if _, unreadable := errors.AsType[*fs.PathError](err); unreadable {
			return nil, err
		}
		return nil, k.setAside(err.Error())
	case reloadErr != nil:
		return cert, nil // what was loaded before still serves, and the next renewal writes it anew
	}
	if id, err := k.files.ID(); err != nil || id != k.id {
		return nil, k.setAside(fmt.Sprintf("it belongs to %s, the settings say %s", id, k.id))
	}
	return cert, nil
}

func (k *Keeper) setAside(why string) error {
	place, err := identity.SetAside(k.conf.Dir, time.Now())
	if err != nil {
		return err
	}
	k.conf.Log.Warn().Str("identity", k.id.String()).Str("kept_in", place).
		Msg("the identity on the disk is set aside, a new enrolment is needed: " + why)
	k.retryAt = time.Time{}
	k.retry.Reset()
	return k.files.Reload()
}

func usable(cert *tls.Certificate, now time.Time) bool {
	return now.Before(cert.Leaf.NotAfter)
}

// due says whether to renew: the time has come, or the settings name another root than those on the disk.
func (k *Keeper) due(cert *tls.Certificate, now time.Time) bool {
	return !now.Before(k.renewAt(cert.Leaf)) || !k.ofAuthority()
}

// ofAuthority says whether the identity on the disk is known to be of the authority in the settings.
func (k *Keeper) ofAuthority() bool {
	if k.judged {
		return true
	}
	roots, err := k.files.RootCertificates()
	return err == nil && k.hasPinned(roots)
}

func (k *Keeper) hasPinned(roots []*x509.Certificate) bool {
	return slices.ContainsFunc(roots, func(c *x509.Certificate) bool {
		sum := sha256.Sum256(c.Raw)
		return hex.EncodeToString(sum[:]) == k.fingerprint
	})
}

// trusted returns the roots to believe the authority by: those on the disk, and the one in the settings, which is
// fetched if the disk lacks it.
func (k *Keeper) trusted(ctx context.Context) ([]*x509.Certificate, error) {
	roots, err := k.files.RootCertificates()
	if err != nil && !errors.Is(err, identity.ErrNone) {
		return nil, err
	}
	if k.hasPinned(roots) {
		return roots, nil
	}
	if k.pinned == nil {
		k.pinned, err = fetchRoot(ctx, k.conf.Settings.CAURL, k.fingerprint)
		if _, unknown := errors.AsType[*unknownRoot](err); unknown && len(roots) > 0 {
			// The root in the settings was replaced since; those that came from the authority go on.
			return roots, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return append(slices.Clone(roots), k.pinned), nil
}

// enrol spends the token on the first certificate.
func (k *Keeper) enrol(ctx context.Context, token string, tokenErr error) error {
	switch {
	case tokenErr != nil:
		return tokenErr
	case token == "" && k.conf.Slot > 0:
		return errReplica
	case token == "":
		return errNoToken
	}
	if err := checkToken(token, k.id, k.fingerprint, time.Now()); err != nil {
		return &refusal{fmt.Errorf("the token is not used: %w; mint another with \"confighub token\"", err)}
	}
	root, err := k.root(ctx)
	if err != nil {
		return fmt.Errorf("enrolling: %w", err)
	}
	key, err := identity.EnsureKey(k.conf.Dir)
	if err != nil {
		return err
	}
	return k.ask(ctx, []*x509.Certificate{root}, key, func(a *authority) ([]*x509.Certificate, error) {
		chain, err := a.sign(ctx, k.id, key, token)
		if isRefusal(err) {
			return nil, fmt.Errorf("the token is refused at %s: it was used before, has expired, or is of a provisioner that is gone; "+
				"the authority's log says which. Mint another with \"confighub token\" (%w)", a.host(), err)
		}
		return chain, err
	})
}

// root returns the root in the settings, fetched once.
func (k *Keeper) root(ctx context.Context) (*x509.Certificate, error) {
	if k.pinned != nil {
		return k.pinned, nil
	}
	root, err := fetchRoot(ctx, k.conf.Settings.CAURL, k.fingerprint)
	if err != nil {
		return nil, err
	}
	k.pinned = root
	return root, nil
}

// renew replaces the certificate by a new one for the same key.
func (k *Keeper) renew(ctx context.Context, cert *tls.Certificate,
	how func(*authority, context.Context, spiffe.ID, *tls.Certificate) ([]*x509.Certificate, error)) error {
	roots, err := k.trusted(ctx)
	if err != nil {
		return fmt.Errorf("renewing: %w", err)
	}
	foreign := !k.ofAuthority() && k.pinned != nil
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("renewing: a %T cannot sign", cert.PrivateKey)
	}
	err = k.ask(ctx, roots, key, func(a *authority) ([]*x509.Certificate, error) {
		return how(a, ctx, k.id, cert)
	})
	if foreign && isRefusal(err) {
		return k.setAside("it is of another authority than the one in identity.ca_url, which refuses it")
	}
	if err == nil {
		return nil
	}
	hint := ""
	if _, refused := errors.AsType[*refusal](err); refused {
		hint = ": its provisioner was removed, or renewals are refused there; the authority's log says more"
	}
	return fmt.Errorf("renewing: %w%s", err, hint)
}

// ask gets a chain from the authority and puts it on the disk, then the authority's roots.
func (k *Keeper) ask(ctx context.Context, roots []*x509.Certificate, key crypto.Signer,
	call func(*authority) ([]*x509.Certificate, error)) error {
	a, err := dialAuthority(k.conf.Settings.CAURL, roots)
	if err != nil {
		return err
	}
	defer a.Close()
	chain, err := call(a)
	if err != nil {
		return err
	}
	// Roots first, so that whoever sees the identity can use it.
	if err := k.saveRoots(roots); err != nil {
		return err
	}
	if err := identity.SaveIdentity(k.conf.Dir, key, chain); err != nil {
		return err
	}
	k.judged, k.obtained = true, time.Now().Round(0) // without the monotonic clock, which stops in a suspended machine
	k.conf.Log.Info().Str("identity", k.id.String()).Str("serial", chain[0].SerialNumber.String()).
		Time("not_after", chain[0].NotAfter.UTC()).Msg("a new certificate")
	fetched, err := a.fetchRoots(ctx)
	if err != nil {
		k.conf.Log.Warn().Err(err).Msg("the authority's roots stay as they are until the next renewal")
		return nil
	}
	return k.saveRoots(fetched)
}

// saveRoots writes the roots if they are others than those on the disk.
func (k *Keeper) saveRoots(roots []*x509.Certificate) error {
	have, err := k.files.RootCertificates()
	if err == nil && slices.EqualFunc(have, roots, (*x509.Certificate).Equal) {
		return nil
	}
	return identity.SaveRoots(k.conf.Dir, roots)
}

// describe puts the state into a Status.
func (k *Keeper) describe(cert *tls.Certificate, err error) identity.Status {
	s := identity.Status{State: identity.StateEnrolling, ID: k.id.String(), CAURL: k.conf.Settings.CAURL}
	if err != nil {
		s.Error = err.Error()
	}
	if errors.Is(err, errReplica) {
		s.State = identity.StateNone
	}
	if cert == nil {
		return s
	}
	now := time.Now()
	s.State = identity.StateValid
	s.Serial = cert.Leaf.SerialNumber.String()
	s.NotBefore, s.NotAfter = cert.Leaf.NotBefore, cert.Leaf.NotAfter
	s.RenewAt = k.renewAt(cert.Leaf)
	if !usable(cert, now) {
		s.State = identity.StateExpired
	}
	if broken := k.files.Err(); s.Error == "" && broken != nil {
		s.Error = broken.Error() + "; what was read before still serves"
	}
	if s.Error == "" && now.Before(s.NotBefore) {
		s.Error = fmt.Sprintf("the certificate is valid from %s on, and here it is %s: the clock of this machine looks wrong", stamp(s.NotBefore), stamp(now))
	}
	return s
}

// pause is how long until the next look.
func (k *Keeper) pause(cert *tls.Certificate, err error) time.Duration {
	const atOnce = 10 * time.Millisecond
	switch {
	case cert != nil && usable(cert, time.Now()):
		return max(lookMin, min(lookEvery, time.Until(cert.Leaf.NotAfter)/20))
	case err == nil: // an identity was set aside, or has expired just now
		return atOnce
	case k.retryAt.IsZero():
		return tokenEvery
	}
	return min(max(time.Until(k.retryAt), atOnce), tokenEvery)
}
