// SPDX-License-Identifier: AGPL-3.0-or-later

package terminal_test

import (
	"testing"

	"cloud4.internal/hub/internal/terminal"
)

func TestAmounts(t *testing.T) {
	for n, want := range map[float64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 150 << 10: "150 KiB", 1.5 * (1 << 30): "1.5 GiB", 1 << 60: "1048576 TiB"} {
		if got := terminal.Bytes(n); got != want {
			t.Errorf("%v bytes: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[float64]string{0: "0 µs", 0.0005: "500 µs", 0.05: "50.0 ms", 0.5: "500 ms", 5: "5.0 s", 119: "119 s", 600: "10 min", 7200: "2 h", 48 * 3600: "2 d"} {
		if got := terminal.Seconds(n); got != want {
			t.Errorf("%v seconds: %s, want %s", n, got, want)
		}
	}
}
