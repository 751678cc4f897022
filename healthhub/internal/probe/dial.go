// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// dial makes the look of the kinds tcp and unix: a connection that is accepted, and closed at once.
func dial(network, address string) Func {
	var d net.Dialer
	return func(ctx context.Context) Result {
		start := time.Now()
		conn, err := d.DialContext(ctx, network, address)
		if err != nil {
			return fail("%s: %s", address, reason(err))
		}
		conn.Close()
		return pass("%s answers in %s", address, took(start))
	}
}

// reason says why there is no connection, without the address, which stands before it.
func reason(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, fs.ErrNotExist):
		return "no such socket"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host " + dns.Name
	}
	return err.Error()
}
