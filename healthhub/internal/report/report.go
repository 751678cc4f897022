// SPDX-License-Identifier: AGPL-3.0-or-later

// Package report owns how health travels from a container to its host and from a host to the fleet: the form
// of a report, and the side that sends them (the side that takes them is package collect).
//
// A report is POST <base>/v1/report over mutual TLS, a JSON object:
//
//	{"schema": 1, "instance": "…", "seq": 7, "sent_at": "…", "valid_for": 90, "stopping": false, "node": {…}}
//
// It tells the whole state each time, so that a lost one costs nothing. instance is drawn at the start of the sender and
// seq counts its reports: a receiver refuses what is older than what it has. valid_for, in seconds, counts from the
// arrival, on the receiver's own clock. stopping is the goodbye of a sender that ends on purpose.
//
// Answers: 204 taken; 400 malformed; 401 the certificate has expired; 403 not yours to say; 409 older than what is known;
// 413 too large; the others as HTTP has them. Refusals come with the reason in plain words.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"cloud4.internal/hub/internal/health"
)

// Path is where reports are posted to.
const Path = "/v1/report"

// schema is the version of the form. A receiver takes its own and those above it, whose known fields keep their meaning.
const schema = 1

// Limits of Report.ValidFor.
const (
	MinValid = time.Second
	MaxValid = 10 * time.Minute
)

// Report is one.
type Report struct {
	Schema   int         `json:"schema"`
	Instance string      `json:"instance"`  // of the sender, drawn at its start: 8 to 64 of a-z, 0-9
	Seq      uint64      `json:"seq"`       // 1, 2, … within the instance
	SentAt   time.Time   `json:"sent_at"`   // by the sender's clock
	ValidFor float64     `json:"valid_for"` // seconds, from the arrival on
	Stopping bool        `json:"stopping,omitempty"`
	Node     health.Node `json:"node"`
}

// Valid is ValidFor as a duration within its limits.
func (r *Report) Valid() time.Duration {
	seconds := min(max(r.ValidFor, MinValid.Seconds()), MaxValid.Seconds())
	return time.Duration(seconds * float64(time.Second))
}

// Decode reads a report and judges its form; whether the sender may say what it says is not judged here.
func Decode(body io.Reader, limits health.Limits) (*Report, error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	if most := limits.Nodes * nodeValues; values(raw) > most {
		return nil, fmt.Errorf("reading the report: holds more than %d values, too many for %d nodes", most, limits.Nodes)
	}
	r := new(Report)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	switch {
	case r.Schema < schema:
		return nil, fmt.Errorf("reading the report: schema %d, want %d or above", r.Schema, schema)
	case len(r.Instance) < 8 || len(r.Instance) > 64 || strings.Trim(r.Instance, "abcdefghijklmnopqrstuvwxyz0123456789") != "":
		return nil, fmt.Errorf("reading the report: instance must be 8 to 64 of a-z, 0-9, got %.80q", r.Instance)
	case r.Seq == 0:
		return nil, fmt.Errorf("reading the report: seq must be above 0")
	case !(r.ValidFor > 0): // NaN cannot be written in JSON, but this way it would be refused too
		return nil, fmt.Errorf("reading the report: valid_for must be above 0, got %v", r.ValidFor)
	}
	if err := r.Node.Accept(limits); err != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	return r, nil
}

// nodeValues is above what any node has in fields and flags.
const nodeValues = 40

// values counts, without making them, what a JSON text would become. Each takes two bytes there, and up to a whole
// node's size here.
func values(raw []byte) (n int) {
	inString := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}
