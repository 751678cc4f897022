// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/sink"
)

// Times of a push. The interval is that of OTEL_METRIC_EXPORT_INTERVAL (opentelemetry.io/docs/specs/otel/configuration).
const (
	pushEvery   = time.Minute
	pushAtLeast = time.Second
	pushTimeout = 10 * time.Second
	pushAnswer  = 64 << 10 // bytes of an answer that are read
)

// push sends loghub's own figures by OTLP/HTTP, where the variables of OpenTelemetry ask for it. A push that fails is not
// repeated: the next one has newer figures.
type push struct {
	r      *runner
	to     receiver
	every  time.Duration
	client *http.Client
	start  time.Time
	words  string // of the last failure, which was said; "": it went through
}

// newPush is nil where nobody asked.
func newPush(r *runner, getenv func(string) string) *push {
	p := &push{r: r, to: metricsReceiver(getenv), every: pushEvery, start: time.Now()}
	for _, note := range p.to.notes {
		r.log.Warn().Msg("metrics: " + note)
	}
	if p.to.url == "" {
		return nil
	}
	if ms, err := strconv.Atoi(getenv("OTEL_METRIC_EXPORT_INTERVAL")); err == nil && ms > 0 {
		p.every = max(time.Duration(ms)*time.Millisecond, pushAtLeast)
	}
	timeout := pushTimeout
	if p.to.timeout > 0 {
		timeout = p.to.timeout
	}
	p.client = &http.Client{
		Transport: sink.Transport(p.to.url, p.to.tls, r.files), Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r.log.Info().Str("otlp", p.to.url).Str("otlp_from", p.to.from).Str("every", p.every.String()).Msg("metrics are sent")
	return p
}

// run sends until ctx is done.
func (p *push) run(ctx context.Context) {
	defer p.client.CloseIdleConnections()
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.send(ctx); ctx.Err() == nil {
			p.say(err)
		}
	}
}

// say tells a failure when it is another one, and its end.
func (p *push) say(err error) {
	words := ""
	if err != nil {
		words = mtls.Explain(err)
	}
	switch {
	case words == p.words || errors.Is(err, identity.ErrNone):
		return
	case words == "":
		p.r.log.Info().Str("url", p.to.url).Msg("metrics are taken again")
	default:
		p.r.log.Warn().Str("url", p.to.url).Msg("metrics are not taken: " + words)
	}
	p.words = words
}

func (p *push) send(ctx context.Context) error {
	node, section := p.r.report.latest()
	body := otlp.AppendMetrics(nil, p.r.resource.attributes(), otlp.Scope{Name: "loghub", Version: daemon.Version()},
		otlpMetrics(metrics(node, section), p.start, time.Now()))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.to.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range p.to.headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Content-Type", otlp.ContentType)
	req.Header.Set("User-Agent", "loghub/"+daemon.Version())
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, pushAnswer)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers %s", req.URL.Host, resp.Status)
	}
	return nil
}
