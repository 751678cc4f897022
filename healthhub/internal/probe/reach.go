// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// link is a connection that ends with its look: everything on it fails as soon as the context is done.
type link struct {
	net.Conn
	deadline time.Time // zero: none
	stop     func() bool
}

// dialer keeps no connection alive: none lives long.
var dialer = net.Dialer{KeepAlive: -1}

func connect(ctx context.Context, network, address string) (*link, error) {
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l := &link{Conn: conn}
	l.deadline, _ = ctx.Deadline()
	conn.SetDeadline(l.deadline) // fails on a closed connection alone
	l.stop = context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return l, nil
}

// within bounds the next reads further; they may be tried again then.
func (l *link) within(ctx context.Context, d time.Duration) {
	end := time.Now().Add(d)
	if !l.deadline.IsZero() && l.deadline.Before(end) {
		end = l.deadline
	}
	l.SetReadDeadline(end)
	if ctx.Err() != nil { // its word on the connection was overwritten just now
		l.SetDeadline(time.Unix(1, 0))
	}
}

// over reports whether the time of the look is up.
func (l *link) over() bool { return !l.deadline.IsZero() && !time.Now().Before(l.deadline) }

// Close ends the connection at once: nobody waits for what is still on its way.
func (l *link) Close() error {
	l.stop()
	return l.Conn.Close()
}

// A step is what a look was waiting for when it ended.
type step string

const (
	connection step = "connection"
	handshake  step = "TLS handshake"
	answer     step = "answer"
)

// failed says why a look got no further than this step, and what to do. The errors of package net name the address; where stands
// before it instead, so that all texts begin alike.
func (s step) failed(where string, err error) Result {
	text, action := s.explain(err)
	if text == "" {
		return blind("%s: %v", where, plain(err)). // this process lacks something: the other side is not to blame
								advise("give healthhub's user the right to it, or see what it has run out of (ulimits)")
	}
	return fail("%s: %s", where, text).advise("%s", action)
}

func (s step) explain(err error) (text, action string) {
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case isDNS && dns.IsNotFound:
		return "no such host " + dns.Name, "start what has this name, or correct the name"
	case isDNS && !dns.IsTimeout:
		return "the name " + dns.Name + " cannot be resolved: " + dns.Err, "see /etc/resolv.conf, and whether its servers answer"
	case isDNS:
		return "no answer in time for the name " + dns.Name, "see /etc/resolv.conf, and whether its servers answer"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "no " + string(s) + " in time", "see what it is busy with, or give it more with timeout"
	case errors.Is(err, context.Canceled):
		return "not waited for: healthhub is being stopped", ""
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", "nothing listens there: start it, or correct where the check looks"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it", "see the networks of this container, and whether the other side is on one of them"
	case errors.Is(err, fs.ErrNotExist):
		return "no such socket", "start what makes the socket, or correct the path"
	case errors.Is(err, syscall.ENOTSOCK), errors.Is(err, syscall.EPROTOTYPE):
		return "not a stream socket", "correct the path"
	case errors.Is(err, syscall.ECONNRESET) && s == connection:
		return "connection reset", "something in between refuses it, or too many connections wait there already"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed without a whole " + string(s), "the other side ended it: its log may say why"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE),
		errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.ENOMEM):
		return "", ""
	}
	if text, action := explainTLS(err); text != "" {
		return text, action
	}
	return plain(err), "see the log of the other side"
}

// explainTLS explains why one side did not accept the other.
func explainTLS(err error) (text, action string) {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "does not speak TLS", "look without TLS, or correct the port"
	}
	if isAlert(err) {
		return "the server refuses: " + strings.TrimPrefix(plain(err), "tls: "),
			"a server that wants a certificate is shown this container's with identity: true; its log says more"
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		issuer := "its issuer"
		if unknown.Cert != nil {
			issuer = unknown.Cert.Issuer.String()
		}
		return "certificate not trusted: " + issuer + " is none of the roots", "name the file of its root in ca, or use ca: fleet for the fleet's own"
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the certificate is for " + certNames(host.Certificate) + ", not for " + host.Host, "set server_name to one of its names"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired && invalid.Cert != nil {
		if now := time.Now(); now.Before(invalid.Cert.NotBefore) {
			return notYet(invalid.Cert, now)
		}
		return "the certificate expired at " + stamp(invalid.Cert.NotAfter), "renew it, and see why that did not happen by itself"
	}
	return "", ""
}

// isAlert reports whether the other side gave a reason for ending TLS (RFC 8446 §6).
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// plain is an error in its innermost words: those around it repeat operation and address.
func plain(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return plain(op.Err)
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err.Error()
	}
	return err.Error()
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
