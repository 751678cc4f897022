// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build !race && !386

package collect_test

const crowd = 1000
