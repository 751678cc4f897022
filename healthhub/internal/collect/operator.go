// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/mtls"
)

// ForgetPath is where operators have a sender forgotten: POST {"path": "web.shop.vm1"}. 204; 404 it never reported; 409
// it reports, or is expected.
const ForgetPath = "/v1/forget"

// maxForget bounds the body of that.
const maxForget = 4 << 10

// Reads serves the history and the mutes: GET /v1/history and /v1/mutes, see ledger.
func (c *Collector) Reads(mux *http.ServeMux) { c.ledger().Read(mux) }

// Operate serves what operators alone may do, over mutual TLS: mute and forget. An operator's browser shows the certificate to
// whatever page has it ask; what a page of another origin has it ask for is refused (Sec-Fetch-Site, Origin).
func (c *Collector) Operate(mux *http.ServeMux, refused func(mtls.Refusal)) {
	operator, forged := mtls.Operator(c.Self.TrustDomain, ""), http.NewCrossOriginProtection()
	may := func(next http.HandlerFunc) http.Handler {
		return mtls.Require(operator, refused, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := forged.Check(r); err != nil {
				mtls.Refuse(w, r, http.StatusForbidden, "changing something is not for pages of other sites: "+err.Error(), refused)
				return
			}
			next(w, r)
		}))
	}
	c.ledger().Write(mux, may)
	mux.Handle("POST "+ForgetPath, may(c.forget))
}

func (c *Collector) ledger() *ledger.Ledger {
	return &ledger.Ledger{
		Recorder: c.recorder, Mutes: c.mutes, By: asker,
		Tree: func() *health.Node { return c.Snapshot().Node },
		Noted: func(text string) {
			c.noted(time.Now(), text)
			c.Poke()
		},
	}
}

// asker is the name of the operator who asks.
func asker(r *http.Request) string {
	id, err := mtls.Peer(r)
	if err != nil {
		return ""
	}
	return id.Name
}

func (c *Collector) forget(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Path string `json:"path"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxForget)).Decode(&in)
	if err == nil && in.Path == "" {
		err = errors.New(`must say {"path": "web.shop.vm1"}`)
	}
	if err != nil {
		ledger.Refuse(w, err)
		return
	}
	if err := c.Forget(in.Path); err != nil {
		status := http.StatusInternalServerError
		if refusal, ok := errors.AsType[*Refusal](err); ok {
			status = refusal.Status
		}
		http.Error(w, err.Error(), status)
		return
	}
	c.noted(time.Now(), in.Path+" is forgotten, says "+asker(r))
	c.Poke()
	w.WriteHeader(http.StatusNoContent)
}
