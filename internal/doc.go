// SPDX-License-Identifier: AGPL-3.0-or-later

// Package internal is the floor under the programs: what two of them share. What one alone needs lives below that
// program.
//
//	standard library only      spiffe identity mtls initctl health atomicfile backoff moment
//	with modules               hubfile daemon otlp terminal
//	for tests                  identity/identitytest
//
// Imports go down: a program imports its own internal packages, those import these, and nothing goes
// sideways between programs or up. deps_test.go holds that, who may import which module, and why each module is there.
package internal
