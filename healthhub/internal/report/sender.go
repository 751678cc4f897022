// SPDX-License-Identifier: AGPL-3.0-or-later

package report

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/backoff"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	every      = 30 * time.Second       // between reports while nothing changes
	validFor   = 90 * time.Second       // so two may be lost
	coalesce   = 100 * time.Millisecond // from the first change to the report, which tells those in between too
	apart      = time.Second            // between two reports of changes, however many there are
	sendLimit  = 10 * time.Second       // for one report, its retries included
	refusedFor = 5 * time.Minute        // between reports after one was refused: only people can change that
	goodbye    = 500 * time.Millisecond // for the last one; the container is waiting to end
	enrolWait  = 5 * time.Second        // for a new container's identity, which is no trouble yet
	maxAnswer  = 1 << 10                // bytes of an answer that are read
	packFrom   = 16 << 10               // bytes of a report from which it is packed
)

// Sender reports a node to the next level, on change and every 30 s. Nothing waits for it: when the receiver is away it
// says so once, and keeps trying.
type Sender struct {
	// Last, if set before Run, makes the goodbye. With a job that is told even to a receiver that has not heard of us yet: the
	// whole job may have taken less than the first report.
	Last func() (health.Node, *Job)

	url   string
	files *identity.Files
	node  func() health.Node
	log   zerolog.Logger

	client   *retryablehttp.Client
	once     *http.Client // for the goodbye, which is not retried
	instance string
	seq      uint64
	sent     time.Time // when the last report was made
	changed  chan struct{}

	mu     sync.Mutex // guards status
	status Status
}

// Status says how reporting fares.
type Status struct {
	To     string    `json:"to"`
	LastOK time.Time `json:"last_ok,omitzero"` // when the last report was taken
	Error  string    `json:"error,omitempty"`  // why the last one was not; empty: it was
}

// NewSender makes a sender that reports what node returns to the server at base, showing the identity in files.
func NewSender(base string, files *identity.Files, node func() health.Node, log zerolog.Logger) *Sender {
	transport := mtls.Transport(files, receiverOf(files))
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: transport}
	client.Logger = nil
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax = 2, 200*time.Millisecond, 2*time.Second
	client.Backoff = retryablehttp.RateLimitLinearJitterBackoff
	client.CheckRetry = worthRetrying
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return &Sender{
		url: strings.TrimSuffix(base, "/") + Path, files: files, node: node, log: log,
		client: client, once: &http.Client{Transport: transport},
		instance: strings.ToLower(rand.Text()), changed: make(chan struct{}, 1),
		status: Status{To: base},
	}
}

// receiverOf accepts the server that this identity reports to: a container's host, or the fleet's.
func receiverOf(files *identity.Files) mtls.Rule {
	return func(server spiffe.ID) error {
		own, err := files.ID()
		if err != nil {
			return err
		}
		fleet := mtls.Genesis(own.TrustDomain, spiffe.KindHealth)
		if own.Role == spiffe.Container {
			return mtls.AnyOf(mtls.Host(own.TrustDomain, own.Host), fleet)(server)
		}
		return fleet(server)
	}
}

// worthRetrying leaves out what the next second will not change.
func worthRetrying(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if _, wrong := errors.AsType[*mtls.RoleError](err); wrong || errors.Is(err, identity.ErrNone) {
		return false, err
	}
	return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
}

// Changed asks for a report soon. It never blocks.
func (s *Sender) Changed() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Status says how reporting fares.
func (s *Sender) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Run reports until ctx is done, then says goodbye.
func (s *Sender) Run(ctx context.Context) error {
	pause := backoff.Backoff{Min: time.Second, Max: every}
	s.enrolled(ctx, enrolWait)
	for {
		next := every
		switch err := s.send(ctx); {
		case ctx.Err() != nil:
			return s.goodbye()
		case errors.Is(err, identity.ErrNone):
			s.enrolled(ctx, every)
			continue
		case errors.As(err, new(*refusedError)):
			next = refusedFor
		case err != nil:
			next = pause.Next()
		default:
			pause.Reset()
		}
		if !s.wait(ctx, next) {
			return s.goodbye()
		}
	}
}

// enrolled waits for the identity, at most for d.
func (s *Sender) enrolled(ctx context.Context, d time.Duration) {
	limited, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_ = s.files.Wait(limited) // what is missing is told by the report that needs it
}

// wait waits for d, or, while reports are taken, for a change. false: ctx is done.
func (s *Sender) wait(ctx context.Context, d time.Duration) bool {
	changed := s.changed
	if s.Status().Error != "" {
		changed = nil // the receiver is away: what changes goes into the next try
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	case <-changed:
	}
	timer.Reset(max(coalesce, apart-time.Since(s.sent)))
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// refusedError is an answer that trying again will not change.
type refusedError struct{ words string }

func (e *refusedError) Error() string { return e.words }

// send sends one report, and tells when reports begin or cease to arrive.
func (s *Sender) send(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	body, err := s.encode(Report{Node: s.node()})
	if err == nil {
		err = s.post(limited, body)
	}
	if ctx.Err() != nil {
		return err
	}
	words := ""
	if err != nil {
		words = health.CleanText(explain(err))
	}
	s.mu.Lock()
	before := s.status
	s.status.Error = words
	if err == nil {
		s.status.LastOK = time.Now().UTC()
	}
	s.mu.Unlock()
	switch {
	case err != nil && constant(before.Error) != constant(words):
		s.log.Warn().Str("to", s.status.To).Str("reason", words).Msg("health reports do not arrive; the service is not touched by that")
	case err == nil && (before.Error != "" || before.LastOK.IsZero()):
		s.log.Info().Str("to", s.status.To).Msg("health reports arrive")
	}
	return err
}

// constant leaves out what differs each time although it is the same trouble: times, ports.
func constant(words string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, words)
}

func explain(err error) string {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return refused.words
	}
	return mtls.Explain(err)
}

// encode makes the next report. A retry sends the same bytes, and a receiver that has them already says that it took them.
func (s *Sender) encode(r Report) ([]byte, error) {
	s.seq++
	s.sent = time.Now()
	r.Schema, r.Instance, r.Seq, r.SentAt, r.ValidFor = schema, s.instance, s.seq, s.sent.UTC(), validFor.Seconds()
	body, err := json.Marshal(r)
	if err != nil || len(body) < packFrom {
		return body, err
	}
	var packed bytes.Buffer
	// The level is a constant, and a buffer takes everything: neither can go wrong.
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	z.Write(body)
	z.Close()
	return packed.Bytes(), nil
}

// describe says what a body is. JSON does not begin as gzip does (RFC 1952 §2.3.1).
func describe(h http.Header, body []byte) {
	h.Set("Content-Type", "application/json")
	if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		h.Set("Content-Encoding", "gzip")
	}
}

func (s *Sender) post(ctx context.Context, body []byte) error {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, s.url, body)
	if err != nil {
		return err
	}
	describe(req.Header, body)
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	return answer(resp)
}

// answer reads what the receiver said.
func answer(resp *http.Response) error {
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // an answer cut short is still an answer
	words := fmt.Sprintf("%s: %s: %s", resp.Request.URL.Host, resp.Status, strings.TrimSpace(string(text)))
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusUnauthorized:
		return &refusedError{words}
	}
	return errors.New(words)
}

// goodbye tells the receiver that nothing is to be expected from here for now. Nobody is told when that fails.
func (s *Sender) goodbye() error {
	last := Report{Stopping: true}
	if s.Last != nil {
		last.Node, last.Job = s.Last()
	} else {
		last.Node = s.node()
	}
	if last.Job == nil && s.Status().LastOK.IsZero() {
		return nil // the receiver does not know us
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	body, err := s.encode(last)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	describe(req.Header, body)
	if resp, err := s.once.Do(req); err == nil {
		resp.Body.Close()
	}
	s.once.CloseIdleConnections()
	return nil
}
