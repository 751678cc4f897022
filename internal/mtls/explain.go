// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"cloud4.internal/hub/internal/identity"
)

// Explain turns an error of a dial, a TLS handshake or an HTTP request into words that say what happened and
// what to do about it. An error it does not know keeps its own words; nil is "".
func Explain(err error) string {
	if err == nil {
		return ""
	}
	for _, explain := range []func(error) string{
		explainOwn, explainCertificate, explainRemote, explainName, explainConnection,
	} {
		if words := explain(err); words != "" {
			return at(err) + words
		}
	}
	return err.Error()
}

// at names the server that was asked, where the error knows it.
func at(err error) string {
	if request, ok := errors.AsType[*url.Error](err); ok {
		if u, parseErr := url.Parse(request.URL); parseErr == nil && u.Host != "" {
			return u.Host + ": "
		}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil {
		return op.Addr.String() + ": "
	}
	return ""
}

// explainOwn explains what this package and the identity say themselves.
func explainOwn(err error) string {
	if errors.Is(err, identity.ErrNone) {
		return "this machine has no certificate yet: it is being enrolled, see identity.json"
	}
	if role, ok := errors.AsType[*RoleError](err); ok {
		return fmt.Sprintf("wrong role: the other side is %s, wanted is %s; is the address right?", role.Got, role.Wanted)
	}
	if nobody, ok := errors.AsType[*roleless](err); ok {
		return "wrong role: " + nobody.Error()
	}
	return ""
}

// explainCertificate explains why the other side's certificate was not accepted here.
func explainCertificate(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "certificate not trusted: its root is not one of this fleet's; is this the right server, and identity.ca_fingerprint that of its authority?"
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("the certificate is for %s, not for %s: use one of these names in the setting", names(host.Certificate), host.Host)
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok {
		return ""
	}
	switch now := time.Now(); {
	case invalid.Reason == x509.Expired && invalid.Cert != nil && now.Before(invalid.Cert.NotBefore):
		return fmt.Sprintf("certificate not yet valid: the clock of this machine or of the authority looks wrong (here it is %s, valid from %s)",
			stamp(now), stamp(invalid.Cert.NotBefore))
	case invalid.Reason == x509.Expired && invalid.Cert != nil:
		return fmt.Sprintf("the server's certificate expired at %s (here it is %s): it was not renewed there, or the clock of this machine is wrong",
			stamp(invalid.Cert.NotAfter), stamp(now))
	case invalid.Reason == x509.IncompatibleUsage:
		return "the certificate is not meant for servers"
	}
	return "certificate not accepted: " + invalid.Error()
}

func names(cert *x509.Certificate) string {
	if cert == nil || len(cert.DNSNames)+len(cert.IPAddresses) == 0 {
		return "no name at all"
	}
	list := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		list = append(list, ip.String())
	}
	return strings.Join(list, ", ")
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// explainRemote explains an alert (RFC 8446 §6.2) the other side sent about our certificate. crypto/tls keeps the
// alert's type to itself; its text is what is left.
func explainRemote(err error) string {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return ""
	}
	const ours = "the server refused our certificate: "
	switch alert := strings.TrimPrefix(op.Err.Error(), "tls: "); alert {
	case "expired certificate":
		return ours + "it has expired there; if it has not here, one of the two clocks is wrong"
	case "certificate required":
		return ours + "it got none"
	case "unknown certificate authority":
		return ours + "its root is not one the server trusts; are both of one fleet?"
	case "bad certificate", "access denied", "unknown certificate", "revoked certificate", "unsupported certificate":
		return ours + "who we are is not allowed there; the server's log says why"
	case "internal error":
		return "the server has trouble of its own, often no certificate yet; its log says more"
	case "protocol version not supported":
		return "the server does not speak TLS 1.3"
	case "unrecognized name":
		return "the server does not go by that name"
	default:
		return "the server ended the handshake: " + alert
	}
}

// explainName explains why a name has no address.
func explainName(err error) string {
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok:
		return ""
	case dns.IsNotFound:
		return fmt.Sprintf("no such host: add extra_hosts: \"%s:<address>\" to the service in the compose file, or name it in your DNS", dns.Name)
	case dns.IsTimeout:
		return fmt.Sprintf("looking up %s: the name server does not answer", dns.Name)
	}
	return fmt.Sprintf("looking up %s: %s", dns.Name, dns.Err)
}

// explainConnection explains why there is no connection, or no longer.
func explainConnection(err error) string {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return "the server does not speak TLS: is the port right?"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: nothing listens there; is the server running and the port right?"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it: is the address right, and the machine on this network?"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), timeout(err):
		return "no answer in time: is the machine up, and no firewall between?"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), strings.Contains(err.Error(), notEstablished):
		return "the connection was cut; if it happens at every try, the server refuses our certificate: its log says why"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closed the connection without an answer: is it just starting, or the port another program's?"
	}
	return ""
}

func timeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// expiredOrEarly tells the two cases of x509.Expired apart by "current time … is before …" and "… is after …".
func expiredOrEarly(reason string) string {
	if strings.Contains(reason, " is before ") {
		return "the client's certificate is not valid yet: one of the two clocks is wrong"
	}
	return "the client's certificate has expired"
}

// handshakeReason puts the words of crypto/tls about a client it refused into ours.
func handshakeReason(reason string) string {
	for _, known := range []struct{ has, words string }{
		{"client didn't provide a certificate", "no client certificate"},
		{"certificate signed by unknown authority", "the client's certificate is not of this fleet's authority"},
		{"not yet valid: current time", expiredOrEarly(reason)}, // one text of crypto/x509 for both
		{"incompatible key usage", "the client's certificate is not meant for clients"},
		{"unsupported versions", "the client does not speak TLS 1.3"},
		{"client sent an HTTP request", "the client does not speak TLS"},
		{"first record does not look like a TLS handshake", "the client does not speak TLS"},
		{"remote error: tls: bad certificate", "the client did not accept our certificate: other root, name or role than it wants"},
		{identity.ErrNone.Error(), "no certificate of our own yet"},
		{"EOF", "the client hung up during the handshake"},
		{"connection reset by peer", "the client hung up during the handshake"},
		{net.ErrClosed.Error(), "closed here: too many connections in the handshake, or this server stops"},
		{"i/o timeout", "the client was silent during the handshake"},
	} {
		if strings.Contains(reason, known.has) {
			return known.words + " (" + reason + ")"
		}
	}
	return reason
}
