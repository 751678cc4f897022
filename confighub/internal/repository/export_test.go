// SPDX-License-Identifier: AGPL-3.0-or-later

package repository

import (
	"context"
	"time"

	"github.com/rs/zerolog"
)

// WatchByEvents is Watch without the poll, which finds in the end what events should have told.
func (r *Repository) WatchByEvents(ctx context.Context, look <-chan struct{}, log zerolog.Logger, changed func() bool) error {
	return r.watch(ctx, look, log, 24*time.Hour, changed)
}
