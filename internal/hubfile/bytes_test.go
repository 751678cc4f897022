// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile_test

import (
	"testing"

	"cloud4.internal/hub/internal/hubfile"
)

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]hubfile.Bytes{
		"0": 0, "1": 1, "512B": 512, "64MiB": 64 << 20, "64 MiB": 64 << 20, "1.5GB": 1500000000, "0.5KiB": 512, "1kB": 1000,
		"2TiB": 2 << 40, "8388607TiB": 8388607 << 40,
	} {
		got, err := hubfile.ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "-1MiB", "1e3", "0x10", "inf", "NaN", "1.2.3MiB", "64mib", "64 M", "8388608TiB", "99999999999999999999", "9999999999.5TiB"} {
		if got, err := hubfile.ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestBytesString(t *testing.T) {
	for size, want := range map[hubfile.Bytes]string{0: "0B", 1000: "1000B", 1024: "1KiB", 64 << 20: "64MiB", 1536: "1536B", 3 << 40: "3TiB"} {
		if got := size.String(); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", int64(size), got, want)
		}
		if back, err := hubfile.ParseBytes(size.String()); err != nil || back != size {
			t.Errorf("%q reads as %d, %v", size, back, err)
		}
	}
}
