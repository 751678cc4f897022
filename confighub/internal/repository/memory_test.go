// SPDX-License-Identifier: AGPL-3.0-or-later

package repository

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"cloud4.internal/hub/confighub/internal/repository/repositorytest"
)

// A delta of a few bytes may be made of gigabytes, which git unpacks first: the kernel knows how much it may have. (A pack of
// 3 MB that stands for 3 GiB takes a minute to make; by hand it is refused in 0.1 s, and took 3.1 GB without the limit.)
func TestMemoryOfGitIsLimited(t *testing.T) {
	p := repositorytest.New(t)
	p.Push(map[string]string{"a": "1"})
	repo, err := Open(p.Bare, "main")
	if err != nil {
		t.Fatal(err)
	}
	reader, err := repo.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", reader.git.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(string(limits)), " "); !strings.Contains(got, "Max address space 2147483648 2147483648 bytes") {
		t.Errorf("the limits of git are\n%s", limits)
	}
	if _, err := reader.Commit(); err != nil {
		t.Error(err)
	}
}
