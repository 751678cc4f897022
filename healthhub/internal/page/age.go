// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"fmt"
	"time"
)

// Age is how long ago t was, to the digits people read: "12 s", "4 min", "3 h", "2 d".
func Age(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := now.Sub(t)
	switch {
	case d < 0:
		return "0 s" // another machine's clock is ahead
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d d", d/(24*time.Hour))
}
