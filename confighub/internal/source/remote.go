// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/backoff"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	// waitSeconds is the Prefer of a long poll: below the minute after which address translation forgets.
	waitSeconds = 50
	pollTimeout = (waitSeconds + 20) * time.Second
	// blobTimeout is for 8 MiB over a slow line; postTimeout for a report.
	blobTimeout = 2 * time.Minute
	postTimeout = 10 * time.Second
	// wholeEvery is after how many polls the envelope is fetched whole: a static server's ETag is made of
	// modification time and size, which a pointer changed within a second keeps.
	wholeEvery = 5
	// afterChange is the pause after a version was offered, so that a server in a frenzy cannot drive us.
	afterChange = 100 * time.Millisecond
)

// RemoteOptions of a Remote.
type RemoteOptions struct {
	// URL of the server, https://genesis.internal:8443.
	URL string
	// ID is who asks; its bundle name is the path.
	ID    spiffe.ID
	Files *identity.Files
	// TrustedKeys: with any, an envelope must be signed by one of them.
	TrustedKeys []ed25519.PublicKey
	// Poll is the pause between polls of a server that does not wait.
	Poll   time.Duration
	Accept Accept
	// Log is told, once, of a server that takes no reports.
	Log zerolog.Logger
}

// Remote is a source behind HTTPS.
type Remote struct {
	opts   RemoteOptions
	base   *url.URL
	client *http.Client
	etag   string
	polls  int
	// mute is true once the server said that it takes no reports.
	mute    bool
	refresh chan struct{}
	signer  atomic.Value // string
}

// NewRemote checks the options.
func NewRemote(o RemoteOptions) (*Remote, error) {
	base, err := url.Parse(o.URL)
	if err != nil || base.Scheme != "https" || base.Host == "" || base.User != nil || base.RawQuery != "" {
		return nil, fmt.Errorf("must be https://<host>[:<port>], got %q", o.URL)
	}
	rule := mtls.Genesis(o.ID.TrustDomain, spiffe.KindConfig)
	r := &Remote{opts: o, base: base, refresh: make(chan struct{}, 1)}
	r.client = newClient(mtls.StaticTransport(o.Files, rule))
	return r, nil
}

// Run polls until ctx ends.
func (r *Remote) Run(ctx context.Context, events chan<- Event) error {
	pause := backoff.Backoff{Min: 250 * time.Millisecond, Max: time.Minute}
	v := voice{events: events}
	for ctx.Err() == nil {
		until, stop := untilRung(ctx, r.refresh)
		r.round(ctx, until, &v, &pause)
		stop()
	}
	return nil
}

// round asks once, tells of it and waits until it is time to ask again, at most as long as until.
func (r *Remote) round(ctx, until context.Context, v *voice, pause *backoff.Backoff) {
	offer, next, err := r.poll(until)
	switch {
	case ctx.Err() != nil:
		return
	case until.Err() != nil && offer == nil:
		r.etag = ""
		return
	case err == nil:
		pause.Reset()
	default:
		if _, refused := errors.AsType[*Refused](err); !refused {
			err = errors.New(mtls.Explain(err))
		}
		next = pause.Next()
	}
	v.say(ctx, offer, err)
	if !sleep(until, next) {
		r.etag = ""
	}
}

// Refresh makes Run ask again at once, for the whole envelope.
func (r *Remote) Refresh() { ring(r.refresh) }

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// poll asks once. It returns a new version if there is one, and how long to wait before asking again.
func (r *Remote) poll(ctx context.Context) (*Offer, time.Duration, error) {
	pollCtx, cancel := context.WithTimeoutCause(ctx, pollTimeout, errors.New("no answer to the poll in time"))
	defer cancel()
	response, err := r.current(pollCtx)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close()
	// A server that waits is asked again at once, another one after the poll interval, less or more a tenth.
	next := r.opts.Poll*9/10 + rand.N(r.opts.Poll/5+1)
	if strings.Contains(response.Header.Get("Preference-Applied"), "wait=") {
		next = rand.N(afterChange)
	}
	if response.StatusCode == http.StatusNotModified {
		return nil, next, nil
	}
	raw, err := r.body(response, bundle.MaxEnvelope)
	if err != nil {
		return nil, 0, err
	}
	pointer, err := r.pointer(raw)
	if err != nil {
		return nil, 0, err
	}
	err = r.opts.Accept(pointer)
	if errors.Is(err, ErrNotNew) {
		r.etag = response.Header.Get("ETag")
		return nil, next, nil
	}
	if err != nil {
		return nil, 0, err
	}
	packed, err := r.blob(ctx, pointer)
	if err != nil {
		return nil, 0, err
	}
	r.etag = response.Header.Get("ETag")
	offer := unpack(pointer, packed)
	return &offer, min(next, afterChange), nil
}

// current asks for the envelope, with what is known of it.
func (r *Remote) current(ctx context.Context) (*http.Response, error) {
	request, err := r.request(ctx, http.MethodGet, "current", nil)
	if err != nil {
		return nil, err
	}
	r.polls++
	// Without an entity tag there is nothing to wait for, but the answer tells whether this server waits.
	request.Header.Set("Prefer", fmt.Sprintf("wait=%d", waitSeconds))
	if r.etag != "" && r.polls%wholeEvery != 0 {
		request.Header.Set("If-None-Match", r.etag)
	}
	return r.client.Do(request)
}

// pointer verifies an envelope and what it says.
func (r *Remote) pointer(raw []byte) (bundle.Pointer, error) {
	envelope, err := bundle.ParseEnvelope(raw)
	if err != nil {
		return bundle.Pointer{}, fmt.Errorf("%s: %w", r.base.Host, err)
	}
	if len(r.opts.TrustedKeys) > 0 {
		if err := envelope.Verify(r.opts.TrustedKeys); err != nil {
			return bundle.Pointer{}, fmt.Errorf("%s: %w", r.base.Host, err)
		}
		for _, key := range r.opts.TrustedKeys {
			if envelope.Verify([]ed25519.PublicKey{key}) == nil {
				r.signer.Store(bundle.KeyID(key))
			}
		}
	}
	p, err := envelope.Pointer()
	if err != nil {
		return bundle.Pointer{}, fmt.Errorf("%s: %w", r.base.Host, err)
	}
	if name := r.opts.ID.BundleName(); p.Identity != name {
		return bundle.Pointer{}, fmt.Errorf("%s: the pointer is for %q, this is %s: the server mixes up its paths, or somebody exchanged its files", r.base.Host, p.Identity, name)
	}
	return p, nil
}

// Signer is the id of the trusted key that signed the newest envelope; "" before the first, and without trusted keys.
func (r *Remote) Signer() string {
	id, _ := r.signer.Load().(string)
	return id
}

// blob fetches what a pointer names.
func (r *Remote) blob(ctx context.Context, p bundle.Pointer) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, blobTimeout)
	defer cancel()
	request, err := r.request(ctx, http.MethodGet, "blobs/sha256/"+strings.TrimPrefix(p.Digest, bundle.DigestPrefix), nil)
	if err != nil {
		return nil, err
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	packed, err := r.body(response, p.Size)
	if err != nil {
		return nil, err
	}
	if int64(len(packed)) != p.Size || bundle.Digest(packed) != p.Digest {
		return nil, fmt.Errorf("%s: the bundle of version %s is damaged: it has %d bytes of %d, or another digest: publish it again", r.base.Host, p.Version(), len(packed), p.Size)
	}
	return packed, nil
}

// Unwanted is a report that the server will not take, however often it is sent.
type Unwanted struct{ Words string }

// Error is what the server said.
func (u *Unwanted) Error() string { return u.Words }

// unwanted reports whether the same request will get the same answer: of the client errors (RFC 9110, 15.5) all but a
// timeout, too many requests, and 403, which ends when the container is placed.
func unwanted(status int) bool {
	switch status {
	case http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return status >= 400 && status < 500
}

// Applied sends a report. A server that takes none is not asked again.
func (r *Remote) Applied(ctx context.Context, report bundle.Applied) error {
	if r.mute {
		return nil
	}
	raw, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("reporting to %s: %w", r.base.Host, err)
	}
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	request, err := r.request(ctx, http.MethodPost, "applied", bytes.NewReader(raw))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return errors.New("reporting: " + mtls.Explain(err))
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotFound, response.StatusCode == http.StatusMethodNotAllowed, response.StatusCode == http.StatusNotImplemented:
		r.mute = true
		r.opts.Log.Debug().Str("source", r.base.Host).Str("status", response.Status).Msg("the source takes no reports: what becomes of versions is known here alone")
		return nil
	case response.StatusCode >= 300:
		_, err := r.body(response, 0)
		if unwanted(response.StatusCode) {
			return &Unwanted{err.Error()}
		}
		return fmt.Errorf("reporting: %w", err)
	}
	return nil
}
