// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

const (
	maxBodyBytes = 64 << 10 // how much of a body is read and matched
	maxHeadBytes = 64 << 10 // of an answer
	maxInterim   = 5        // answers 1xx before the real one (RFC 9110 §15.2)
)

// httpCheck asks one question over one connection. It speaks HTTP/1.1 by itself, with the standard library's reader of answers: its
// client would bring two goroutines and a pool of connections for each check, and no times of the parts of a look.
type httpCheck struct {
	network, address string // whom to connect to
	host             string // of the URL
	request          *http.Request
	wire             []byte // request, as it is sent
	trust            *trust // nil: no TLS

	statuses []setting.Statuses
	headers  []headerRule
	body     *regexp.Regexp // nil: any
}

// headerRule is what a header of the answer must match, in one of its lines.
type headerRule struct {
	name    string // canonical
	pattern *regexp.Regexp
}

// httpLook makes the look of kind http. Every look opens a connection of its own, since a kept one would not notice
// that new ones are refused. Redirections are answers, not followed; proxy variables are ignored.
func httpLook(s setting.Check, files *identity.Files) (Func, error) {
	h := &httpCheck{network: "tcp"}
	var err error
	if h.statuses, err = setting.ParseStatuses(s.Status); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(s.Header)) {
		pattern, err := regexp.Compile(s.Header[name])
		if err != nil {
			return nil, err
		}
		h.headers = append(h.headers, headerRule{http.CanonicalHeaderKey(name), pattern})
	}
	if s.Body != "" {
		if h.body, err = regexp.Compile(s.Body); err != nil {
			return nil, err
		}
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	if err := h.prepare(s, u); err != nil {
		return nil, err
	}
	port := "80"
	if u.Scheme == "https" {
		port, h.trust = "443", newTrust(s, files, setting.CASystem)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	h.host, h.address = u.Hostname(), net.JoinHostPort(u.Hostname(), port)
	if s.Path != "" {
		h.network, h.address = "unix", s.Path
	}
	return h.look, nil
}

// prepare makes the request, once for all looks.
func (h *httpCheck) prepare(s setting.Check, u *url.URL) error {
	method := http.MethodGet
	if s.Method != "" {
		method = s.Method
	}
	h.request = &http.Request{Method: method, URL: u, Header: http.Header{"User-Agent": {"healthhub"}}, Close: true}
	for name, value := range s.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			h.request.Host = value
			continue
		}
		h.request.Header.Set(name, value)
	}
	if u.User != nil && h.request.Header.Get("Authorization") == "" {
		password, _ := u.User.Password()
		h.request.SetBasicAuth(u.User.Username(), password)
	}
	var wire bytes.Buffer
	if err := h.request.Write(&wire); err != nil {
		return err
	}
	h.wire = wire.Bytes()
	return nil
}

// reading is what a look reads with.
type reading struct {
	limit io.LimitedReader
	buf   *bufio.Reader
}

var readings = sync.Pool{New: func() any { return &reading{buf: bufio.NewReaderSize(nil, 4<<10)} }}

func (h *httpCheck) look(ctx context.Context) Result {
	start := time.Now()
	conn, err := connect(ctx, h.network, h.address)
	if err != nil {
		return connection.failed(h.address, err)
	}
	defer conn.Close()
	values := make([]health.Value, 0, 6)
	values = append(values, value("connect", "s", time.Since(start).Seconds()))
	var stream net.Conn = conn
	if h.trust != nil {
		begin := time.Now()
		secure, r := startTLS(ctx, conn, h.trust, h.host, h.address)
		if secure == nil {
			return r
		}
		values = append(values, value("tls", "s", time.Since(begin).Seconds()))
		values = appendCertLeft(values, secure.ConnectionState().PeerCertificates)
		stream = secure
	}
	_, unheard := stream.Write(h.wire) // a server with no time for us may answer and close without listening
	in := readings.Get().(*reading)
	defer in.release()
	in.limit = io.LimitedReader{R: stream, N: maxHeadBytes}
	in.buf.Reset(&in.limit)
	resp, err := h.head(in)
	if err != nil {
		if unheard != nil {
			err = unheard
		}
		return answer.failed(h.address, h.trust.whyCut(ctx, h.network, h.address, h.host, err))
	}
	// Its body is not closed: that would read it to its end, and there is nothing else to let go of.
	values = append(values, value("first_byte", "s", time.Since(start).Seconds()))
	in.limit.N = math.MaxInt64 // the body has a limit of its own
	r, size := h.judge(resp, start)
	r.Values = append(values, value("status", "", float64(resp.StatusCode)), value("size", "By", float64(size)))
	return r
}

func (r *reading) release() {
	r.limit.R = nil // the connection is not kept alive by the pool
	readings.Put(r)
}

// head reads the answer's head, past interim ones.
func (h *httpCheck) head(in *reading) (*http.Response, error) {
	for range maxInterim {
		resp, err := http.ReadResponse(in.buf, h.request)
		if err != nil {
			if in.limit.N == 0 {
				err = fmt.Errorf("the head of the answer is longer than %d bytes", maxHeadBytes)
			}
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, errors.New("interim answers, and no other")
}

// judge says what an answer is worth, and how long its body was, up to maxBodyBytes.
func (h *httpCheck) judge(resp *http.Response, start time.Time) (r Result, size int64) {
	const most = 80
	status := resp.Status[:min(len(resp.Status), most)]
	var body []byte
	var err error
	if limited := io.LimitReader(resp.Body, maxBodyBytes); h.body != nil {
		body, err = io.ReadAll(limited)
		size = int64(len(body))
	} else {
		size, err = io.Copy(io.Discard, limited)
	}
	if err != nil {
		text, action := answer.explain(err)
		if text == "" {
			return blind("%s, then %s", status, plain(err)), size
		}
		return fail("%s, then %s", status, text).advise("%s", action), size
	}
	in := func(s setting.Statuses) bool { return resp.StatusCode >= s.From && resp.StatusCode <= s.To }
	if !slices.ContainsFunc(h.statuses, in) {
		return fail("%s in %s", status, took(start)).advise("%s", forStatus(resp)), size
	}
	for _, rule := range h.headers {
		if lines := resp.Header[rule.name]; !slices.ContainsFunc(lines, rule.pattern.MatchString) {
			return fail("%s, but header %s %s", status, rule.name, unlike(lines, rule.pattern)).advise("see the log of the service, or correct the check's header"), size
		}
	}
	if h.body != nil && !h.body.Match(body) {
		return fail("%s, but the body does not match %q", status, h.body).advise("see what the service answers, or correct the check's body"), size
	}
	return pass("%s in %s", status, took(start)), size
}

func unlike(lines []string, pattern *regexp.Regexp) string {
	if len(lines) == 0 {
		return "is missing"
	}
	return fmt.Sprintf("is %.100q, which does not match %q", lines[0], pattern)
}

// forStatus says what to do about a status that was not wanted.
func forStatus(resp *http.Response) string {
	switch code := resp.StatusCode; {
	case code >= 500:
		return "see the log of the service"
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return "let the check through, give it what it needs in headers, or count this status as good"
	case code == http.StatusNotFound:
		return "correct the check's url, or see why the service no longer has it"
	case code >= 300 && code < 400:
		return "look at where it leads, or count this status as good"
	}
	return "see the log of the service, or count this status as good"
}
