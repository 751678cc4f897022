// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// maxKnocking is how many connections may be between their start and their first request, that is, above all, in
// the handshake.
const maxKnocking = 1024

// knocking bounds the connections of nobody knows whom. Of too many a random one is closed: a genuine handshake takes
// milliseconds and is unlikely to be it, whereas who holds many open for seconds loses them.
type knocking struct {
	max  int
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// note is an http.Server's ConnState.
func (k *knocking) note(c net.Conn, state http.ConnState) {
	if secure, ok := c.(*tls.Conn); ok && state == http.StateNew && secure.ConnectionState().HandshakeComplete {
		return // it comes back, see HTTP1Server
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if state != http.StateNew {
		delete(k.open, c)
		return
	}
	if len(k.open) >= k.max {
		for one := range k.open { // Go begins somewhere
			delete(k.open, one)
			hangUp(one)
			break
		}
	}
	k.open[c] = struct{}{}
}

// hangUp closes a connection without a word, which could take time.
func hangUp(c net.Conn) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	c.Close()
}
