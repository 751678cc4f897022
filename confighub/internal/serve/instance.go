// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"fmt"
	"strings"
	"time"

	"cloud4.internal/hub/confighub/internal/bundle"
)

// States of an instance beside those that it reports (package bundle).
const (
	// StatusBehind: it has not yet said anything of the version it is to have.
	StatusBehind = "behind"
	// StatusUnknown: it was heard of and has reported nothing.
	StatusUnknown = "unknown"
	// StatusUnseen is of a container of which no instance was heard of.
	StatusUnseen = "unseen"
)

// Statuses are all that Instance.Status can be, and StatusUnseen.
func Statuses() []string {
	return []string{
		bundle.StateApplied, bundle.StatePending, bundle.StateRejected, bundle.StateRolledBack, StatusBehind, StatusUnknown, StatusUnseen,
	}
}

// Instance is one replica of a container, as the server knows it.
type Instance struct {
	// Instance is the replica's number, "" for the first.
	Instance string `json:"instance,omitempty"`
	// Status is what became of the desired version: applied, pending, rejected, rolled_back, behind or unknown.
	Status string `json:"status,omitempty"`
	// Version, State and Errors are of the last report, made at Reported; empty when there was none.
	Version  bundle.Version `json:"version,omitzero"`
	State    string         `json:"state,omitempty"`
	Errors   []string       `json:"errors,omitempty"`
	Reported time.Time      `json:"reported,omitzero"`
	// Applied is the version it has: the last one that it said it applied, whatever it said later of newer ones.
	Applied bundle.Version `json:"applied,omitzero"`
	// Failed is the last version that it rejected or rolled back, until it has applied that or a newer one.
	Failed *Failure `json:"failed,omitempty"`
	// Recipient is the public key that values are sealed for so that it alone opens them; "" when it has none.
	Recipient string `json:"recipient,omitempty"`
	// NotAfter is the end of the certificate that it used last.
	NotAfter time.Time `json:"not_after,omitzero"`
	// Seen is the time of the last request of any kind.
	Seen time.Time `json:"seen"`
}

// Failure is a version that is not in place, and why.
type Failure struct {
	Version bundle.Version `json:"version"`
	// State is rejected or rolled_back.
	State  string    `json:"state"`
	Errors []string  `json:"errors,omitempty"`
	At     time.Time `json:"at"`
}

// note takes a report in. Reports come in order, except that a container which was started anew may repeat a failure.
func (i *Instance) note(report bundle.Applied, now time.Time) {
	i.Version, i.State, i.Errors, i.Recipient = report.Version, report.State, bounded(report.Errors), report.Recipient
	i.Reported, i.Seen = now, now
	switch report.State {
	case bundle.StateApplied:
		i.Applied = report.Version
		if i.Failed != nil && i.Failed.Version.Serial <= report.Version.Serial {
			i.Failed = nil
		}
	case bundle.StateRejected, bundle.StateRolledBack:
		if report.Version == i.Applied {
			i.Applied = bundle.Version{} // undone late, at a start; it says next what it has
		}
		if report.Version.Serial >= i.Applied.Serial {
			i.Failed = &Failure{Version: report.Version, State: report.State, Errors: i.Errors, At: now}
		}
	}
}

// status is what became of the version that an instance is to have. An old digest under a new serial is the same
// configuration.
func (i *Instance) status(desired bundle.Version) string {
	switch {
	case i.Failed != nil && i.Failed.Version == desired:
		return i.Failed.State
	case !i.Applied.IsZero() && i.Applied.Digest == desired.Digest:
		return bundle.StateApplied
	case i.State == bundle.StatePending && i.Version == desired:
		return bundle.StatePending
	case i.State == "":
		return StatusUnknown
	}
	return StatusBehind
}

const (
	maxErrors     = 20
	maxErrorBytes = 2 << 10
)

// bounded cuts what a container wrote to what we are ready to keep and to print.
func bounded(lines []string) (kept []string) {
	for i, line := range lines {
		if i == maxErrors {
			return append(kept, fmt.Sprintf("and %d more", len(lines)-maxErrors))
		}
		if len(line) > maxErrorBytes {
			line = line[:maxErrorBytes] + "…"
		}
		kept = append(kept, strings.ToValidUTF8(strings.Map(printable, line), "\uFFFD"))
	}
	return kept
}

// printable keeps a container from writing control sequences to an operator's terminal.
func printable(r rune) rune {
	if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
		return '\uFFFD'
	}
	return r
}
