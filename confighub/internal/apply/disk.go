// SPDX-License-Identifier: AGPL-3.0-or-later

package apply

import (
	"os"

	"cloud4.internal/hub/internal/atomicfile"
)

// operation is a kind of system call that writes.
type operation string

const (
	opCreate   operation = "create"
	opWrite    operation = "write"
	opSync     operation = "sync"
	opOwn      operation = "own"
	opRename   operation = "rename"
	opExchange operation = "exchange" // an opRename follows
	opRemove   operation = "remove"
	opMkdir    operation = "mkdir"
)

// disk is every write of this package. For tests, inject makes one of them fail, and volatile leaves out forcing
// them to the disk, which is most of the time they take and which no kill of a process can tell.
type disk struct {
	inject   func(op operation, name string) error
	volatile bool
}

func (k disk) before(op operation, name string) error {
	if k.inject == nil {
		return nil
	}
	return k.inject(op, name)
}

// store writes a file of the state whole.
func (k disk) store(name string, data []byte) error {
	if err := k.before(opWrite, name); err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	if k.volatile {
		return atomicfile.WriteVolatile(name, data, 0o600)
	}
	return atomicfile.Write(name, data, 0o600)
}

// storeVolatile is store for what no power failure survives.
func (k disk) storeVolatile(name string, data []byte) error {
	if err := k.before(opWrite, name); err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	return atomicfile.WriteVolatile(name, data, 0o600)
}
