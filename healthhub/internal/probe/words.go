// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// size gives bytes for people, in powers of 1000 as disks are sold: 512 B, 1.5 GB, 29 GB.
func size(n uint64) string {
	const names = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(names)-1 {
		f, i = f/1000, i+1
	}
	digits := 0
	if f < 9.95 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %cB", digits, f, names[i])
}

// percent gives a part of one for people: 91 %, 4.2 %. It rounds down, so that nothing looks full before it is.
func percent(part float64) string {
	p := part * 100
	if p < 10 {
		return strconv.FormatFloat(math.Floor(p*10+1e-6)/10, 'f', -1, 64) + " %"
	}
	return strconv.FormatFloat(math.Floor(p+1e-6), 'f', -1, 64) + " %"
}

// span gives a duration for people: 26h, 10m, 1m30s, 250ms.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	d = d.Round(time.Second)
	hours, minutes, seconds := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	out := ""
	if hours > 0 {
		out = fmt.Sprintf("%dh", hours)
	}
	if minutes > 0 {
		out += fmt.Sprintf("%dm", minutes)
	}
	if seconds > 0 && hours == 0 {
		out += fmt.Sprintf("%ds", seconds)
	}
	return out
}

// plural gives "1 event", "3 events".
func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatUint(n, 10) + " " + many
}
