// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// connsPerPeer is how many connections one peer may hold; a sender needs one, and another while certificates change.
const connsPerPeer = 8

// conns counts the connections of each peer, by its certificate.
type conns struct {
	max int

	mu sync.Mutex
	of map[net.Conn]string
	by map[string]int
}

// LimitConnections makes a server end what a peer opens beyond a few connections. Those that do not end their handshake are
// package mtls's to limit.
func LimitConnections(srv *http.Server) {
	c := &conns{max: connsPerPeer, of: make(map[net.Conn]string), by: make(map[string]int)}
	before := srv.ConnState
	srv.ConnState = func(conn net.Conn, state http.ConnState) {
		if before != nil {
			before(conn, state)
		}
		c.note(conn, state)
	}
}

func (c *conns) note(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		if !c.admit(conn) {
			conn.Close()
		}
	case http.StateClosed, http.StateHijacked:
		c.forget(conn)
	}
}

// admit counts a connection when it is first used, which is after its handshake.
func (c *conns) admit(conn net.Conn) bool {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return true
	}
	certs := secure.ConnectionState().PeerCertificates
	if len(certs) == 0 || len(certs[0].URIs) == 0 {
		return true
	}
	peer := certs[0].URIs[0].String()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.of[conn]; known {
		return true
	}
	if c.by[peer] >= c.max {
		return false
	}
	c.of[conn] = peer
	c.by[peer]++
	return true
}

func (c *conns) forget(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	peer, known := c.of[conn]
	if !known {
		return
	}
	delete(c.of, conn)
	if c.by[peer]--; c.by[peer] == 0 {
		delete(c.by, peer)
	}
}
