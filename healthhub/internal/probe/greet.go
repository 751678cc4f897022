// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

// greeting is one exchange of words with a server, without a password: what it says to a stranger tells how it is.
type greeting struct {
	network, address string
	host             string
	trust            *trust // nil: no TLS

	// ask asks on conn for TLS, where the protocol has words for it. Without them TLS is spoken from the start.
	ask func(conn net.Conn) (Result, bool)
	// talk says the words, and judges the answer. An error is one of the connection, or ends as one that is not
	// understood.
	talk func(conn net.Conn) (Result, error)
}

// newGreeting takes where the server is from the settings of a check; without any it is at the usual port of this container.
func newGreeting(s setting.Check, files *identity.Files, usual string) *greeting {
	g := &greeting{network: "tcp", address: s.Address}
	switch {
	case s.Path != "":
		g.network, g.address = "unix", s.Path
	case s.Address == "":
		g.address = usual
	}
	g.host, _, _ = net.SplitHostPort(g.address)
	if s.TLS {
		g.trust = newTrust(s, files, setting.CASystem)
	}
	return g
}

func (g *greeting) look(ctx context.Context) Result {
	start := time.Now()
	conn, err := connect(ctx, g.network, g.address)
	if err != nil {
		return connection.failed(g.address, err)
	}
	defer conn.Close()
	values := make([]health.Value, 0, 4)
	values = append(values, value("connect", "s", time.Since(start).Seconds()))
	var stream net.Conn = conn
	if g.trust != nil {
		begin := time.Now()
		if g.ask != nil {
			if r, ok := g.ask(conn); !ok {
				return r
			}
		}
		var secure *tls.Conn
		var r Result
		if secure, r = startTLS(ctx, conn, g.trust, g.host, g.address); secure == nil {
			return r
		}
		values = append(values, value("tls", "s", time.Since(begin).Seconds()))
		values = appendCertLeft(values, secure.ConnectionState().PeerCertificates)
		stream = secure
	}
	r, err := g.talk(stream)
	if err != nil {
		if g.ask == nil {
			err = g.trust.whyCut(ctx, g.network, g.address, g.host, err)
		}
		return answer.failed(g.address, err)
	}
	if r.State == health.Pass {
		r.Text = health.CleanText(r.Text + ", in " + took(start))
	}
	r.Values = append(values, value("answer", "s", time.Since(start).Seconds()))
	return r
}
