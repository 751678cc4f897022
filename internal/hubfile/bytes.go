// SPDX-License-Identifier: AGPL-3.0-or-later

package hubfile

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size in bytes. In settings it is a text such as "64MiB", "1.5GB" or "512B", or a number of bytes.
type Bytes int64

// units from the largest, so that String takes the first that fits and parsing sees "MiB" before "B".
var units = [...]struct {
	name string
	size int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1},
}

// ParseBytes reads a size: a number and a unit B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024).
// A number alone is in bytes.
func ParseBytes(text string) (Bytes, error) {
	number, size := strings.TrimSpace(text), int64(1)
	for _, unit := range units {
		if rest, ok := strings.CutSuffix(number, unit.name); ok {
			number, size = strings.TrimRight(rest, " "), unit.size
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/size {
			return 0, fmt.Errorf("size %q is out of range", text)
		}
		return Bytes(n * size), nil
	}
	// Only digits and one point: ParseFloat would also take "0x1p4", "1e9", "inf" and "NaN".
	if strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("size %q is not of the form 64MiB", text)
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("size %q is not of the form 64MiB", text)
	}
	if f *= float64(size); f >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is out of range", text)
	}
	return Bytes(f), nil
}

// String gives the size with the largest binary unit that divides it, "64MiB", or in bytes, "1000B".
func (b Bytes) String() string {
	for _, unit := range units[:4] {
		if b != 0 && int64(b)%unit.size == 0 {
			return strconv.FormatInt(int64(b)/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}
