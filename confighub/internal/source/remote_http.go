// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// maxRetryAfter bounds what a server can ask for.
const maxRetryAfter = 5 * time.Minute

// newClient makes the client of all requests: three tries in all, Retry-After honoured within reason.
func newClient(transport http.RoundTripper) *http.Client {
	retrying := retryablehttp.NewClient()
	retrying.Logger = nil
	retrying.HTTPClient = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	retrying.RetryMax = 2
	retrying.RetryWaitMin, retrying.RetryWaitMax = 100*time.Millisecond, time.Second
	retrying.CheckRetry = func(ctx context.Context, response *http.Response, err error) (bool, error) {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		// An error of the network is retried by the loop around, which also tells of it; a busy server here.
		return err == nil && (response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 502 && response.StatusCode <= 504), nil
	}
	retrying.Backoff = func(low, high time.Duration, attempt int, response *http.Response) time.Duration {
		pause := min(high, low<<attempt)
		if response != nil {
			if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
				pause = min(time.Duration(seconds)*time.Second, maxRetryAfter)
			}
		}
		return pause + rand.N(pause/2+1)
	}
	retrying.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return retrying.StandardClient()
}

func (r *Remote) request(ctx context.Context, method, what string, body io.Reader) (*http.Request, error) {
	target := r.base.JoinPath("v1/bundles", r.opts.ID.BundleName(), what)
	if method == http.MethodPost {
		target = r.base.JoinPath("v1", what)
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", r.base.Host, err)
	}
	request.Header.Set("User-Agent", "confighub")
	return request, nil
}

// body reads an answer of 200 whole, and makes an error of any other.
func (r *Remote) body(response *http.Response, limit int64) ([]byte, error) {
	if response.StatusCode != http.StatusOK {
		return nil, &statusError{response.StatusCode, fmt.Sprintf("%s: %s %s: %s: %s", r.base.Host, response.Request.Method,
			response.Request.URL.Path, response.Status, r.reason(response))}
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: reading the answer: %w", r.base.Host, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s: %s: the answer is larger than %d bytes, which is all it may have: publish it again", r.base.Host, response.Request.URL.Path, limit)
	}
	return raw, nil
}

// pageTitle finds in a static server's page what it says: "400 No required SSL certificate was sent".
var pageTitle = regexp.MustCompile(`(?is)<title>\s*([^<]*?)\s*</title>`)

// reason is what an answer says for itself. A page of a static server says little, so that we say what it mostly means.
func (r *Remote) reason(response *http.Response) string {
	words, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	said := strings.TrimSpace(strings.ToValidUTF8(string(words), "?"))
	page := pageTitle.FindStringSubmatch(said)
	if page == nil {
		return said
	}
	name := r.opts.ID.BundleName()
	switch blob := strings.Contains(response.Request.URL.Path, "/blobs/"); {
	case response.StatusCode == http.StatusForbidden:
		return "the server does not let the holder of the certificate of " + name + " read this"
	case response.StatusCode == http.StatusNotFound && blob:
		return "the bundle that the pointer names is not there: copy bundles before the pointers to them"
	case response.StatusCode == http.StatusNotFound:
		return fmt.Sprintf("nothing is published for %s: place it in hosts/%s/host.json of the tree, and publish", name, r.opts.ID.Host)
	}
	return page[1]
}

type statusError struct {
	status int
	words  string
}

// Error is what the server said.
func (e *statusError) Error() string { return e.words }
