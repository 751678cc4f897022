// SPDX-License-Identifier: AGPL-3.0-or-later

package health

import "fmt"

// State is how well something is. The order is the order of badness: a parent is never better than its worst
// part, so comparing two States with < compares them. The zero State is Pass.
type State uint8

// The states. Unknown stands above Warn, since not knowing is not being well, and below Fail, since one
// silent reporter must not hide a dead database.
const (
	Pass     State = iota // well
	Starting              // not yet well for the first time, and still within its time to become so
	Warn                  // works, but somebody should look
	Unknown               // nobody knows: nothing was observed, or too long ago
	Fail                  // does not work
)

var stateNames = [...]string{Pass: "pass", Starting: "starting", Warn: "warn", Unknown: "unknown", Fail: "fail"}

// States lists all states, from best to worst.
func States() []State { return []State{Pass, Starting, Warn, Unknown, Fail} }

// String returns pass, starting, warn, unknown or fail.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// ParseState is the inverse of [State.String].
func ParseState(text string) (State, error) {
	for s, name := range stateNames {
		if name == text {
			return State(s), nil
		}
	}
	return Unknown, fmt.Errorf("state %.40q: must be pass, starting, warn, unknown or fail", text)
}

// MarshalText makes a State its name in JSON.
func (s State) MarshalText() ([]byte, error) {
	if int(s) >= len(stateNames) {
		return nil, fmt.Errorf("encoding %v: no such state", s)
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = ParseState(string(text))
	return err
}

// Worst returns the worst of the states; Pass if there is none. Whoever expects something must not
// pass an empty list off as well: see Unknown.
func Worst(states ...State) State {
	worst := Pass
	for _, s := range states {
		worst = max(worst, s)
	}
	return worst
}
