// SPDX-License-Identifier: AGPL-3.0-or-later

package sink

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"cloud4.internal/hub/internal/identity"
	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// CheckURL says what is wrong with the address of a receiver.
func CheckURL(address string, unsafe bool) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("must be https://<host>:<port>, got %q", address)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("must be an address without user, query and fragment, got %q", address)
	}
	if u.Scheme == "http" && !unsafe && !loopback(u.Hostname()) {
		return fmt.Errorf("is plain http to another machine: everybody between can read and forge it; use https, or set otlp_unsafe to true")
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// plainTransport is for http://.
func plainTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		ResponseHeaderTimeout:  30 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           1,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// tlsTransport is for https://: with the identity of the moment, to a server that is
// genesis/log, or one without a name of the fleet.
func tlsTransport(files *identity.Files) http.RoundTripper {
	return mtls.StaticTransport(files, func(server spiffe.ID) error {
		own, err := files.ID()
		if err != nil {
			return err
		}
		return mtls.Genesis(own.TrustDomain, spiffe.KindLog)(server)
	})
}
