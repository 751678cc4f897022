// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/otlp"
	"github.com/hashicorp/go-retryablehttp"
)

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

// attempt makes one request.
func (s *Sender) attempt(ctx context.Context, records []byte) verdict {
	body, encoding, err := s.packer.pack(s.o.Resource(), s.o.Scope, records)
	if err != nil {
		return verdict{kind: retry, err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*s.o.Timeout)
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
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
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
