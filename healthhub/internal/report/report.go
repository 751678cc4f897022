// SPDX-License-Identifier: AGPL-3.0-or-later

// Package report owns how health travels from a container to its host and from a host to the fleet: the form
// of a report, and the side that sends them (the side that takes them is package collect).
//
// A report is POST <base>/v1/report over mutual TLS, a JSON object:
//
//	{"schema": 1, "instance": "…", "seq": 7, "sent_at": "…", "valid_for": 90, "stopping": false, "node": {…}}
//	{"schema": 1, …, "stopping": true, "job": {"exit": 0, "ended_at": "…", "due_in": 90000}, "node": {…}}
//
// It tells the whole state each time, so that a lost one costs nothing. instance is drawn at the start of the sender and
// seq counts its reports: a receiver refuses what is older than what it has. valid_for, in seconds, counts from the
// arrival, on the receiver's own clock. stopping is the goodbye of a sender that ends on purpose; with job it is the result of
// a job that has done its work, see [Job].
//
// A body may be packed with gzip (Content-Encoding); reports above 16 KiB, those of hosts, are.
//
// Answers: 204 taken; 400 malformed; 401 the certificate has expired; 403 not yours to say; 409 older than what is known;
// 413 too large; 415 packed some other way; the others as HTTP has them. Refusals come with the reason in plain words.
package report

import (
	"compress/gzip"
	"encoding/json"
	"errors"
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
	Job      *Job        `json:"job,omitempty"` // with Stopping alone: the sender's work is done, until the next time
	Node     health.Node `json:"node"`
}

// Job is how a container's job ended (health.job), in the goodbye of its healthhub.
//
// What the receiver makes of it: Node stands as it was sent, neither stopping nor missing, and does not age, for DueIn seconds
// from the arrival, counted like ValidFor on the receiver's own monotonic clock but without its limits (at most MaxDue). After
// that a job that is expected, or was ever heard of, fails: it did not run in time. A later report of the
// same name, of a new instance, takes its place as any does. It survives a restart of the receiver with the wall time of its arrival.
type Job struct {
	Exit    int       `json:"exit"`     // the code the container ends with, 0 to 255; Node says pass for 0, else fail
	EndedAt time.Time `json:"ended_at"` // by the sender's clock
	DueIn   float64   `json:"due_in"`   // seconds from the arrival until the next such report is overdue
}

// MaxDue bounds Job.DueIn: a yearly job, and its grace.
const MaxDue = (365 + 7) * 24 * time.Hour

// Due is DueIn as a duration within its limits.
func (j *Job) Due() time.Duration {
	return time.Duration(min(max(j.DueIn, MinValid.Seconds()), MaxDue.Seconds()) * float64(time.Second))
}

// Valid is ValidFor as a duration within its limits.
func (r *Report) Valid() time.Duration {
	seconds := min(max(r.ValidFor, MinValid.Seconds()), MaxValid.Seconds())
	return time.Duration(seconds * float64(time.Second))
}

// Errors of Decode.
var (
	ErrTooLarge = errors.New("too large")
	ErrEncoding = errors.New("must be gzip or not packed at all")
)

// Decode reads a report, packed as its Content-Encoding says ("" or gzip), of at most limit bytes unpacked, and judges its
// form; whether the sender may say what it says is not judged here.
func Decode(body io.Reader, encoding string, limit int64, limits health.Limits) (*Report, error) {
	switch encoding {
	case "", "identity":
	case "gzip":
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("reading the report: %w", err)
		}
		unpacked.Multistream(false)
		body = unpacked
	default:
		return nil, fmt.Errorf("reading the report: Content-Encoding %.40q: %w", encoding, ErrEncoding)
	}
	raw, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("reading the report: %w: more than %d KiB unpacked", ErrTooLarge, limit>>10)
	}
	return decode(raw, limits)
}

func decode(raw []byte, limits health.Limits) (*Report, error) {
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
	case r.Job != nil && (!(r.Job.DueIn > 0) || r.Job.Exit < 0 || r.Job.Exit > 255):
		return nil, fmt.Errorf("reading the report: job: due_in must be above 0 and exit between 0 and 255, got %v and %d", r.Job.DueIn, r.Job.Exit)
	case r.Job != nil && !r.Stopping:
		return nil, fmt.Errorf("reading the report: job is for the last report, with stopping")
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
