// SPDX-License-Identifier: AGPL-3.0-or-later

package limit

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bounds of a Rate.
const (
	maxLines  = 1_000_000
	minWindow = 100 * time.Millisecond
	maxWindow = time.Hour
)

// Rate is how many lines alike are kept in a window. The zero Rate keeps all.
type Rate struct {
	Lines  int
	Window time.Duration
}

// UnmarshalText reads a rate such as 100/10s; nothing is none.
func (r *Rate) UnmarshalText(text []byte) error {
	if *r = (Rate{}); len(text) == 0 {
		return nil
	}
	lines, window, _ := strings.Cut(string(text), "/")
	n, err := strconv.Atoi(lines)
	w, werr := time.ParseDuration(window)
	switch {
	case err != nil || werr != nil:
		return errors.New("lines and a time are needed, such as 100/10s")
	case n < 1 || n > maxLines:
		return fmt.Errorf("from 1 line to %d are possible", maxLines)
	case w < minWindow || w > maxWindow:
		return fmt.Errorf("times from %v to %v are possible", minWindow, maxWindow)
	}
	r.Lines, r.Window = n, w
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

func (r Rate) String() string {
	if r.Lines == 0 {
		return ""
	}
	return strconv.Itoa(r.Lines) + "/" + r.Window.String()
}
