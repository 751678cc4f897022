// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

// point names a moment of a transaction at which a test can end the process.
type point string

// Every moment between two of which something on the disk, or of the service, changes.
const (
	pointBegun      point = "begun"       // the journal names what will be made
	pointCopied     point = "copied"      // a file was copied for the way back
	pointMade       point = "made"        // the directory of a target is there
	pointStagedOne  point = "staged one"  // a new file stands beside its target
	pointStaged     point = "staged"      // all do
	pointRooted     point = "rooted"      // the directory of all targets is made, for checks
	pointChecked    point = "checked"     // all checks passed
	pointHeld       point = "held"        // the service is held
	pointKept       point = "kept"        // a file is kept that confighub writes over for the first time, or that was drifted
	pointJournaled  point = "journaled"   // the journal allows the swap
	pointExchanged  point = "exchanged"   // a new file is in place, the old one under its staged name
	pointTruncated  point = "truncated"   // a file written in place is half written
	pointFiles      point = "files"       // all files are swapped, the environment is not
	pointSwappedOne point = "swapped one" // a target is the new one
	pointSwapped    point = "swapped"     // all are
	pointReloading  point = "reloading"   // the journal says that actions run
	pointActed      point = "acted"       // an action ran
	pointReloaded   point = "reloaded"    // all did
	pointSettled    point = "settled"     // the service lives with it
	pointRemembered point = "remembered"  // targets.json is that of the new generation
	pointTidied     point = "tidied"      // the old files are gone
	pointFinished   point = "finished"    // so is the journal
	pointReturned   point = "returned"    // a target is the old one again
	pointUndone     point = "undone"      // all are
	pointRevived    point = "revived"     // the service was told to take the old ones up
	pointOwed       point = "owed"        // what it still has to be told is kept
	pointForgotten  point = "forgotten"   // a journal of targets that were put back is gone
)
