// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Serve answers requests until ctx is done, and then those under way for at most grace. serve is the server's Serve or
// ServeTLS with its listener.
func Serve(ctx context.Context, server *http.Server, grace time.Duration, serve func() error) error {
	down := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(down)
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if server.Shutdown(limited) != nil {
			server.Close()
		}
	})
	err := serve()
	if !stop() {
		<-down
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
