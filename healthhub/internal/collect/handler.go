// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"errors"
	"fmt"
	"net/http"

	"cloud4.internal/hub/healthhub/internal/report"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// Bytes of one report, packed and unpacked: a container's, and a host's with all its containers.
const (
	maxContainerBytes = 1 << 20
	maxHostBytes      = 8 << 20
)

// maxAtOnce bounds the reports of one sender under way: one, and the retries of it that were given up.
const maxAtOnce = 4

// Handler takes POST report.Path over mutual TLS. Reports that are not taken are told to refused, and to their sender.
func (c *Collector) Handler(refused func(mtls.Refusal)) http.Handler {
	limit := int64(maxContainerBytes)
	if c.kind == health.KindHost {
		limit = maxHostBytes
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := mtls.Peer(r)
		if err != nil {
			mtls.Refuse(w, r, http.StatusUnauthorized, err.Error(), refused)
			return
		}
		if err := c.enter(from); err != nil {
			mtls.Refuse(w, r, err.Status, err.Why, refused)
			return
		}
		defer c.leave(from)
		got, err := report.Decode(http.MaxBytesReader(w, r.Body, limit), r.Header.Get("Content-Encoding"), limit, c.Limits())
		if err != nil && r.Context().Err() != nil {
			return // its sender gave it up half way and tries again: nobody did wrong, and nobody listens
		}
		if err != nil {
			status := http.StatusBadRequest
			switch {
			case errors.As(err, new(*http.MaxBytesError)), errors.Is(err, report.ErrTooLarge):
				status = http.StatusRequestEntityTooLarge
			case errors.Is(err, report.ErrEncoding):
				status = http.StatusUnsupportedMediaType
			}
			mtls.Refuse(w, r, status, err.Error(), refused)
			return
		}
		if err := c.Take(from, got); err != nil {
			status := http.StatusInternalServerError
			if refusal, ok := errors.AsType[*Refusal](err); ok {
				status = refusal.Status
			}
			if status == http.StatusConflict && r.Context().Err() != nil {
				return // given up too, and the newer one came first
			}
			mtls.Refuse(w, r, status, err.Error(), refused)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// enter judges a sender before a byte of its report is read.
func (c *Collector) enter(from spiffe.ID) *Refusal {
	if err := c.maySpeak(from); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from] >= maxAtOnce {
		return &Refusal{http.StatusTooManyRequests, fmt.Sprintf("%d reports of %s are under way already", maxAtOnce, from)}
	}
	c.open[from]++
	return nil
}

func (c *Collector) leave(from spiffe.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[from]--; c.open[from] == 0 {
		delete(c.open, from)
	}
}
