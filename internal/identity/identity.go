// SPDX-License-Identifier: AGPL-3.0-or-later

// Package identity owns who this machine is: the settings that name it, and the files that prove it.
//
// The files stand in <state>/identity, written by confighub alone and read by every hub:
//
//	id.pem     0600  the private key (PKCS #8) and, once enrolled, the certificate chain, leaf first
//	roots.pem  0644  the root certificates the fleet trusts
//	seal.key   0600  opens what is sealed for this container (confighub's package seal; no other hub reads it)
//
// Key and chain share one file because a rename replaces one file: no reader ever sees a key of one
// identity with a certificate of another. A file that holds a key and no certificate means "being enrolled".
// Both are PEM (RFC 7468). [Files] reads them again when they change; beside them <run>/identity.json
// ([Status]) says in words and numbers how the identity fares, for health and for people.
//
// Only the standard library and our standard-library-only packages are linked: the hubs that merely use an
// identity carry none of the code that obtains one (confighub/internal/enrol).
package identity

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/initctl"
)

// The names of the files below the identity directory.
const (
	fileID    = "id.pem"
	fileRoots = "roots.pem"
)

// Dir returns the directory of this container's identity files, <state>/identity.
func Dir() string { return filepath.Join(initctl.StateDir(), "identity") }

// Slot returns the number of this container's state slot, which is the replica's number in its name; 0 also for a
// container without a slot, whose identity lasts as long as it does.
func Slot() int {
	n, err := strconv.Atoi(initctl.Slot())
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// The states of [Status].
const (
	StateOff       = "off"       // no identity.ca_url: nothing to do
	StateNone      = "none"      // a replica without a token of its own: runs without identity
	StateEnrolling = "enrolling" // no certificate yet; Error says what it waits for
	StateValid     = "valid"     // a certificate that has not expired
	StateExpired   = "expired"   // the certificate ran out and could not be renewed yet
)

// Status is <run>/identity.json: the identity as confighub sees it. Times are absent without a certificate.
type Status struct {
	State     string    `json:"state"`
	ID        string    `json:"id,omitempty"`     // the SPIFFE ID the settings name
	Serial    string    `json:"serial,omitempty"` // decimal, as step-ca prints it
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	RenewAt   time.Time `json:"renew_at,omitzero"` // when renewal is due
	CAURL     string    `json:"ca_url,omitempty"`
	Error     string    `json:"error,omitempty"` // what stands in the way right now, in words that help
}

const fileStatus = "identity.json"

// WriteStatus replaces <run>/identity.json.
func WriteStatus(runDir string, s Status) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the state of the identity: %w", err)
	}
	return atomicfile.WriteVolatile(filepath.Join(runDir, fileStatus), append(data, '\n'), 0o644)
}

// ReadStatus reads <run>/identity.json; the error is fs.ErrNotExist while confighub has not written it.
func ReadStatus(runDir string) (Status, error) {
	data, err := os.ReadFile(filepath.Join(runDir, fileStatus))
	if err != nil {
		return Status{}, fmt.Errorf("reading the state of the identity: %w", err)
	}
	var s Status
	if err := json.Unmarshal(data, &s); err != nil {
		return Status{}, fmt.Errorf("reading the state of the identity: %w", err)
	}
	return s, nil
}
