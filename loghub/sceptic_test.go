// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"github.com/klauspost/compress/gzip"
)

// Moods of the receiver.
const (
	moodGood   = iota
	moodAway   // 503
	moodBroken // the connection ends without an answer
	moodSilent // it takes the records, and then ends the connection
	moods
)

// sceptic is an OTLP receiver that drops nothing that comes twice, but remembers.
type sceptic struct {
	srv  *httptest.Server
	mood atomic.Int32

	mu     sync.Mutex
	uids   map[string]map[int]string // stream → line → log.record.uid
	lines  map[string]string         // uid → stream and line
	last   map[string]int            // source, that is the uid without its place → line that came last for the first time
	again  map[string]int
	told   map[string]loss // by source
	losses map[string]bool // uids of loss records
	faults []string
	most   map[string]int // stream → the highest number that came
	files  string         // path of the file, where limits suppress lines: what they told is missing no more
	cuts   bool           // a kill may cut lines in two
	pieces map[string]int // stream → bytes of such lines, which say that they are pieces
}

type loss struct{ records, bytes int }

func newSceptic(t *testing.T) *sceptic {
	s := &sceptic{
		uids: map[string]map[int]string{"stdout": {}, "stderr": {}, "file": {}}, lines: map[string]string{}, last: map[string]int{},
		again: map[string]int{}, told: map[string]loss{}, losses: map[string]bool{}, most: map[string]int{}, pieces: map[string]int{},
	}
	s.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch mood := s.mood.Load(); mood {
		case moodAway:
			w.WriteHeader(http.StatusServiceUnavailable)
		case moodBroken:
			panic(http.ErrAbortHandler)
		default:
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // it was killed
			}
			if r.Header.Get("Content-Encoding") == "gzip" {
				body = must(io.ReadAll(must(gzip.NewReader(strings.NewReader(string(body))))))
			}
			if err := otlp.DecodeRequest(body, otlp.Limits{}, s.take); err != nil {
				s.fault("a request that is none: %v", err)
			}
			if mood == moodSilent {
				panic(http.ErrAbortHandler)
			}
		}
	}))
	s.srv.Config.ErrorLog = nil
	t.Cleanup(s.srv.Close)
	return s
}

func (s *sceptic) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) < 20 {
		s.faults = append(s.faults, fmt.Sprintf(format, args...))
	}
}

func attribute(r *otlp.Record, key string) (v otlp.Value) {
	for _, kv := range r.Attributes {
		if kv.Key == key {
			return kv.Value
		}
	}
	return v
}

func (s *sceptic) take(_ *otlp.Source, r *otlp.Record) error {
	uid, body := string(attribute(r, event.AttrUID).Bytes), string(r.Body.Bytes)
	switch r.EventName {
	case "hub.loss":
		s.takeLoss(uid, body, r)
		return nil
	case "":
	default:
		return nil // what loghub says of the container is not what is counted here
	}
	if s.cuts && isPiece(r) {
		s.takePiece(uid, body, r)
		return nil
	}
	stream, rest, _ := strings.Cut(body, " ")
	number, tail, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	if err != nil || len(tail) != n%200 || s.uids[stream] == nil {
		s.fault("a line nobody wrote: %.80q (uid %s)", body, uid)
		return nil
	}
	s.mu.Lock()
	had, before := s.uids[stream][n], s.lines[uid]
	source := uid[:strings.LastIndexAny(uid, ".@")+1]
	last := s.last[source]
	s.uids[stream][n], s.lines[uid] = uid, stream+" "+number
	s.last[source] = max(last, n)
	s.most[stream] = max(s.most[stream], n)
	if had != "" {
		s.again[stream]++
	}
	s.mu.Unlock()
	switch {
	case had != "" && had != uid:
		s.fault("%s %d came under two uids: %s and %s", stream, n, had, uid)
	case before != "" && before != stream+" "+number:
		s.fault("uid %s is that of %s and of %s %d", uid, before, stream, n)
	case had == "" && n < last:
		s.fault("%s: line %d came after line %d", source, n, last)
	}
	return nil
}

func isPiece(r *otlp.Record) bool {
	return attribute(r, event.AttrContinues).Bool() || attribute(r, event.AttrPiece).Int() > 0
}

// onePiece is a part of one line.
var onePiece = regexp.MustCompile("^[a-z]*( ?[0-9]+)?( x*)?$|^x+$")

// takePiece counts the bytes of a line's part, once.
func (s *sceptic) takePiece(uid, body string, r *otlp.Record) {
	if !onePiece.MatchString(body) {
		s.fault("a piece of no line: %.80q (uid %s)", body, uid)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines[uid] != "" {
		return
	}
	s.lines[uid] = body
	s.pieces[string(attribute(r, event.AttrStream).Bytes)] += len(body)
}

// takeLoss adds up what is told of a source: "lost 7 records of stdout: …".
func (s *sceptic) takeLoss(uid, body string, r *otlp.Record) {
	_, rest, _ := strings.Cut(body, " of ")
	name, _, _ := strings.Cut(rest, ":")
	if name == s.files {
		name = "file"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.losses[uid] {
		return
	}
	s.losses[uid] = true
	l := s.told[name]
	l.records += int(attribute(r, event.AttrLossCount).Int())
	l.bytes += int(attribute(r, event.AttrLossBytes).Int())
	s.told[name] = l
}

func (s *sceptic) arrived() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

func (s *sceptic) missing(gens []*generator) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range gens {
		n += g.n - len(s.uids[g.name])
		if s.files != "" {
			n -= s.told[g.name].records
		}
	}
	return n
}

// hasFrom says whether a line has arrived, or where lines are suppressed one of those behind it.
func (s *sceptic) hasFrom(stream string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; s.files != "" && s.uids[stream][n] == ""; n++ {
		if n > s.most[stream] {
			return false
		}
	}
	return s.uids[stream][n] != ""
}
