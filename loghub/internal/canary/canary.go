// SPDX-License-Identifier: AGPL-3.0-or-later

// Package canary follows lines of loghub doctor on their way through loghub: which record became of one, and what the
// receiver said of exactly that record.
//
// A canary is told from other lines by its text, of which 128 bits are random and new for each visit of doctor (ours):
//
//	canary-5wq2rmyb3sv6kxq4zfnnhatu4i-file
//
// Whatever line holds that text is one; while there is no visit, nothing is looked for and nothing is kept. The text is also
// found in what is sent, where it stands in the record's body.
//
// Left out: writing the lines, and who may ask for a visit.
package canary

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"strings"
	"sync/atomic"
)

// Stage is how far a canary came.
type Stage string

// The stages.
const (
	Read         Stage = "read"         // a record was made of the line; it is on its way to the spool
	Acknowledged Stage = "acknowledged" // the receiver took the request with it
	Refused      Stage = "refused"      // it did not, or not wholly
)

// News is something that happened to a canary.
type News struct {
	Leg   string `json:"leg"`
	Stage Stage  `json:"stage"`
	UID   string `json:"uid,omitempty"`   // log.record.uid; Read
	Error string `json:"error,omitempty"` // what the receiver said; Refused
}

// maxNews is more than a visit has: each of its legs is read, perhaps twice, and sent.
const maxNews = 64

// Visit is one doctor's.
type Visit struct {
	prefix string
	legs   []string
	news   chan News
}

// NewVisit makes a visit with new texts. Names of legs have small letters.
func NewVisit(legs ...string) *Visit {
	id := make([]byte, 16)
	rand.Read(id) // never fails, see its documentation
	name := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(id))
	return &Visit{prefix: "canary-" + name + "-", legs: legs, news: make(chan News, maxNews)}
}

// Text is what a line has to hold to be the canary of a leg.
func (v *Visit) Text(leg string) string { return v.prefix + leg }

// News tells what happened, in its order.
func (v *Visit) News() <-chan News { return v.news }

func (v *Visit) tell(n News) {
	select {
	case v.news <- n:
	default: // nobody reads any more, and nothing waits for that
	}
}

// Watch is where sources and sender meet a visit, if there is one. Its methods may be called from several goroutines, and of
// a nil Watch.
type Watch struct{ visit atomic.Pointer[Visit] }

// Begin takes notice of the canaries of a visit, until it is replaced by another or by nil.
func (w *Watch) Begin(v *Visit) { w.visit.Store(v) }

func (w *Watch) now() *Visit {
	if w == nil {
		return nil
	}
	return w.visit.Load()
}

// Leg names the leg whose canary a line is; "": it is none.
func (w *Watch) Leg(line []byte) string {
	v := w.now()
	if v == nil || !bytes.Contains(line, []byte(v.prefix)) {
		return ""
	}
	for _, leg := range v.legs {
		if bytes.Contains(line, []byte(v.Text(leg))) {
			return leg
		}
	}
	return ""
}

// Read says that the canary of a leg became the record of that uid.
func (w *Watch) Read(leg, uid string) {
	if v := w.now(); v != nil {
		v.tell(News{Leg: leg, Stage: Read, UID: uid})
	}
}

// Sent says that the receiver has answered for encoded records; err is why it did not take them, or may not have.
func (w *Watch) Sent(records []byte, err error) {
	v := w.now()
	if v == nil || !bytes.Contains(records, []byte(v.prefix)) {
		return
	}
	for _, leg := range v.legs {
		switch {
		case !bytes.Contains(records, []byte(v.Text(leg))):
		case err != nil:
			v.tell(News{Leg: leg, Stage: Refused, Error: err.Error()})
		default:
			v.tell(News{Leg: leg, Stage: Acknowledged})
		}
	}
}
