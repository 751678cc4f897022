// SPDX-License-Identifier: AGPL-3.0-or-later

package mtls_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"cloud4.internal/hub/internal/mtls"
)

// What strangers are refused for is said a bounded number of times a minute, whatever they do.
func TestRefusals(t *testing.T) {
	handshake := func(host string, port int) mtls.Refusal {
		return mtls.Refusal{Remote: fmt.Sprintf("%s:%d", host, port), What: "TLS handshake",
			Why: fmt.Sprintf("read tcp 10.0.0.1:4318->%s:%d: i/o timeout", host, port)}
	}
	tests := map[string]struct {
		refusal func(i int) mtls.Refusal
		said    int
	}{
		"other ports":      {func(i int) mtls.Refusal { return handshake("10.0.0.9", i) }, 1},
		"other ports, v6":  {func(i int) mtls.Refusal { return handshake("[fd00::9]", i) }, 1},
		"two addresses":    {func(i int) mtls.Refusal { return handshake(fmt.Sprintf("[fd00::%d]", i%2), i) }, 2},
		"many addresses":   {func(i int) mtls.Refusal { return handshake(fmt.Sprintf("[fd00::%x]", i), i) }, 200},
		"other paths":      {func(i int) mtls.Refusal { return mtls.Refusal{Who: web.String(), What: fmt.Sprintf("GET /%d", i)} }, 20},
		"no address known": {func(int) mtls.Refusal { return mtls.Refusal{Why: "x"} }, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var refusals mtls.Refusals
				for minute := range 3 {
					said := 0
					for i := range 1000 {
						say, unsaid := refusals.Worth(test.refusal(i))
						want := 0
						if say && said == 0 && minute > 0 {
							want = 1000 - test.said
						}
						if say && i < test.said && unsaid != want {
							t.Errorf("minute %d, refusal %d: %d unsaid, want %d", minute, i, unsaid, want)
						}
						if say {
							said++
						}
					}
					if said != test.said {
						t.Errorf("said %d times, want %d", said, test.said)
					}
					time.Sleep(time.Minute)
				}
			})
		})
	}
}
