// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"cloud4.internal/hub/healthhub/internal/dashboard"
	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/healthhub/internal/monitor"
	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
)

// Socket is the name of the socket in the run directory.
const Socket = "health.sock"

const (
	maxConnections = 64
	maxBody        = 16 << 10
	stopLimit      = time.Second
	maxSettle      = 5 * time.Minute
)

// listen opens health.sock, for every user of the container, and returns what serves on it:
//
//	GET  what package page serves
//	POST /v1/report   {"name": "backup", "state": "pass", "text": "3 GiB", "ttl": "26h"}
//	DELETE /v1/report?name=backup   a check that the settings do not declare
//	POST /v1/settle?for=10s
//
// and what steer adds.
func (a *Agent) listen() (serve func(context.Context), err error) {
	path := filepath.Join(a.RunDir, Socket)
	// One that a killed predecessor left. Two of us at one time there are not: hubinit starts one.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	server := &http.Server{
		Handler:           http.MaxBytesHandler(a.handler(), maxBody),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second,
		WriteTimeout:   maxSettle + time.Minute,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       log.New(a.Log, "", 0),
		ConnState:      daemon.Bound(maxConnections),
		ConnContext:    withPeer,
	}
	return func(ctx context.Context) {
		server.BaseContext = func(net.Listener) context.Context { return ctx } // ends settles
		if err := daemon.Serve(ctx, server, stopLimit, func() error { return server.Serve(l) }); err != nil {
			a.Log.Error().Err(err).Msg("health.sock does not answer any more")
		}
	}, nil
}

// Client talks to the health.sock of a run directory; the host in the URL is not looked at.
func Client(runDir string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(runDir, Socket))
		},
	}}
}

func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", a.page.Handler())
	mux.Handle("GET /{$}", dashboard.New(dashboard.Config{Source: a.snapshot, Mutes: a.mutes.All, Events: func() []record.Event {
		return a.recorder.Query("", time.Time{}, 0)
	}}))
	mux.HandleFunc("POST /v1/report", a.takeReport)
	mux.HandleFunc("DELETE /v1/report", a.withdrawReport)
	mux.HandleFunc("POST /v1/settle", owner(a.settle)) // confighub's: it has checks run, keeps restarts away and others' settles waiting
	a.steer(mux)
	return mux
}

// Push is the body of POST /v1/report.
type Push struct {
	Name  string       `json:"name"`
	State health.State `json:"state"`
	Text  string       `json:"text,omitempty"`
	TTL   string       `json:"ttl,omitempty"` // a duration as in 5m; empty: the check's own
}

func (a *Agent) takeReport(w http.ResponseWriter, r *http.Request) {
	var in Push
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, "reading the report: "+err.Error(), http.StatusBadRequest)
		return
	}
	p := monitor.Push{Name: in.Name, State: in.State, Text: in.Text}
	if in.TTL != "" {
		var err error
		if p.TTL, err = time.ParseDuration(in.TTL); err != nil || p.TTL < time.Second {
			http.Error(w, fmt.Sprintf("ttl %.40q: want a duration of at least a second, as in 5m", in.TTL), http.StatusBadRequest)
			return
		}
	}
	switch err := a.monitor.Push(p); {
	case errors.Is(err, monitor.ErrPolled):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func (a *Agent) withdrawReport(w http.ResponseWriter, r *http.Request) {
	q, ok := ledger.Query(w, r, "name")
	if !ok {
		return
	}
	switch err := a.monitor.Withdraw(q.Get("name")); {
	case errors.Is(err, monitor.ErrUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		a.noted("nobody reports on %s any more", q.Get("name"))
		w.WriteHeader(http.StatusNoContent)
	}
}

func (a *Agent) settle(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.URL.Query().Get("for"))
	if err != nil || d < time.Second || d > maxSettle {
		http.Error(w, fmt.Sprintf("for=%.40q: want a duration between 1s and %s, as in for=10s", r.URL.Query().Get("for"), maxSettle), http.StatusBadRequest)
		return
	}
	a.settling.Add(1)
	defer a.settling.Add(-1)
	verdict, err := a.monitor.Settle(r.Context(), d)
	switch {
	case errors.Is(err, monitor.ErrBusy):
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(verdict)
}
