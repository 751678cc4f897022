// SPDX-License-Identifier: AGPL-3.0-or-later

package repository_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
)

// A delta of a few bytes may be made of gigabytes, which git unpacks first: it gets no more memory than it needs for a
// repository of configuration. A git that tells its limits stands in for one that would have to be given gigabytes.
func TestMemoryOfGitIsLimited(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(map[string]string{"a": "1"})
	bin := t.TempDir()
	script := "#!/bin/sh\nread line\ngrep 'Max address space' /proc/$$/limits >&2\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	repo := open(t, p.Bare, "main")
	_, err := read(t.Context(), repo)
	if err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), "git: Max address space 2147483648 2147483648 bytes") {
		t.Errorf("got %v", err)
	}
}
