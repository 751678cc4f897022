// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"errors"
	"strings"
)

// Outcome says what a transaction did.
type Outcome struct {
	// Changed lists the targets that were written or removed.
	Changed []string
	// Reloads lists the actions that were run.
	Reloads []string
}

// Rejected means that the generation is at fault and nothing was changed.
type Rejected struct{ Lines []string }

// Error is one reason a line.
func (e *Rejected) Error() string { return strings.Join(e.Lines, "\n") }

// RolledBack means that the generation was in place, did not work, and was taken back.
type RolledBack struct{ Lines []string }

// Error is one reason a line.
func (e *RolledBack) Error() string { return strings.Join(e.Lines, "\n") }

// ErrInterrupted means that the context ended, or the container was told to stop, after the swap: Recover decides
// at the next start.
var ErrInterrupted = errors.New("interrupted in the middle of applying")
