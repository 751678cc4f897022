// SPDX-License-Identifier: AGPL-3.0-or-later

package setting

import (
	"strings"
	"time"
)

// Words is a duration without the zeros that Go gives it: 26h, 5m, 1m30s.
func Words(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
