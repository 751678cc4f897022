// SPDX-License-Identifier: AGPL-3.0-or-later

package rollup

import (
	"strings"

	"cloud4.internal/hub/internal/health"
)

// marks are the flags that the sums look at, read off a node once.
type marks uint16

const (
	muted marks = 1 << iota
	unexpected
	info
	unsupported
	paused
	degrading
	critical
	stale
	missing
	stopping
	partStarting
	grouped // in one group or more
)

const (
	// leftOut is what counts nowhere: not in the state of what is above it, and not in a score.
	leftOut = muted | unexpected | info | unsupported
	// given marks a state that is not the sum of the children's: they are the last that was seen.
	given = stale | missing | stopping | paused
)

func (m marks) any(of marks) bool { return m&of != 0 }

func marksOf(n *health.Node) (m marks) {
	for _, flag := range n.Flags {
		switch flag {
		case health.FlagMuted:
			m |= muted
		case health.FlagUnexpected:
			m |= unexpected
		case health.FlagInfo:
			m |= info
		case health.FlagUnsupported:
			m |= unsupported
		case health.FlagPaused:
			m |= paused
		case health.FlagDegrading:
			m |= degrading
		case health.FlagCritical:
			m |= critical
		case health.FlagStale:
			m |= stale
		case health.FlagMissing:
			m |= missing
		case health.FlagStopping:
			m |= stopping
		case health.FlagPartStarting:
			m |= partStarting
		default:
			if strings.HasPrefix(flag, health.FlagGrouped) {
				m |= grouped
			}
		}
	}
	return m
}
