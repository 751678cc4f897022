// SPDX-License-Identifier: AGPL-3.0-or-later

// Package examples holds what a newcomer runs first, and the tests that run it the same way:
//
//	demo.sh     the whole thing on one machine, called by `make demo`; terminal.sh is how it speaks
//	genesis/    the genesis machine of a fleet as compose services, with its configuration tree
//	shop/       one docker VM with one stack, a web server and a database
//
// The tests run the commands of README.md as they stand there, and then prove on the running demo what the rest of
// the repository promises: who is refused, what survives, what a crash costs.
package examples
