// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/rs/zerolog"
)

// Bounds of waiting.
const (
	lingerMin      = 150 * time.Millisecond // between two requests that are not full …
	lingerMax      = time.Second
	lingerTimes    = 4                // … and so many times what the last one took: a slow receiver is asked less often
	requestTimeout = 30 * time.Second // of one try
	answerTimeout  = 5 * time.Second  // for the body behind a 2xx, which is success without it
	innerTries     = 1                // retries within one attempt, for what passes in an instant
	innerWait      = 200 * time.Millisecond
	backoffMin     = time.Second
	backoffMax     = time.Minute
	retryAfterMax  = 5 * time.Minute
	spoolWait      = time.Second      // after trouble with the spool
	probeEvery     = time.Minute      // while the operator's mistake lasts
	sayEvery       = 5 * time.Minute  // trouble that goes on
	enrolWait      = 5 * time.Second  // for an identity to come
	packerIdle     = 10 * time.Second // after which the compressor is let go
	changeEvery    = 10 * time.Second // trouble that changes its words: cut, refused, no route
	maxAnswer      = 64 << 10         // of a response body that is looked at
)

// Options make a Sender.
type Options struct {
	URL      string // with path
	Headers  map[string]string
	Files    *identity.Files // for https
	TLS      *TLSFiles       // for https by OTEL_EXPORTER_OTLP_*; nil: Files alone
	Timeout  time.Duration   // of a request with its answer; 0: 30 s
	Plain    bool            // no compression
	Resource func() []otlp.KeyValue
	Scope    otlp.Scope
	Spool    *spool.Spool
	Dead     *DeadLetters
	Log      zerolog.Logger
	Changed  func() // called when State has something new; must not block
	// Answered gets the records of each request that the receiver has answered for good, encoded; err: it refused them, or
	// may not have kept them all. It must not block, nor keep them.
	Answered func(records []byte, err error)
}

// State is what a Sender says of itself.
type State struct {
	OK       bool      `json:"ok"`                  // the last attempt went through, or there was none
	Held     bool      `json:"held,omitempty"`      // the receiver refuses us: somebody has to act
	Error    string    `json:"error,omitempty"`     // of the last attempt
	Code     int       `json:"code,omitempty"`      // HTTP status that was no success; absent: there was no answer
	Since    time.Time `json:"since,omitzero"`      // of the trouble
	LastAck  time.Time `json:"last_ack,omitzero"`   //
	Sent     int64     `json:"sent"`                // records acknowledged since loghub started
	Requests int64     `json:"requests"`            //
	Bytes    int64     `json:"bytes"`               // compressed
	Rejected int64     `json:"rejected,omitempty"`  // by partial success
	Dead     int64     `json:"dead,omitempty"`      // dead letters
	DeadLost int64     `json:"dead_lost,omitempty"` // of them not even kept
}

// Sender ships the spool to a receiver. Run is its only goroutine.
type Sender struct {
	o      Options
	client *retryablehttp.Client
	packer packer
	size   size
	linger time.Duration
	kick   chan struct{}
	full   bool   // the last batch had as much as it may: there is more
	partly saying // of partial success
	graves int    // dead letters so far
	buried saying // of dead letters
	page   saying // of answers no OTLP receiver gives

	mu    sync.Mutex
	state State
	clock clock
	said  time.Time // when trouble was last logged
	words string    // what was logged
	told  bool      // the trouble of now was logged, so its end is to be logged too
}

// New makes a Sender.
func New(o Options) *Sender {
	s := &Sender{o: o, state: State{OK: true}, size: newSize(), linger: lingerMin, kick: make(chan struct{}, 1)}
	transport := Transport(o.URL, o.TLS, o.Files)
	if s.o.Timeout == 0 {
		s.o.Timeout = requestTimeout
	}
	s.packer.plain = o.Plain
	s.client = retryablehttp.NewClient()
	s.client.HTTPClient = &http.Client{
		Transport: transport, Timeout: s.o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.client.Logger = nil
	s.client.RetryMax = innerTries
	s.client.CheckRetry = checkRetry
	s.client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration {
		return rand.N(innerWait)
	}
	s.client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return s
}

// State returns what the Sender says of itself.
func (s *Sender) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	if s.o.Dead != nil {
		st.Dead, st.DeadLost = s.o.Dead.Counts()
	}
	return st
}

// Run ships until ctx is done. The request that is under way then goes on until
// hard is done.
func (s *Sender) Run(ctx, hard context.Context) error {
	defer s.client.HTTPClient.CloseIdleConnections()
	wait := backoffMin
	var last time.Time // when the last request was done
	for {
		d, err := s.next(ctx, last)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			s.o.Log.Warn().Err(err).Msg("reading the spool")
			if !sleep(ctx, spoolWait) {
				return nil
			}
			continue
		}
		start := time.Now()
		v := s.deliver(hard, d, 0, d.Len())
		last = time.Now()
		s.linger = min(max(lingerTimes*last.Sub(start), lingerMin), lingerMax)
		if ctx.Err() != nil {
			return nil
		}
		if v.kind == taken {
			wait = backoffMin
			continue
		}
		if errors.Is(v.err, identity.ErrNone) {
			s.enrolled(ctx)
			last, wait = time.Time{}, backoffMin
			continue
		}
		if !s.idle(ctx, pause(v, wait), v.after > 0) {
			return nil
		}
		wait = min(2*wait, backoffMax)
	}
}

// Kick has the Sender try again now, if it waits after trouble; but not before the time that the receiver has named.
func (s *Sender) Kick() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// idle waits for d, for a kick or for ctx; false says that ctx is done. named: the receiver wants it so.
func (s *Sender) idle(ctx context.Context, d time.Duration, named bool) bool {
	select {
	case <-s.kick: // one that came while there was no trouble
	default:
	}
	kick := s.kick
	if named {
		kick = nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-kick:
	}
	return true
}

// pause is how long to wait after an attempt that failed.
func pause(v verdict, backoff time.Duration) time.Duration {
	switch {
	case v.kind == held:
		return probeEvery + rand.N(probeEvery/10)
	case v.after > 0:
		return v.after + rand.N(v.after/10+time.Millisecond)
	}
	return rand.N(backoff) + 50*time.Millisecond
}

// enrolled waits for the identity, for as long as its absence is no trouble.
func (s *Sender) enrolled(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, enrolWait)
	defer cancel()
	_ = s.o.Files.Wait(limited) // what is missing is told by the request that needs it
}

// next waits for records and for a batch to fill: the first after a quiet time
// goes at once.
func (s *Sender) next(ctx context.Context, last time.Time) (*spool.Delivery, error) {
	if !s.full {
		s.gather(ctx, time.Until(last.Add(s.linger)))
	}
	for {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		d, err := s.o.Spool.Peek(s.size.records, s.size.bytes)
		if err != nil {
			return nil, err
		}
		s.full = s.size.full(d.Len(), len(d.Records))
		if d.Len() > 0 {
			return d, nil
		}
		select {
		case <-ctx.Done():
		case <-s.o.Spool.More():
		case <-time.After(packerIdle):
			s.rest()
		}
	}
}

// gather waits for a batch to fill, for d at most.
func (s *Sender) gather(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	due := time.NewTimer(d)
	defer due.Stop()
	for !s.o.Spool.Due(s.size.records) {
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			return
		case <-s.o.Spool.More():
		}
	}
}

// rest lets go of the memory of a burst.
func (s *Sender) rest() {
	if s.packer.release() {
		_, _ = s.o.Spool.Peek(1, packFrom) // lets go of its buffer, too; what is wrong is told by the next Peek
		debug.FreeOSMemory()
	}
}

// Flush sends what waits until all of it is acknowledged, an attempt fails or ctx
// is done. It returns how many records still wait. Run must have returned.
func (s *Sender) Flush(ctx context.Context) int64 {
	defer s.client.HTTPClient.CloseIdleConnections()
	for {
		d, err := s.o.Spool.Peek(s.size.records, s.size.bytes)
		if err != nil || d.Len() == 0 || ctx.Err() != nil {
			break
		}
		if v := s.deliver(ctx, d, 0, d.Len()); v.kind != taken {
			break
		}
	}
	return s.o.Spool.Stats().Backlog
}

// deliver sends the records i to j of d and acknowledges them in the spool. When
// the receiver cannot take them as they are, it halves them.
func (s *Sender) deliver(ctx context.Context, d *spool.Delivery, i, j int) verdict {
	records := d.Slice(i, j)
	v := s.attempt(ctx, records)
	switch v.kind {
	case taken:
		s.size.took(j-i, len(records))
		s.acked(d, i, j, j-i)
		s.answered(records, v.doubt)
		return v
	case poison:
		if v.large && j-i > 1 {
			s.size.refused(len(records))
		}
		if j-i == 1 {
			return s.bury(ctx, d, i, v)
		}
		return s.halve(ctx, d, i, j)
	case retry:
		if v.silent {
			s.size.failed()
		}
	}
	s.trouble(v)
	return v
}

// halve delivers what was refused as one in two. Where nothing in it was to blame, its size was.
func (s *Sender) halve(ctx context.Context, d *spool.Delivery, i, j int) verdict {
	mid, graves := i+(j-i)/2, s.graves
	if v := s.deliver(ctx, d, i, mid); v.kind != taken {
		return v
	}
	v := s.deliver(ctx, d, mid, j)
	if v.kind == taken && s.graves == graves {
		s.size.refused(len(d.Slice(i, j)))
	}
	return v
}

func (s *Sender) answered(records []byte, err error) {
	if s.o.Answered != nil {
		s.o.Answered(records, err)
	}
}

func (s *Sender) acked(d *spool.Delivery, i, j, sent int) {
	if _, err := s.o.Spool.Ack(d, i, j); err != nil {
		s.o.Log.Warn().Err(err).Msg("sent records may be sent again after a restart")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told {
		s.told = false
		s.o.Log.Info().Str("url", s.o.URL).Str("after", time.Since(s.state.Since).Round(time.Second).String()).
			Int64("backlog", s.o.Spool.Stats().Backlog).Msg("the receiver takes logs again")
	}
	s.state.OK, s.state.Held, s.state.Error, s.state.Code, s.state.Since = true, false, "", 0, time.Time{}
	if sent > 0 {
		s.state.LastAck = time.Now()
		s.state.Sent += int64(sent)
	}
	s.o.Changed()
}

// trouble notes a failed attempt and says it when it is news.
func (s *Sender) trouble(v verdict) {
	words := mtls.Explain(v.err)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	quiet := now.Sub(s.said)
	news := s.state.OK || words != s.words && quiet >= changeEvery || quiet >= sayEvery
	if s.state.OK {
		s.state.Since = now
	}
	s.state.OK, s.state.Held, s.state.Error, s.state.Code = false, v.kind == held, words, v.code
	if errors.Is(v.err, identity.ErrNone) && now.Sub(s.state.Since) < enrolWait {
		news = false // a new container is being enrolled
	}
	if news {
		s.words, s.said, s.told = words, now, true
		level := s.o.Log.Warn()
		if v.kind == held {
			level = s.o.Log.Error()
		}
		level.Str("url", s.o.URL).Int64("backlog", s.o.Spool.Stats().Backlog).
			Msg("logs wait in the spool: " + words)
	}
	s.o.Changed()
}

// sleep waits for d or for ctx; false says that ctx is done.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
