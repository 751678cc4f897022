// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/mtls"
	"cloud4.internal/hub/internal/spiffe"
)

// Each replica has its share, and all together no more than the server can hold.
func TestShares(t *testing.T) {
	s := New("cloud4.internal", &Publication{}, nil, zerolog.Nop())
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

// Who is refused cannot fill the log.
func TestRefusalsSaidOnce(t *testing.T) {
	var log bytes.Buffer
	s := New("cloud4.internal", &Publication{}, nil, zerolog.New(&log))
	for port := range 100 {
		s.Refused(mtls.Refusal{Remote: fmt.Sprintf("10.0.0.9:%d", port), What: "TLS handshake", Why: fmt.Sprintf("from port %d", port)})
		r := httptest.NewRequest(http.MethodGet, "/v1/fleet", nil)
		r.RemoteAddr = fmt.Sprintf("10.0.0.9:%d", port)
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("said %d times:\n%s", n, &log)
	}
}
