// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import "time"

// alarms are the loop's named timers. A name has one alarm at a time: setting it
// again replaces it.
type alarms map[string]alarm

type alarm struct {
	at time.Time // monotonic
	do func()
}

func (a alarms) set(name string, after time.Duration, do func()) {
	a[name] = alarm{at: time.Now().Add(after), do: do}
}

func (a alarms) clear(names ...string) {
	for _, name := range names {
		delete(a, name)
	}
}

// next is how long until the earliest alarm; without one, an hour.
func (a alarms) next() time.Duration {
	wait := time.Hour
	for _, al := range a {
		wait = min(wait, time.Until(al.at))
	}
	return max(wait, 0)
}

// run takes out and runs all alarms that are due. One may set or clear others.
func (a alarms) run() {
	now := time.Now()
	for name, al := range a {
		if current, ok := a[name]; ok && current.at.Equal(al.at) && !al.at.After(now) {
			delete(a, name)
			al.do()
		}
	}
}
