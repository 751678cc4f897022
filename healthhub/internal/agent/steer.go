// SPDX-License-Identifier: AGPL-3.0-or-later

package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cloud4.internal/hub/healthhub/internal/ledger"
	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// The answer to who asks what is forced, and the body of POST /v1/chaos.
type (
	// ForcedList is the answer to GET /v1/chaos.
	ForcedList struct {
		Schema int      `json:"schema"`
		Forced []Forced `json:"forced"`
	}
	// Chaos asks to force what a check says.
	Chaos struct {
		Check string       `json:"check"`
		State health.State `json:"state"` // warn, unknown or fail
		For   string       `json:"for"`   // a duration as in 2m, 1s to 1h
	}
)

// steer adds what changes what people are told, and what changed: history and mutes (ledger), and
//
//	GET    /v1/chaos
//	POST   /v1/chaos   {"check", "state": "fail", "for": "2m"}
//	DELETE /v1/chaos?check=
//
// What changes something, and settle, is for root and the uid that healthhub runs as: see owner.
func (a *Agent) steer(mux *http.ServeMux) {
	book := ledger.Ledger{
		Recorder: a.recorder, Mutes: a.mutes, Tree: func() *health.Node { return a.refresh() }, Noted: func(text string) { a.noted("%s", text) },
	}
	book.Read(mux)
	book.Write(mux, func(next http.HandlerFunc) http.Handler { return owner(next) })
	mux.HandleFunc("GET /v1/chaos", func(w http.ResponseWriter, _ *http.Request) {
		ledger.Answer(w, http.StatusOK, ForcedList{1, a.chaos.list()})
	})
	mux.HandleFunc("POST /v1/chaos", owner(a.addChaos))
	mux.HandleFunc("DELETE /v1/chaos", owner(a.removeChaos))
}

// peerKey is where the uid of the other end of a connection stands in its context.
type peerKey struct{}

// withPeer notes who connected: what the kernel knew of it then (SO_PEERCRED, unix(7)).
func withPeer(ctx context.Context, c net.Conn) context.Context {
	unixConn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return ctx
	}
	_ = raw.Control(func(fd uintptr) { // without an answer nobody is an owner
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			ctx = context.WithValue(ctx, peerKey{}, cred.Uid)
		}
	})
	return ctx
}

// owner lets root in and who runs as the same uid as healthhub. Everybody in the container may look and report.
func owner(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		uid, known := r.Context().Value(peerKey{}).(uint32)
		if !known || uid != 0 && int(uid) != os.Geteuid() {
			http.Error(w, fmt.Sprintf("only root and uid %d, which healthhub runs as, may change what is told", os.Geteuid()), http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

func (a *Agent) addChaos(w http.ResponseWriter, r *http.Request) {
	var in Chaos
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		ledger.Refuse(w, fmt.Errorf("reading what to force: %w", err))
		return
	}
	d, err := time.ParseDuration(in.For)
	if err != nil {
		ledger.Refuse(w, fmt.Errorf("for: must be a duration as in 2m, got %.40q", in.For))
		return
	}
	if _, err = a.snapshot().Node.Find(in.Check); err == nil {
		err = a.chaos.force(in.Check, in.State, d)
	}
	if err != nil {
		ledger.Refuse(w, err)
		return
	}
	a.noted("%s is forced to %v for %s", in.Check, in.State, setting.Words(d))
	w.WriteHeader(http.StatusNoContent)
}

func (a *Agent) removeChaos(w http.ResponseWriter, r *http.Request) {
	q, ok := ledger.Query(w, r, "check")
	if !ok {
		return
	}
	if name := q.Get("check"); !a.chaos.stop(name) {
		http.Error(w, fmt.Sprintf("%.64q is not forced", name), http.StatusNotFound)
		return
	}
	a.noted("%s is not forced any more", q.Get("check"))
	w.WriteHeader(http.StatusNoContent)
}

// noted puts something that somebody did into the history and the log.
func (a *Agent) noted(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	a.recorder.Mark(text, time.Now())
	a.Log.Info().Msg(text)
	a.poke()
}
