// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build !race

package rollup

const generatedTrees = 100_000
