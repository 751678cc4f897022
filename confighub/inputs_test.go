// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	name := func(base string) string { return filepath.Join(dir, base) }
	if err := errors.Join(os.WriteFile(name("good"), []byte("s3cret\r\n"), 0o600), os.WriteFile(name("large"), make([]byte, maxSecret+1), 0o600),
		syscall.Mkfifo(name("pipe"), 0o600), os.Symlink("good", name("link"))); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		name("good"): "s3cret", name("link"): "s3cret", name("large"): "larger than 1024 KiB", name("pipe"): "is a pipe, not a regular file",
		"/dev/zero": "is a device, not a regular file", name("none"): "no such file",
	} {
		got, err := readSecret(file)
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: got %q, %v", file, got, err)
		}
	}
}
