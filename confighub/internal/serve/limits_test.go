// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"errors"
	"net/http"
	"strconv"
	"testing"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/spiffe"
)

// Each replica has its share, and all together no more than the server can hold.
func TestShares(t *testing.T) {
	s := New("cloud4.internal", nil, nil, zerolog.Nop())
	replica := func(n int) spiffe.ID {
		id, err := spiffe.ForContainer("cloud4.internal", "vm1", "shop", "web", strconv.Itoa(n))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	wantStatus := func(err error, want int) {
		t.Helper()
		if got, ok := errors.AsType[*refusal](err); !ok || got.status != want {
			t.Errorf("%v, want status %d", err, want)
		}
	}
	for n := 1; n <= maxAtOnceAll/maxAtOnce; n++ {
		for range maxAtOnce {
			if err := s.enter(replica(n)); err != nil {
				t.Fatal(err)
			}
		}
		wantStatus(s.enter(replica(n)), http.StatusTooManyRequests)
	}
	wantStatus(s.enter(replica(1000)), http.StatusServiceUnavailable)
	s.leave(replica(1))
	if err := s.enter(replica(1000)); err != nil {
		t.Errorf("after one has left: %v", err)
	}
}
