// SPDX-License-Identifier: AGPL-3.0-or-later

package webhook

// What a message is about.
const (
	StatusProblem  = "problem"  // something is wrong that was not, or it is worse than it was
	StatusStill    = "still"    // something is wrong as before: a reminder
	StatusResolved = "resolved" // all that the message is about is over
)

// Message is what templates are made of.
type Message struct {
	ID     string // another one for each message, of letters and digits
	Title  string // one line
	Text   string // several lines, at most MaxText bytes
	Status string // one of the Status constants, that of the most urgent thing told
	State  string // pass, warn, unknown or fail: the worst of what is told as being wrong; pass: nothing is
	// Priority is 1 (nothing to do) to 5 (at once), as ntfy counts: 2 resolved, 3 warn, 4 unknown, 5 fail.
	Priority int
	Level    string // host or fleet
	Name     string // of the host; "fleet"
	Time     string // when it was made, RFC 3339, UTC
	Test     bool   // nothing of it is real: it is tried out
	Problems int    // how many new things the message is about
	Resolved int    // and how many that are over
	Open     int    // how many are open in all, told now or before
	Items    []Item // those of the first lines of Text
	Secret   string // what stands in secret_file, without the line feed at its end
}

// Item is one thing that a message is about.
type Item struct {
	Path   string // "web.shop.vm1/page"
	Status string // one of the Status constants
	State  string // what it is or, if resolved, was
	Text   string // what was seen
	Action string // what to do
	For    string // how long it has been so: "12m"; "": it has just begun
	Test   bool
}

// Bounds of a message: below the 2,000 characters of Discord and the 4,096 bytes of ntfy, with some air for what a form adds.
const (
	MaxTitle = 200
	MaxText  = 1700
)

// samples are what templates are tried with when the settings are read: all that is there, and as little as there can be.
var samples = []Message{
	{
		ID: "sample1", Title: `vm1: "web" fails`, Text: "web.shop.vm1/page: fail: \"x\"\\\nsecond line", Status: StatusProblem, State: "fail", Priority: 5,
		Level: "host", Name: "vm1", Time: "2026-01-02T15:04:05Z", Problems: 1, Resolved: 1, Open: 2, Secret: "sample",
		Items: []Item{
			{Path: "web.shop.vm1/page", Status: StatusProblem, State: "fail", Text: `"x"`, Action: "look"},
			{Path: "db.shop.vm1", Status: StatusResolved, State: "warn", For: "12m"},
		},
	},
	{ID: "sample2", Title: "fleet: all is well", Status: StatusResolved, State: "pass", Priority: 2, Level: "fleet", Name: "fleet", Test: true},
}
