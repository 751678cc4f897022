// SPDX-License-Identifier: AGPL-3.0-or-later

package dirlock

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
)

func TestTake(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir); !errors.Is(err, ErrTaken) {
		t.Errorf("taken twice: %v", err)
	}
	unlock()
	again, err := Take(dir)
	if err != nil {
		t.Fatalf("after unlocking: %v", err)
	}
	again()
	if _, err := Take(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
