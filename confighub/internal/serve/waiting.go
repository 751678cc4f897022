// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"crypto/tls"
	"net/http"
	"strings"
	"time"

	"cloud4.internal/hub/internal/mtls"
)

// maxParkedTag is the longest If-None-Match that is kept for a parked request; ours has 34 bytes.
const maxParkedTag = 256

// wait returns when the question is to be answered: what the caller has was replaced, the time is over, the server stops,
// or nobody wants to know any more. It returns errParked when the request goes on without its goroutine.
func (s *Server) wait(w http.ResponseWriter, r *http.Request, q question, e *entry) error {
	if s.park(w, r, q, e) {
		return errParked
	}
	deadline(w, q.wait+answerTime)
	called := make(chan struct{})
	waiter := &waiter{call: func() { close(called) }}
	s.room.join(waiter, e, q.wait)
	select {
	case <-called:
	case <-r.Context().Done():
		s.room.take(waiter)
	}
	return nil
}

// parked is a request that waits in the lot: a connection of HTTP/1.1 over TLS that net/http has let go of. It is in the room
// like others; who takes it from there, ends it.
type parked struct {
	waiter
	question question
	slot     *slot
	// last: the connection ends with the answer.
	last bool
}

// park takes a waiting request's connection over and reports whether it did. HTTP/2 has no connection to a request; the
// rare forms of HTTP/1 that would need more than the connection wait in a goroutine as well.
func (s *Server) park(w http.ResponseWriter, r *http.Request, q question, e *entry) bool {
	if r.Method != http.MethodGet || r.ContentLength != 0 || len(q.has) > maxParkedTag {
		return false
	}
	conn, early, ok := s.takeOver(w, r)
	if !ok {
		return false
	}
	// What is kept must not hold on to the request.
	q.has, q.caller.path = strings.Clone(q.has), strings.Clone(q.caller.path)
	p := &parked{question: q, last: early}
	p.call = func() { s.finish(p) }
	p.slot = s.lot.enter(conn, func(gone bool) { s.roused(p, gone) })
	if early {
		p.call()
		return true
	}
	s.room.join(&p.waiter, e, q.wait)
	s.lot.arm(p.slot)
	return true
}

// roused ends a request whose connection can be read, though it is the server's turn. The client has hung up, or is
// about to; or it sent the next request too early, and does so again when the connection ends (RFC 9112 §9.3.2).
func (s *Server) roused(p *parked, gone bool) {
	if !s.room.take(&p.waiter) {
		return // it is being answered
	}
	if gone {
		s.leave(p.question.caller.peer)
		s.lot.hangUp(p.slot)
		return
	}
	p.last = true
	go p.call()
}

// finish answers and lets the connection rest.
func (s *Server) finish(p *parked) {
	c := p.question.caller
	s.leave(c.peer)
	var a answer
	_, err := mtls.PeerOf(c.certificate)
	if err != nil {
		p.last, err = true, refuse(http.StatusUnauthorized, "%v", err)
	} else {
		a, err = s.answer(p.question)
	}
	if err != nil {
		a = refusing(s.refuse(c, err))
	}
	s.tell(p.slot, a, p.last)
}

// takeOver takes a connection of HTTP/1.1 from net/http, if the rest of the request was read. early says that the client
// did not wait for the answer, so that the connection is to end with it: what was sent is lost.
func (s *Server) takeOver(w http.ResponseWriter, r *http.Request) (conn *tls.Conn, early, ok bool) {
	if s.lot == nil || r.TLS == nil || r.ProtoMajor != 1 || !r.ProtoAtLeast(1, 1) || r.Close {
		return nil, false, false
	}
	plain, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, false, false
	}
	return plain.(*tls.Conn), buffered.Reader.Buffered() > 0, true
}

// tell writes an answer on a connection of the lot and lets it rest, or ends it.
func (s *Server) tell(slot *slot, a answer, last bool) {
	last = last || s.isStopping()
	s.counts.body(len(a.body))
	_ = slot.conn.SetWriteDeadline(time.Now().Add(s.patience.of(a))) // only a closed one has none
	err := a.onto(slot.conn, last)
	switch {
	case err != nil:
		s.lot.hangUp(slot)
	case last:
		s.lot.end(slot)
	default:
		s.lot.rest(slot)
	}
}

// reply answers a request that did not wait. Its connection rests in the lot too: net/http would keep a goroutine and
// buffers for it until the next request.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, a answer) {
	report := r.Method == http.MethodPost && a.status == http.StatusNoContent
	if report || r.Method == http.MethodGet && r.ContentLength == 0 {
		if conn, early, ok := s.takeOver(w, r); ok {
			slot := s.lot.enter(conn, func(bool) {})
			slot.spare = report
			s.tell(slot, a, early)
			return
		}
	}
	s.counts.body(len(a.body))
	deadline(w, s.patience.of(a))
	a.to(w)
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}
