// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build race || 386

package collect_test

// The race detector, and cryptography for 32 bits, make a handshake ten times slower.
const crowd = 200
