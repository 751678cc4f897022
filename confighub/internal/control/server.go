// SPDX-License-Identifier: AGPL-3.0-or-later

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/backoff"
	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/health"
)

const (
	maxBody = 16 << 10
	// maxConnections bounds what processes of our own uid, the service among them, can take of our descriptors.
	maxConnections = 16
	stopLimit      = 500 * time.Millisecond
)

// ErrEnding means that the hub is ending and does nothing more.
var ErrEnding = errors.New("confighub is ending")

// Server answers on the socket.
type Server struct {
	RunDir string
	// Do does what was asked and returns the answer for people. ctx ends when the asking process is gone or the server
	// ends. An error is a refusal, or ErrEnding.
	Do  func(ctx context.Context, r Request) (string, error)
	Log zerolog.Logger
}

// Run serves until ctx ends. A socket that cannot be opened, as in a full run directory, is said and tried again: the
// hub works without.
func (s *Server) Run(ctx context.Context) error {
	pause := backoff.Backoff{Min: time.Second}
	said := false
	listener, err := s.listen()
	for ; err != nil; listener, err = s.listen() {
		if !said {
			s.Log.Warn().Err(err).Msg("hold, resume, rollback and accept do not work in this container now")
		}
		said = true
		if pause.Wait(ctx) != nil {
			return nil
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/{verb}", s.answer)
	server := &http.Server{
		Handler:           http.MaxBytesHandler(mux, maxBody),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second,
		MaxHeaderBytes: 8 << 10,
		ErrorLog:       log.New(s.Log, "", 0),
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ConnContext:    withPeer,
		ConnState:      daemon.Bound(maxConnections),
	}
	if err := daemon.Serve(ctx, server, stopLimit, func() error { return server.Serve(listener) }); err != nil {
		s.Log.Error().Err(err).Msg(Socket + " does not answer any more")
	}
	return nil
}

func (s *Server) listen() (net.Listener, error) {
	path := filepath.Join(s.RunDir, Socket)
	// One that a killed predecessor left. Two of us at one time there are not: hubinit starts one.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return l, nil
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request) {
	by, err := allowed(r.Context())
	if err != nil {
		refuse(w, http.StatusForbidden, err)
		return
	}
	var request Request
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("reading the request: %w", err))
		return
	}
	request.Verb, request.By, request.Reason = Verb(r.PathValue("verb")), by, health.CleanText(request.Reason)
	switch request.Verb {
	case Hold, Resume, Rollback, Accept:
	default:
		refuse(w, http.StatusBadRequest, fmt.Errorf("there is hold, resume, rollback and accept, not %.40q", request.Verb))
		return
	}
	if err := request.Check(); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	text, err := s.Do(r.Context(), request)
	event := s.Log.Info().Str("verb", string(request.Verb)).Str("by", by)
	switch {
	case errors.Is(err, ErrEnding):
		refuse(w, http.StatusServiceUnavailable, err)
	case err != nil:
		event.Str("reason", request.Reason).Msg("not done: " + health.CleanText(err.Error()))
		refuse(w, http.StatusConflict, err)
	default:
		event.Str("reason", request.Reason).Msg(health.CleanText(text))
		send(w, http.StatusOK, Answer{text})
	}
}

func refuse(w http.ResponseWriter, status int, err error) { send(w, status, Problem{err.Error()}) }

func send(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// peer is who is at the other end of a connection.
type peer struct {
	uid uint32
	err error
}

type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	var p peer
	p.uid, p.err = daemon.PeerUID(c)
	return context.WithValue(ctx, peerKey{}, p)
}

// allowed returns the name of who asks, or why that is nobody's business.
func allowed(ctx context.Context) (string, error) {
	p, _ := ctx.Value(peerKey{}).(peer)
	if p.err != nil {
		return "", fmt.Errorf("it cannot be told who asks: %w", p.err)
	}
	if own := os.Geteuid(); p.uid != 0 && p.uid != uint32(own) {
		return "", fmt.Errorf("uid %d may not steer this container's configuration: root and uid %d may", p.uid, own)
	}
	if u, err := user.LookupId(strconv.Itoa(int(p.uid))); err == nil {
		return u.Username, nil
	}
	return fmt.Sprintf("uid %d", p.uid), nil
}
