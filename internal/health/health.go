// SPDX-License-Identifier: AGPL-3.0-or-later

// Package health is the one vocabulary of health: a tree of nodes, each with a state, and the files in
// which the programs of a container tell each other how they are.
//
// A [Node] is a check, a container, a host or the fleet. The same type stands in /run/hub/<name>.json (see
// [File]), travels from container to host to fleet, and is what every reader gets. Its words are those of
// the expired draft-inadarei-api-health-check-06 where that has one (pass, warn, fail).
//
// A node that came from elsewhere is judged by [Node.Accept] before anything else is done with it: names, depth
// and number of nodes are limited, texts are cut and cleaned of what could move a terminal's cursor.
//
// Standard library only, since hubinit links it. It leaves out how states are summed up, which is
// healthhub/internal/rollup, and how they are found out.
package health
