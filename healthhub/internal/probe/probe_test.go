// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"context"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/healthhub/internal/setting"
	"cloud4.internal/hub/internal/health"
)

// look takes one look within the time.
func look(t *testing.T, check setting.Check, within time.Duration) Result {
	t.Helper()
	f, err := New(check, Place{RunDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return f(ctx)
}

func expect(t *testing.T, got Result, state health.State, text string) {
	t.Helper()
	if got.State != state || !strings.Contains(got.Text, text) {
		t.Errorf("got %v %q, want %v with %q", got.State, got.Text, state, text)
	}
}
