// SPDX-License-Identifier: AGPL-3.0-or-later

// Package ledger answers for what is kept of a tree of health besides its state: what changed in it, and what of it is
// muted; alike in a container and at a server.
//
//	GET    /v1/history?path=&since=2h&limit=  since is a time (RFC 3339) or how long ago
//	GET    /v1/mutes
//	POST   /v1/mutes   {"path", "for": "2h", "reason", "by", "sticky"}
//	DELETE /v1/mutes?path=                    204
//
// 404: the path names nothing; 400: anything else that cannot be, a parameter that nobody knows too.
//
// Left out: the recorder and the mutes themselves (record, mute), and who may mute, which who serves this decides.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"cloud4.internal/hub/healthhub/internal/mute"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
)

// maxBody bounds a request's body: a mute is a path, a reason and a name.
const maxBody = 16 << 10

// History is the answer to GET /v1/history, newest last.
type History struct {
	Schema int            `json:"schema"`
	Events []record.Event `json:"events"`
}

// Mutes is the answer to GET /v1/mutes.
type Mutes struct {
	Schema int         `json:"schema"`
	Mutes  []mute.Mute `json:"mutes"`
}

// Ledger is the history and the mutes of one tree.
type Ledger struct {
	Recorder *record.Recorder
	Mutes    *mute.List
	Tree     func() *health.Node        // as of now
	Noted    func(text string)          // is told of every mute that somebody made or ended
	By       func(*http.Request) string // who asks, as was proved, whatever a mute says; nil: what it says is all there is
}

// Read serves GET.
func (l *Ledger) Read(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/history", l.history)
	mux.HandleFunc("GET /v1/mutes", func(w http.ResponseWriter, _ *http.Request) { Answer(w, http.StatusOK, Mutes{1, l.Mutes.All()}) })
}

// Write serves what changes something, to whom may lets through.
func (l *Ledger) Write(mux *http.ServeMux, may func(http.HandlerFunc) http.Handler) {
	mux.Handle("POST /v1/mutes", may(l.add))
	mux.Handle("DELETE /v1/mutes", may(l.remove))
}

// Answer writes a document.
func Answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

// Refuse answers an error: 404 for what is not there, else 400.
func Refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, health.ErrNotFound) {
		status = http.StatusNotFound
	}
	http.Error(w, err.Error(), status)
}

// Query reads the parameters and refuses those that nobody knows.
func Query(w http.ResponseWriter, r *http.Request, known ...string) (url.Values, bool) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains(known, name) {
			http.Error(w, fmt.Sprintf("unknown parameter %.40q", name), http.StatusBadRequest)
			return nil, false
		}
	}
	return q, true
}

func (l *Ledger) history(w http.ResponseWriter, r *http.Request) {
	q, ok := Query(w, r, "path", "since", "limit")
	if !ok {
		return
	}
	since, err := parseSince(q.Get("since"), time.Now())
	limit := 0
	if text := q.Get("limit"); text != "" && err == nil {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > record.Size {
			err = fmt.Errorf("limit: must be between 1 and %d, got %.40q", record.Size, text)
		}
	}
	if err != nil {
		Refuse(w, err)
		return
	}
	path := q.Get("path")
	if path != "" {
		chain, err := l.Tree().Find(path)
		switch {
		case err == nil:
			path = health.Path(chain) // at the fleet the host may be left out
		case len(l.Recorder.Query(path, time.Time{}, 1)) == 0: // nor was it ever there
			Refuse(w, err)
			return
		}
	}
	Answer(w, http.StatusOK, History{1, l.Recorder.Query(path, since, limit)})
}

// parseSince reads a time, or how long before now; "" is the beginning.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return time.Time{}, fmt.Errorf("since: must be a time as in 2026-01-02T15:04:05Z or how long ago as in 2h, got %.40q", s)
	}
	return now.Add(-d), nil
}

func (l *Ledger) add(w http.ResponseWriter, r *http.Request) {
	var in mute.Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in); err != nil {
		Refuse(w, fmt.Errorf("reading the mute: %w", err))
		return
	}
	if asker := l.asker(r); asker != "" {
		if in.By != "" && in.By != asker {
			asker += " for " + in.By
		}
		in.By = asker
	}
	m, err := l.Mutes.Add(l.Tree(), in)
	if err != nil {
		Refuse(w, err)
		return
	}
	l.Noted(fmt.Sprintf("%s is muted until %s by %s: %s", m.Path, m.Until.Format(time.RFC3339), m.By, m.Reason))
	Answer(w, http.StatusOK, m)
}

func (l *Ledger) remove(w http.ResponseWriter, r *http.Request) {
	q, ok := Query(w, r, "path")
	if !ok {
		return
	}
	if err := l.Mutes.Remove(q.Get("path")); err != nil {
		Refuse(w, err)
		return
	}
	said := q.Get("path") + " is not muted any more"
	if asker := l.asker(r); asker != "" {
		said += ", says " + asker
	}
	l.Noted(said)
	w.WriteHeader(http.StatusNoContent)
}

// asker is who asks; "": nobody knows.
func (l *Ledger) asker(r *http.Request) string {
	if l.By == nil {
		return ""
	}
	return l.By(r)
}
