// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/spool"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/klauspost/compress/gzip"
	"github.com/rs/zerolog"
)

// Bounds of a batch and of waiting.
const (
	maxRecords     = 512
	maxBytes       = 512 << 10
	batchWait      = time.Second      // between two requests that are not full
	requestTimeout = 30 * time.Second // of one try
	innerTries     = 1                // retries within one attempt, for what passes in an instant
	innerWait      = 200 * time.Millisecond
	backoffMin     = time.Second
	backoffMax     = time.Minute
	retryAfterMax  = 5 * time.Minute
	probeEvery     = time.Minute // while the operator's mistake lasts
	sayEvery       = 5 * time.Minute
	maxAnswer      = 64 << 10 // of a response body that is looked at
)

// Options make a Sender.
type Options struct {
	URL      string // with path
	Headers  map[string]string
	Files    *identity.Files // for https
	Resource func() []otlp.KeyValue
	Scope    otlp.Scope
	Spool    *spool.Spool
	Dead     *DeadLetters
	Log      zerolog.Logger
	Changed  func() // called when State has something new; must not block
}

// State is what a Sender says of itself.
type State struct {
	OK       bool      `json:"ok"`                  // the last attempt went through, or there was none
	Held     bool      `json:"held,omitempty"`      // the receiver refuses us: somebody has to act
	Error    string    `json:"error,omitempty"`     // of the last attempt
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
	gz     *gzip.Writer
	packed bytes.Buffer
	head   []byte

	accepted bool // the receiver has taken a record of ours in this run

	mu    sync.Mutex
	state State
	said  time.Time // when trouble was last logged
	words string    // what was logged
}

// New makes a Sender.
func New(o Options) *Sender {
	gz, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil { // the level is a constant
		panic(err)
	}
	s := &Sender{o: o, gz: gz, state: State{OK: true}}
	var transport http.RoundTripper = plainTransport()
	if strings.HasPrefix(o.URL, "https:") {
		transport = &tlsTransport{files: o.Files}
	}
	s.client = retryablehttp.NewClient()
	s.client.HTTPClient = &http.Client{
		Transport: transport, Timeout: requestTimeout,
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

// checkRetry lets a connection that broke be tried again at once: it may have
// been an idle one that the server had closed. Answers are judged by attempt.
func checkRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err == nil || errors.Is(err, identity.ErrNone) {
		return false, nil
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "connection reset"), nil
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
			if !sleep(ctx, batchWait) {
				return nil
			}
			continue
		}
		v := s.deliver(hard, d, 0, d.Len())
		last = time.Now()
		if ctx.Err() != nil {
			return nil
		}
		if v.kind == taken {
			wait = backoffMin
			continue
		}
		pause := rand.N(wait) + 50*time.Millisecond
		wait = min(2*wait, backoffMax)
		switch {
		case v.kind == held:
			pause = probeEvery + rand.N(probeEvery/10)
		case v.after > 0:
			pause = v.after + rand.N(v.after/10+time.Millisecond)
		case errors.Is(v.err, identity.ErrNone):
			pause, wait = time.Second, backoffMin
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// next waits for records and for a batch to fill: the first after a quiet time
// goes at once.
func (s *Sender) next(ctx context.Context, last time.Time) (*spool.Delivery, error) {
	for {
		d, err := s.o.Spool.Peek(maxRecords, maxBytes)
		if err != nil {
			return nil, err
		}
		full := d.Len() >= maxRecords || len(d.Records) >= maxBytes*3/4
		if d.Len() > 0 && (full || time.Since(last) >= batchWait) {
			return d, nil
		}
		var due <-chan time.Time
		if d.Len() > 0 {
			due = time.After(time.Until(last.Add(batchWait)))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-due:
		case <-s.o.Spool.More():
			if d.Len() > 0 { // more to come: let it gather
				if !sleep(ctx, min(time.Until(last.Add(batchWait)), 20*time.Millisecond)) {
					return nil, ctx.Err()
				}
			}
		}
	}
}

// Flush sends what waits until all of it is acknowledged, an attempt fails or ctx
// is done. It returns how many records still wait. Run must have returned.
func (s *Sender) Flush(ctx context.Context) int64 {
	defer s.client.HTTPClient.CloseIdleConnections()
	for {
		d, err := s.o.Spool.Peek(maxRecords, maxBytes)
		if err != nil || d.Len() == 0 || ctx.Err() != nil {
			break
		}
		if v := s.deliver(ctx, d, 0, d.Len()); v.kind != taken {
			break
		}
	}
	return s.o.Spool.Stats().Backlog
}

// verdict is what became of an attempt.
type verdict struct {
	kind  kind
	after time.Duration // Retry-After; 0: none
	err   error
}

type kind int

const (
	taken  kind = iota // acknowledged, or out of the way
	retry              // the same again later
	held               // the same again much later: somebody has to act
	poison             // something in it is not acceptable
)

// deliver sends the records i to j of d and acknowledges them in the spool. When
// the receiver cannot take them as they are, it halves them.
func (s *Sender) deliver(ctx context.Context, d *spool.Delivery, i, j int) verdict {
	v := s.attempt(ctx, d.Slice(i, j))
	switch v.kind {
	case taken:
		s.acked(d, i, j, j-i)
		return v
	case poison:
		if j-i > 1 {
			mid := i + (j-i)/2
			if v := s.deliver(ctx, d, i, mid); v.kind != taken {
				return v
			}
			return s.deliver(ctx, d, mid, j)
		}
		if v := s.probe(ctx, d, i, v); v.kind != taken {
			s.trouble(v)
			return v
		}
		s.bury(d.Record(i), v.err)
		s.acked(d, i, j, 0)
		return verdict{kind: taken}
	}
	s.trouble(v)
	return v
}

// probe makes sure that a receiver which refuses record i takes others: one that
// refuses everything is the wrong address, and no reason to bury a whole spool.
// The record it may send is sent again later, under the same uid.
func (s *Sender) probe(ctx context.Context, d *spool.Delivery, i int, refused verdict) verdict {
	if s.accepted {
		return verdict{kind: taken}
	}
	for _, other := range []int{d.Len() - 1, 0, d.Len() / 2} {
		if other == i {
			continue
		}
		if v := s.attempt(ctx, d.Record(other)); v.kind != poison {
			return v
		}
	}
	refused.kind = held
	return refused
}

func (s *Sender) acked(d *spool.Delivery, i, j, sent int) {
	if _, err := s.o.Spool.Ack(d, i, j); err != nil {
		s.o.Log.Warn().Err(err).Msg("sent records may be sent again after a restart")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.state.OK {
		s.o.Log.Info().Str("url", s.o.URL).Str("after", time.Since(s.state.Since).Round(time.Second).String()).
			Int64("backlog", s.o.Spool.Stats().Backlog).Msg("the receiver takes logs again")
	}
	s.state.OK, s.state.Held, s.state.Error, s.state.Since = true, false, "", time.Time{}
	s.words = ""
	if sent > 0 {
		s.state.LastAck = time.Now()
		s.state.Sent += int64(sent)
	}
	s.o.Changed()
}

// bury keeps a record that no receiver would take.
func (s *Sender) bury(record []byte, why error) {
	s.o.Log.Warn().Err(why).Msg("the receiver refuses a record for good: it goes to the dead letters")
	if s.o.Dead == nil {
		return
	}
	if err := s.o.Dead.Add(record, why.Error()); err != nil {
		s.o.Log.Warn().Err(err).Msg("a dead letter is lost")
	}
}

// trouble notes a failed attempt and says it when it is news.
func (s *Sender) trouble(v verdict) {
	words := mtls.Explain(v.err)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.state.OK {
		s.state.Since = now
	}
	s.state.OK, s.state.Held, s.state.Error = false, v.kind == held, words
	if words != s.words && now.Sub(s.said) > time.Second || now.Sub(s.said) >= sayEvery {
		s.words, s.said = words, now
		level := s.o.Log.Warn()
		if v.kind == held {
			level = s.o.Log.Error()
		}
		level.Str("url", s.o.URL).Int64("backlog", s.o.Spool.Stats().Backlog).
			Msg("logs wait in the spool: " + words)
	}
	s.o.Changed()
}

// attempt makes one request.
func (s *Sender) attempt(ctx context.Context, records []byte) verdict {
	body, err := s.pack(records)
	if err != nil {
		return verdict{kind: retry, err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*requestTimeout)
	defer cancel()
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, body)
	if err != nil {
		return verdict{kind: held, err: err}
	}
	req.Header.Set("User-Agent", "loghub/"+s.o.Scope.Version)
	for k, v := range s.o.Headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("Content-Type", otlp.ContentType)
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := s.client.Do(req)
	if err != nil {
		return verdict{kind: retry, err: err}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	s.mu.Lock()
	s.state.Requests++
	s.state.Bytes += int64(len(body))
	s.mu.Unlock()
	if resp.StatusCode/100 == 2 {
		s.accepted = true
		s.partial(answer)
		return verdict{kind: taken}
	}
	if err != nil {
		return verdict{kind: retry, err: err}
	}
	return judge(resp, answer)
}

// pack makes the compressed body of a request. It is valid until the next call.
func (s *Sender) pack(records []byte) ([]byte, error) {
	s.head = otlp.AppendRequest(s.head[:0], s.o.Resource(), s.o.Scope, len(records))
	s.packed.Reset()
	s.gz.Reset(&s.packed)
	if _, err := s.gz.Write(s.head); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if _, err := s.gz.Write(records); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	if err := s.gz.Close(); err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	return s.packed.Bytes(), nil
}

// partial counts what a receiver took notice of and did not keep.
func (s *Sender) partial(answer []byte) {
	r, err := otlp.DecodeResponse(answer)
	if err != nil || r == (otlp.Response{}) {
		return // not every engine answers in protobuf; 2xx is what counts
	}
	if r.Rejected > 0 {
		s.mu.Lock()
		s.state.Rejected += r.Rejected
		s.mu.Unlock()
	}
	s.o.Log.Warn().Int64("rejected", r.Rejected).Str("message", r.Message).Msg("the receiver took the request in part")
}

// judge says what an answer that is no success means.
func judge(resp *http.Response, answer []byte) verdict {
	v := verdict{kind: held, err: fmt.Errorf("%s answers %s%s", resp.Request.URL.Host, resp.Status, says(resp, answer))}
	switch code := resp.StatusCode; {
	case code == 408 || code == 425 || code == 429 || code >= 500:
		v.kind = retry
		v.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	case code == 400 || code == 413 || code == 422:
		v.kind = poison
	}
	return v
}

// says quotes the receiver: a protobuf Status, or the first line of a text.
func says(resp *http.Response, answer []byte) string {
	text := ""
	if st, err := otlp.DecodeStatus(answer); err == nil && strings.HasPrefix(resp.Header.Get("Content-Type"), otlp.ContentType) {
		text = st.Message
	} else if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") || strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		text, _, _ = strings.Cut(strings.TrimSpace(strings.ToValidUTF8(string(answer), "?")), "\n")
	}
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// retryAfter reads the header (RFC 9110 §10.2.3): seconds or a date.
func retryAfter(h string, now time.Time) time.Duration {
	if h == "" {
		return 0
	}
	d := time.Duration(0)
	if n, err := strconv.Atoi(strings.TrimSpace(h)); err == nil {
		d = time.Duration(min(max(n, 0), 1<<20)) * time.Second
	} else if t, err := http.ParseTime(h); err == nil {
		d = t.Sub(now)
	}
	return min(max(d, 0), retryAfterMax)
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
