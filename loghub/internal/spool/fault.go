// SPDX-License-Identifier: AGPL-3.0-or-later

//go:build !faults

package spool

// fault marks a place where a test may end the process; see fault_on.go. Programs
// built without the tag "faults" have neither the code nor the variable.
func fault(string) {}
