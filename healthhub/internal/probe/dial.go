// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
	"cloud4.internal/hub/internal/identity"
)

// refusalWait is how long a server that was shown our certificate may take to say that it does not like it, or to close.
const refusalWait = time.Second

// tcpLook makes the look of kind tcp.
func tcpLook(s setting.Check, files *identity.Files) Func {
	if !s.TLS {
		return dial("tcp", s.Address, nil)
	}
	return dial("tcp", s.Address, newTrust(s, files, setting.CASystem))
}

// dial makes the look of the kinds tcp and unix: a connection that is accepted, and with trust a TLS handshake, and closed at
// once.
func dial(network, address string, trust *trust) Func {
	host, _, _ := net.SplitHostPort(address)
	return func(ctx context.Context) Result {
		start := time.Now()
		conn, err := connect(ctx, network, address)
		if err != nil {
			return connection.failed(address, err)
		}
		defer conn.Close()
		values := make([]health.Value, 0, 3)
		values = append(values, value("connect", "s", time.Since(start).Seconds()))
		if trust != nil {
			begin := time.Now()
			secure, r := startTLS(ctx, conn, trust, host, address)
			if secure == nil {
				return r
			}
			values = append(values, value("tls", "s", time.Since(begin).Seconds()))
			if trust.identity {
				if err := heedRefusal(ctx, conn, secure); err != nil {
					return handshake.failed(address, err)
				}
			}
			values = appendCertLeft(values, secure.ConnectionState().PeerCertificates)
		}
		r := pass("%s answers in %s", address, took(start))
		r.Values = values
		return r
	}
}

// startTLS begins TLS on a connection. Without one it gives the result of the look.
func startTLS(ctx context.Context, conn *link, trust *trust, host, where string) (*tls.Conn, Result) {
	conf, err := trust.client(host)
	if err != nil {
		return nil, untrusting(err)
	}
	secure := tls.Client(conn.Conn, conf)
	if err := secure.Handshake(); err != nil { // ends with ctx, as everything on conn does
		return nil, handshake.failed(where, err)
	}
	return secure, Result{}
}

// heedRefusal waits for the other side's word on our certificate. In TLS 1.3 the client is through with the handshake before
// the server has judged it (RFC 8446 §2), so an unwelcome one would look fine.
func heedRefusal(ctx context.Context, conn *link, secure *tls.Conn) error {
	if secure.ConnectionState().Version < tls.VersionTLS13 {
		return nil
	}
	secure.CloseWrite() // most servers then close, at once
	conn.within(ctx, refusalWait)
	if _, err := secure.Read(make([]byte, 1)); isAlert(err) {
		return err
	}
	return nil // a greeting, an end, or silence: we are welcome
}

// whyCut finds out why a server ended a connection over TLS: what it had to say of our certificate, or of the want of one, may be lost when it
// closes with words of ours unread. Another connection, on which nothing is said, tells. An error that is nothing of the kind
// stays as it is; so it does without TLS.
func (t *trust) whyCut(ctx context.Context, network, address, host string, err error) error {
	if t == nil || !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	conn, connectErr := connect(ctx, network, address)
	if connectErr != nil {
		return err
	}
	defer conn.Close()
	secure, _ := startTLS(ctx, conn, t, host, address)
	if secure == nil {
		return err
	}
	if refusal := heedRefusal(ctx, conn, secure); refusal != nil {
		return refusal
	}
	return err
}
