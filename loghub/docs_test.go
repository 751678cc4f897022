// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/internal/health"
)

// TestDocs runs the commands of docs/tail.md, which must print what stands there.
func TestDocs(t *testing.T) {
	page := runPage(t, "../docs/tail.md", 8)
	// Every metric stands there.
	s := someStatus(time.Now())
	for line := range strings.Lines(string(openMetrics(metrics(health.Node{}, s.section), true))) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok && !strings.Contains(page, "`"+strings.Fields(name)[0]+"`") {
			t.Errorf("the page does not tell of %s", name)
		}
	}
}

// TestDocsMasking does it with docs/masking.md.
func TestDocsMasking(t *testing.T) { runPage(t, "../docs/masking.md", 2) }

// TestDocsLimits does it with docs/limits.md.
func TestDocsLimits(t *testing.T) { runPage(t, "../docs/limits.md", 1) }

// runPage runs what a page shows on a console, but for what needs a container, and returns the page. At least so many
// commands must be there.
func runPage(t *testing.T, file string, least int) string {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "loghub")); err != nil {
		t.Fatal(err)
	}
	run := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, example := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(strings.TrimSuffix(example, "\n"), "\n")
			if strings.HasPrefix(command, "docker ") {
				continue
			}
			cmd := exec.Command("sh", "-c", command)
			cmd.Dir = "testdata/tail"
			cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "LOGHUB_TEST_MAIN=1", "TZ=UTC", "HUB_RUN_DIR=" + bin}
			out, _ := cmd.CombinedOutput() // a mistake is shown, too
			if diff := cmp.Diff(want, strings.TrimSuffix(string(out), "\n")); diff != "" {
				t.Errorf("%s (-page +now):\n%s", command, diff)
			}
			run++
		}
	}
	if run < least {
		t.Errorf("only %d commands were found", run)
	}
	return string(page)
}
