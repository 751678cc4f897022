// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build race

package rollup

// The race detector has nothing to find in a pure package and makes it ten times slower.
const generatedTrees = 10_000
