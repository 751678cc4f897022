// SPDX-License-Identifier: AGPL-3.0-or-later

// Package webhook makes HTTP requests of messages, and sends them: to ntfy, Gotify, Slack, or whatever takes a request.
//
// In: a [Form], which the settings give, and a [Message] each time there is something to say. A form has templates
// (text/template) for URL, headers and body, over the fields of Message. A body that is a JSON object or list is
// filled in leaf by leaf and encoded afterwards: whatever stands in a message, it cannot break out of its string. A leaf that
// begins with "=" becomes the JSON value that its template prints, for numbers and the like:
//
//	{"title": "{{.Title}}", "priority": "={{.Priority}}"}
//
// A body that is a string is sent as text; in it {{json .Title}} is a JSON string. A header that comes out empty is left out.
// [Presets] are forms that are known by a name.
//
// Out: one request a message, and the same again while that may help, for at most [Limit]. A redirect is never followed: it
// would carry a secret to a place that nobody wrote down. Proxy variables are ignored, as everywhere in the fleet, and certificates are
// always checked. Every answer but 2xx is an error.
//
// Everything of a URL but scheme and host is a secret, as are the secret of its file and the headers: no error shows them,
// not even where the answer of the server does.
//
// Left out: what is worth a message, and when (notify); answers beyond their status.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
)

const (
	// Limit is how long sending one message may take, its repetitions included.
	Limit = 30 * time.Second

	tryLimit  = 10 * time.Second // for one request and its answer
	tries     = 3
	pauseMin  = time.Second
	pauseMax  = 5 * time.Second // and the longest Retry-After that is waited for here; after a longer one the caller waits
	maxAfter  = time.Hour       // what is made of a Retry-After beyond it
	maxAnswer = 4 << 10         // bytes of an answer that are read
	maxWords  = 200             // and shown
)

// Hook is a receiver that messages can be sent to. Its methods may be called from several goroutines.
type Hook struct {
	form   *form
	client *retryablehttp.Client
}

// New makes a hook. files gives the fleet's roots to a form that wants them. An error says what is wrong with the form.
func New(f Form, files *identity.Files) (*Hook, error) {
	compiled, err := compile(f)
	if err != nil {
		return nil, err
	}
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{
		Transport: &transport{ca: f.CA, files: files}, Timeout: tryLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	client.Logger = nil
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax = tries-1, pauseMin, pauseMax
	client.CheckRetry = worthRepeating
	client.Backoff = pause
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return &Hook{form: compiled, client: client}, nil
}

// Close lets go of connections that wait for more.
func (h *Hook) Close() { h.client.HTTPClient.CloseIdleConnections() }

// Answer is what a receiver said to a message that it took.
type Answer struct {
	Host   string // that was asked
	Status string // "200 OK"
	Took   time.Duration
}

// Error is why a message did not arrive, without secrets.
type Error struct {
	Words string
	After time.Duration // the receiver asks not to be asked again before; 0: it does not say
	Wrong bool          // it will not be taken another time either, unless people change something
}

func (e *Error) Error() string { return e.Words }

// Send sends a message. An error is an [*Error].
func (h *Hook) Send(ctx context.Context, m Message) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	req, err := h.form.request(ctx, m)
	if err != nil {
		return Answer{}, &Error{Words: err.Error(), Wrong: true}
	}
	start := time.Now()
	resp, err := h.client.Do(req.Request)
	if err != nil {
		return Answer{}, &Error{Words: req.conceal(explain(req.host(), err))}
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // an answer cut short is still an answer
	answer := Answer{Host: req.host(), Status: resp.Status, Took: time.Since(start)}
	if resp.StatusCode/100 == 2 {
		return answer, nil
	}
	words := answer.Host + " answered " + resp.Status
	if to, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
		words += ", which leads to " + to.Scheme + "://" + to.Host + ": redirects are not followed, set the url to where it shall go"
	} else if said := Cut(health.CleanText(string(text)), maxWords); said != "" {
		words += ": " + said
	}
	wrong := resp.StatusCode/100 != 5 && !passing(resp.StatusCode)
	return answer, &Error{Words: req.conceal(words), After: retryAfter(resp), Wrong: wrong}
}

// passing reports whether a status of 4xx is one that time mends.
func passing(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

// worthRepeating says what may be otherwise in a few seconds.
func worthRepeating(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if resp != nil && retryAfter(resp) > pauseMax {
		return false, nil
	}
	return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
}

// pause is what the receiver asks for, or longer each time with jitter.
func pause(low, high time.Duration, attempt int, resp *http.Response) time.Duration {
	if after := retryAfter(resp); after > 0 {
		return after
	}
	limit := min(low<<attempt, high)
	return limit/2 + rand.N(limit/2)
}

// retryAfter reads the header of that name (RFC 9110, 10.2.3); 0: there is none.
func retryAfter(resp *http.Response) time.Duration {
	if resp == nil {
		return 0
	}
	value := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(at), 0), maxAfter)
	}
	return 0
}

// explain says why there was no answer. The URL of the error is left out, it may be a secret.
func explain(host string, err error) string {
	if request, ok := errors.AsType[*url.Error](err); ok {
		err = request.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return fmt.Sprintf("%s: no answer in time (%s a try)", host, tryLimit)
	case errors.Is(err, context.Canceled):
		return host + ": given up, since healthhub ends"
	}
	return host + ": " + mtls.Explain(err)
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err)
	return ok && t.Timeout()
}

// Cut shortens a text to so many bytes, at a rune's edge.
func Cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
}
