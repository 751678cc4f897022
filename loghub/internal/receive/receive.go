// SPDX-License-Identifier: AGPL-3.0-or-later

// Package receive is the embedded receiver of a genesis machine: OTLP/HTTP in,
// JSON lines out.
//
// Protocol: POST /v1/logs with application/x-protobuf, plain or gzip
// (opentelemetry-proto, docs/specification.md). Refusals are google.rpc.Status
// messages. Who sends is what the client certificate says: containers, hosts and
// genesis servers of the own trust domain may; each record is stamped with
// cloud4.peer, the certificate's URI, over anything that was sent under that name.
//
// Files: <dir>/<peer>.jsonl in the form of package jsonline, where <peer> is web.shop.vm1 (replicas share it), host.vm1 or
// genesis.config. At FileBytes, or with many peers at the half of TotalBytes divided by their number if that is less (64 KiB
// at least), a file becomes .1 (.1.gz with Pack), .1 becomes .2, up to Keep; with Daily also where a day (UTC) ends. A request
// is answered with 200 once its lines are on the disk (fsync); a line that a crash cut short is removed at the next start.
//
// Room: all files together have TotalBytes. When they are used up, the peer that has most gives its oldest file: who
// sends much pushes out his own, and a peer that has less than he loses nothing by it. A peer without old files gives
// the only one, unless it is being written to. Below Floor of free space on the file system nothing is taken.
//
// Duplicates, told by (peer, service.instance.id, log.record.uid), are dropped
// within a window of the last 16,384 records of a peer file, which is read back
// from the files after a restart.
//
// Answers: 200; 400 malformed; 403 not allowed; 408 too slow; 413 too large; 415 other media;
// 429 with Retry-After when a peer sends more than its quota (bytes of records in a
// minute), has 4 requests under way already, more bytes are arriving than memory is for, or the directory is full of
// what may not go; 503 with Retry-After below the floor and when the disk takes nothing.
//
// GET /metrics says what was taken and refused, to operators, hosts and genesis servers.
//
// Left out: queries, indexes and retention by age: that is an OTLP engine's.
package receive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/internal/spiffe"
	"cloud4.internal/hub/loghub/internal/jsonline"
	"github.com/klauspost/compress/gzip"
	"github.com/rs/zerolog"
)

// Options make a Receiver. Zero fields mean the defaults.
type Options struct {
	Dir        string
	Keep       int   // old files kept per peer, default 4
	FileBytes  int64 // of a file before it is rotated, default 16 MiB
	BodyBytes  int64 // of a request, unpacked, default 16 MiB, at most 64 MiB
	PeerQuota  int64 // bytes of records from one peer in a minute, default 64 MiB
	TotalBytes int64 // of all files, default 4 GiB
	Floor      int64 // free bytes of the file system below which nothing is taken, default 0
	Daily      bool  // a new file each day, UTC
	Pack       bool  // old files are compressed with gzip
	Own        func() (spiffe.ID, error)
	Log        zerolog.Logger
}

// Limits that are no options.
const (
	windowRecords = 16384
	maxWindows    = 512              // peers whose windows are kept in memory
	inFlight      = 2                // requests decoded at the same time; others wait
	perPeer       = 4                // requests of one peer under way; more are refused
	growth        = 4                // times BodyBytes: the lines of a request, each of which repeats its resource
	bodyTime      = 30 * time.Second // for a request to arrive
)

// Receiver is the HTTP handler.
type Receiver struct {
	o      Options
	slots  chan struct{}
	now    func() time.Time
	store  *store
	quotas *quotas
	budget *budget
	counts *counts

	refusals mtls.Refusals

	mu   sync.Mutex
	open map[string]int // peer → its requests under way
}

// New prepares the directory.
func New(o Options) (*Receiver, error) {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.FileBytes, 16<<20)
	def(&o.BodyBytes, 16<<20)
	def(&o.PeerQuota, 64<<20)
	def(&o.TotalBytes, 4<<30)
	o.BodyBytes = min(o.BodyBytes, 64<<20)
	if o.Keep <= 0 {
		o.Keep = 4
	}
	rc := &Receiver{
		o: o, slots: make(chan struct{}, inFlight), now: time.Now,
		quotas: newQuotas(o.PeerQuota), budget: newBudget(o.BodyBytes), counts: newCounts(), open: make(map[string]int),
	}
	var err error
	if rc.store, err = openStore(o, rc.evicted); err != nil {
		return nil, fmt.Errorf("opening %s: %w", o.Dir, err)
	}
	return rc, nil
}

// evicted says that an old file had to go.
func (rc *Receiver) evicted(f oldFile) {
	rc.counts.evict(f.size)
	rc.o.Log.Warn().Str("file", f.name).Int64("bytes", f.size).
		Msg("an old file was removed: all files together have reached --quota-total, and this peer has most")
}

// refusal is an answer that is no success.
type refusal struct {
	status int
	code   int32 // of google.rpc.Status
	after  time.Duration
	words  string
	why    string // for metrics
}

func (r *refusal) Error() string { return r.words }

// Codes of google.rpc.Status.
const (
	codeInvalid     = 3
	codeDenied      = 7
	codeExhausted   = 8
	codeUnavailable = 14
)

func invalid(status int, format string, args ...any) error {
	why := whyInvalid
	if status == http.StatusRequestEntityTooLarge {
		why = whyLarge
	}
	return &refusal{status: status, code: codeInvalid, words: fmt.Sprintf(format, args...), why: why}
}

// ServeHTTP takes one export request.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := rc.serve(w, r)
	if err == errAnswered {
		return
	}
	if err == nil {
		w.Header().Set("Content-Type", otlp.ContentType)
		w.WriteHeader(http.StatusOK)
		return
	}
	var ref *refusal
	if !errors.As(err, &ref) {
		ref = &refusal{status: http.StatusServiceUnavailable, code: codeUnavailable, after: 5 * time.Second, words: err.Error(), why: whyFault}
	}
	rc.counts.refuse(ref.why)
	rc.refused(mtls.Refusal{Remote: r.RemoteAddr, Who: who(id), What: r.Method + " " + r.URL.Path, Why: ref.words})
	if ref.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((ref.after+time.Second-1)/time.Second)))
	}
	w.Header().Set("Content-Type", otlp.ContentType)
	w.WriteHeader(ref.status)
	_, _ = w.Write(otlp.AppendStatus(nil, otlp.Status{Code: ref.code, Message: ref.words}))
}

func who(id spiffe.ID) string {
	if id == (spiffe.ID{}) {
		return ""
	}
	return id.String()
}

// refused logs a refusal that is worth it.
func (rc *Receiver) refused(f mtls.Refusal) {
	if say, unsaid := rc.refusals.Worth(f); say {
		rc.o.Log.Warn().Str("remote", f.Remote).Str("peer", f.Who).Str("request", f.What).Int("unsaid", unsaid).Msg("refused: " + f.Why)
	}
}

// Refused is for mtls.Server: handshakes that failed.
func (rc *Receiver) Refused(f mtls.Refusal) { rc.refused(f) }

func (rc *Receiver) serve(w http.ResponseWriter, r *http.Request) (spiffe.ID, error) {
	id, err := rc.authorize(r)
	if err != nil {
		return id, err
	}
	if r.URL.Path == "/metrics" && r.Method == http.MethodGet && id.Role != spiffe.Container {
		rc.serveMetrics(w, r)
		return id, errAnswered
	}
	if id.Role == spiffe.Operator {
		return id, &refusal{status: http.StatusForbidden, code: codeDenied, why: whyDenied,
			words: fmt.Sprintf("%s may not send logs here: containers, hosts and genesis servers may", id)}
	}
	if r.URL.Path != "/v1/logs" {
		return id, &refusal{status: http.StatusNotFound, code: 5, words: "no such path; logs go to /v1/logs", why: whyInvalid}
	}
	if r.Method != http.MethodPost {
		return id, invalid(http.StatusMethodNotAllowed, "logs are sent with POST, not %s", r.Method)
	}
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(media) != otlp.ContentType {
		return id, invalid(http.StatusUnsupportedMediaType, "content type must be %s, got %q", otlp.ContentType, media)
	}
	if err := rc.aboveFloor(); err != nil {
		return id, err
	}
	if err := rc.enter(id); err != nil {
		return id, err
	}
	defer rc.leave(id)
	// A place is taken with the whole request at hand: who sends slowly keeps nobody else's.
	in := &reader{Reader: r.Body, budget: rc.budget, peer: id.String()}
	defer in.done()
	packed, err := rc.read(w, in)
	if err != nil {
		return id, err
	}
	select {
	case rc.slots <- struct{}{}:
		defer func() { <-rc.slots }()
	case <-r.Context().Done():
		return id, r.Context().Err()
	}
	body, err := rc.unpack(r.Header.Get("Content-Encoding"), packed)
	if err != nil {
		return id, err
	}
	return id, rc.take(id, body)
}

// errAnswered says that the answer is written already.
var errAnswered = errors.New("answered")

// aboveFloor looks at what the file system has left. That it cannot be told is no reason to refuse.
func (rc *Receiver) aboveFloor() error {
	free, err := rc.store.free()
	if err != nil || free >= rc.o.Floor {
		return nil
	}
	return &refusal{status: http.StatusServiceUnavailable, code: codeUnavailable, after: time.Minute, why: whyFloor,
		words: fmt.Sprintf("the file system of the logs has %d bytes left, and nothing is taken below %d", free, rc.o.Floor)}
}

func (rc *Receiver) enter(id spiffe.ID) error {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.open[id.String()] >= perPeer {
		return &refusal{status: http.StatusTooManyRequests, code: codeExhausted, after: time.Second, why: whyBusy,
			words: fmt.Sprintf("%d requests of this peer are under way already", perPeer)}
	}
	rc.open[id.String()]++
	return nil
}

func (rc *Receiver) leave(id spiffe.ID) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.open[id.String()]--; rc.open[id.String()] == 0 {
		delete(rc.open, id.String())
	}
}

// authorize names the sender.
func (rc *Receiver) authorize(r *http.Request) (spiffe.ID, error) {
	id, err := mtls.Peer(r)
	if err != nil {
		return id, &refusal{status: http.StatusUnauthorized, code: 16, words: err.Error(), why: whyDenied}
	}
	own, err := rc.o.Own()
	if err != nil {
		return id, err
	}
	if id.TrustDomain != own.TrustDomain {
		return id, &refusal{status: http.StatusForbidden, code: codeDenied, why: whyDenied,
			words: fmt.Sprintf("%s may not send logs here: containers, hosts and genesis servers of %s may", id, own.TrustDomain)}
	}
	return id, nil
}

// read gives the body as it was sent.
func (rc *Receiver) read(w http.ResponseWriter, in *reader) ([]byte, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // the server's own is longer
	packed, err := io.ReadAll(io.LimitReader(in, rc.o.BodyBytes+1))
	if in.over {
		return nil, &refusal{status: http.StatusTooManyRequests, code: codeExhausted, after: 2 * time.Second, why: whyBusy,
			words: "more bytes are arriving than there is memory for; send one request at a time"}
	}
	if err != nil {
		return nil, rc.badBody(err)
	}
	return packed, rc.fits(packed)
}

func (rc *Receiver) fits(body []byte) error {
	if int64(len(body)) > rc.o.BodyBytes {
		return invalid(http.StatusRequestEntityTooLarge, "request has more than %d bytes unpacked; send smaller batches", rc.o.BodyBytes)
	}
	return nil
}

// unpack gives the message of a body.
func (rc *Receiver) unpack(encoding string, packed []byte) ([]byte, error) {
	switch encoding {
	case "", "identity":
		return packed, nil
	case "gzip":
	default:
		return nil, invalid(http.StatusUnsupportedMediaType, "content encoding must be gzip or none, got %q", encoding)
	}
	gz, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, rc.badBody(err)
	}
	defer gz.Close()
	body, err := io.ReadAll(io.LimitReader(gz, rc.o.BodyBytes+1))
	if err != nil {
		return nil, rc.badBody(err)
	}
	return body, rc.fits(body)
}

func (rc *Receiver) badBody(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return invalid(http.StatusRequestEntityTooLarge, "request has more than %d bytes; send smaller batches", large.Limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) { // nothing is wrong with what it holds
		return &refusal{status: http.StatusRequestTimeout, code: codeUnavailable, why: whySlow,
			words: fmt.Sprintf("the request did not arrive within %s; send smaller batches", bodyTime)}
	}
	return invalid(http.StatusBadRequest, "reading the request: %v", err)
}

// errGrown: a request's lines are too many bytes.
var errGrown = errors.New("too many bytes as lines")

// take decodes the body and stores its records.
func (rc *Receiver) take(id spiffe.ID, body []byte) error {
	peer := id.String()
	if after := rc.quotas.take(peer, int64(len(body)), rc.now()); after > 0 {
		return &refusal{status: http.StatusTooManyRequests, code: codeExhausted, after: after, why: whyQuota,
			words: fmt.Sprintf("more than %d bytes of records in a minute", rc.o.PeerQuota)}
	}
	var lines []line
	first := []otlp.KeyValue{{Key: "cloud4.peer", Value: otlp.String(peer)}}
	var buf []byte
	err := otlp.DecodeRequest(body, otlp.Limits{}, func(src *otlp.Source, rec *otlp.Record) error {
		start := len(buf)
		buf = jsonline.Append(buf, first, src.Resource, rec)
		if int64(len(buf)) > growth*rc.o.BodyBytes {
			return errGrown
		}
		lines = append(lines, line{start: start, end: len(buf), key: rc.store.recordKey(peer, src.Resource, rec.Attributes)})
		return nil
	})
	if errors.Is(err, errGrown) {
		return invalid(http.StatusRequestEntityTooLarge, "request has more than %d bytes as lines, each with its resource; send smaller batches", growth*rc.o.BodyBytes)
	}
	if err != nil {
		return invalid(http.StatusBadRequest, "%v", err)
	}
	if len(lines) == 0 {
		return nil
	}
	written, err := rc.store.add(id.BundleName(), buf, lines)
	if errors.Is(err, errFull) {
		return &refusal{status: http.StatusTooManyRequests, code: codeExhausted, after: time.Minute, why: whyFull,
			words: fmt.Sprintf("the directory of logs holds its %d bytes, and no file of a peer as large as this may go; remove files or raise --quota-total", rc.o.TotalBytes)}
	}
	if err == nil {
		rc.counts.taken(peer, int64(written), int64(len(lines)-written), int64(len(body)))
	}
	return err
}
