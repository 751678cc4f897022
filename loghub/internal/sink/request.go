// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
	kind   kind
	after  time.Duration // Retry-After; 0: none
	large  bool          // it is its size that is not acceptable
	silent bool          // there was a connection, but no answer, or the request took too long: a smaller one may do
	code   int           // HTTP status, if there was an answer and it was no success
	doubt  error         // it was acknowledged, and perhaps not kept
	err    error
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
	asked := time.Now()
	resp, err := s.client.Do(req)
	if err != nil {
		return verdict{kind: retry, err: err, silent: silent(err)}
	}
	defer resp.Body.Close()
	s.compare(resp.Header.Get("Date"), asked, time.Now())
	success := resp.StatusCode/100 == 2
	if success { // from now on slowness is the answer's alone
		defer time.AfterFunc(min(answerTimeout, s.o.Timeout), cancel).Stop()
	}
	// The code tells enough: a server that refuses a large body may well cut its own answer short.
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	s.mu.Lock()
	s.state.Requests++
	s.state.Bytes += int64(len(body))
	s.mu.Unlock()
	if success {
		return verdict{kind: taken, doubt: s.read(resp, answer)}
	}
	return judge(resp, answer)
}

// silent says whether a request failed after its connection was made.
func silent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return !errors.Is(err, identity.ErrNone) && !(ok && (op.Op == "dial" || op.Op == "remote error"))
}

// errPage says that an answer is none of an OTLP receiver, though it is 2xx.
var errPage = errors.New("a page for people")

// read counts what a receiver took notice of and did not keep. Its error says so.
func (s *Sender) read(resp *http.Response, answer []byte) error {
	if media := resp.Header.Get("Content-Type"); strings.HasPrefix(media, "text/html") {
		if say, _ := s.page.worth(1); say {
			s.o.Log.Warn().Str("url", s.o.URL).Str("status", resp.Status).
				Msg("the receiver answers with a page for people: is the path right? what was sent counts as taken")
		}
		return fmt.Errorf("%s answers %s with %w: is the path right?", resp.Request.URL.Host, resp.Status, errPage)
	}
	r, err := otlp.DecodeResponse(answer)
	if err != nil || r == (otlp.Response{}) {
		return nil // not every engine answers in protobuf; 2xx is what counts
	}
	s.mu.Lock()
	s.state.Rejected += max(r.Rejected, 0)
	s.mu.Unlock()
	if say, n := s.partly.worth(r.Rejected); say {
		s.o.Log.Warn().Int64("rejected", n).Str("message", short(r.Message)).Msg("the receiver took requests in part: it did not keep some records")
	}
	if r.Rejected <= 0 {
		return nil
	}
	return fmt.Errorf("%s took the request and rejected %d of its records: %s", resp.Request.URL.Host, r.Rejected, short(r.Message))
}

// saying limits a warning to one in sayEvery. Each one would become a record itself, to be refused in turn.
type saying struct {
	at     time.Time
	unsaid int64
}

// worth adds n, and says whether and with which sum it is to be said now.
func (s *saying) worth(n int64) (bool, int64) {
	s.unsaid += n
	if !s.at.IsZero() && time.Since(s.at) < sayEvery {
		return false, 0
	}
	sum := s.unsaid
	s.at, s.unsaid = time.Now(), 0
	return true, sum
}

// judge says what an answer that is no success means.
func judge(resp *http.Response, answer []byte) verdict {
	v := verdict{kind: held, err: fmt.Errorf("%s answers %s%s", resp.Request.URL.Host, resp.Status, says(resp, answer)), code: resp.StatusCode}
	switch code := resp.StatusCode; {
	case code == 408 || code == 425 || code == 429 || code >= 500:
		v.kind, v.silent = retry, code == 408
		v.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	case code == 400 || code == 413 || code == 422:
		v.kind, v.large = poison, code == 413
	case code/100 == 3:
		v.err = fmt.Errorf("%w to %s, where logs are not sent: set the address that is meant", v.err, short(resp.Header.Get("Location")))
	}
	return v
}

// says quotes the receiver: a protobuf Status, which Loki sends without saying so, or the first line of a text, also of one that is
// not said to be one.
func says(resp *http.Response, answer []byte) string {
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	first, _, _ := strings.Cut(strings.TrimSpace(strings.ToValidUTF8(string(answer), "?")), "\n")
	text := ""
	switch {
	case media == otlp.ContentType || media == "application/octet-stream":
		if st, err := otlp.DecodeStatus(answer); err == nil {
			text = st.Message
		}
	case media == "text/plain" || media == "application/json" || strings.HasSuffix(media, "+json"):
		text = first
	case media == "" && utf8.Valid(answer) && strings.IndexFunc(first, unicode.IsControl) < 0 && !strings.HasPrefix(first, "<"):
		text = first
	}
	if text == "" {
		return ""
	}
	return ": " + short(text)
}

// short bounds what others say.
func short(text string) string {
	if len(text) > 300 {
		return strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
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
