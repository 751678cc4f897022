// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
)

// maxBodyBytes bounds how much of a body is read and matched.
const maxBodyBytes = 64 << 10

// httpLook makes the look of kind http. Every look opens a connection of its own, since a kept one would not notice
// that new ones are refused. Redirections are answers, not followed; proxy variables are ignored.
func httpLook(s setting.Check) (Func, error) {
	statuses, err := setting.ParseStatuses(s.Status)
	if err != nil {
		return nil, err
	}
	var body *regexp.Regexp
	if s.Body != "" {
		if body, err = regexp.Compile(s.Body); err != nil {
			return nil, err
		}
	}
	conf := &tls.Config{ServerName: s.ServerName, InsecureSkipVerify: s.Verify != nil && !*s.Verify}
	if s.CA != "" {
		if conf.RootCAs, err = readRoots(s.CA); err != nil {
			return nil, err
		}
	}
	client := &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: conf, MaxResponseHeaderBytes: 64 << 10,
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	target := s.URL
	return func(ctx context.Context) Result {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return blind("%v", err)
		}
		req.Header.Set("User-Agent", "healthhub")
		return get(client, req, statuses, body)
	}, nil
}

func get(client *http.Client, req *http.Request, statuses []setting.Statuses, body *regexp.Regexp) Result {
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // its text repeats the URL, which everybody can see in the settings
		}
		return fail("%s", reason(err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBodyBytes))
	if err != nil {
		return fail("%s, then %s", resp.Status, reason(err))
	}
	in := func(s setting.Statuses) bool { return resp.StatusCode >= s.From && resp.StatusCode <= s.To }
	if !slices.ContainsFunc(statuses, in) {
		return fail("%s in %s", resp.Status, took(start))
	}
	if body != nil && !body.Match(data) {
		return fail("%s, but the body does not match %q", resp.Status, body)
	}
	return pass("%s in %s", resp.Status, took(start))
}
