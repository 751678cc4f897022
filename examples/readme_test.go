// SPDX-License-Identifier: AGPL-3.0-or-later

package examples

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cloud4.internal/hub/baseimage/dockertest"
)

// block is one fenced block of README.md.
type block struct {
	// kind is the word behind the fence: console, dockerfile, yaml, json.
	kind, text string
	// line is where it begins.
	line int
}

// readme returns the blocks of README.md.
func readme(t *testing.T) []block {
	t.Helper()
	file, err := os.Open("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var blocks []block
	inside := false
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		kind, isFence := strings.CutPrefix(lines.Text(), "```")
		switch {
		case isFence && inside:
			inside = false
		case isFence:
			inside = true
			blocks = append(blocks, block{kind: kind, line: n + 1})
		case inside:
			blocks[len(blocks)-1].text += lines.Text() + "\n"
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return blocks
}

// commands returns the lines behind "$ " of the console blocks that contain mark.
func commands(t *testing.T, mark string) []string {
	t.Helper()
	var found []string
	for _, b := range readme(t) {
		if b.kind != "console" || !strings.Contains(b.text, mark) {
			continue
		}
		for line := range strings.Lines(b.text) {
			if command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
				found = append(found, command)
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("README.md has no console block with %q", mark)
	}
	return found
}

// first returns the first block of a kind that contains mark.
func first(t *testing.T, kind, mark string) block {
	t.Helper()
	blocks := readme(t)
	i := slices.IndexFunc(blocks, func(b block) bool { return b.kind == kind && strings.Contains(b.text, mark) })
	if i < 0 {
		t.Fatalf("README.md has no %s block with %q", kind, mark)
	}
	return blocks[i]
}

// TestReadmeLinks holds that what the README points at in this repository exists.
func TestReadmeLinks(t *testing.T) {
	raw, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(string(raw), -1)
	if len(links) == 0 {
		t.Fatal("no link found: the expression is wrong")
	}
	for _, link := range links {
		if _, err := os.Stat("../" + link[1]); err != nil {
			t.Errorf("README.md points at %s: %v", link[1], err)
		}
	}
}

// TestReadmeCommands holds that every command of a hub which the README names is one.
func TestReadmeCommands(t *testing.T) {
	raw, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, found := range regexp.MustCompile(`\b(confighub|healthhub|loghub) ([a-z][a-z-]+)\b[^:]`).FindAllStringSubmatch(string(raw), -1) {
		named[found[1]+" "+found[2]] = true
	}
	if len(named) == 0 {
		t.Fatal("no command found: the expression is wrong")
	}
	script := "set -e\n"
	for command := range named {
		script += command + " --help >/dev/null\n"
	}
	if _, err := dockertest.Try(t.Context(), "run", "--rm", "--entrypoint", "sh", "cloud4/base", "-c", script); err != nil {
		t.Errorf("README.md names a command that is none: %v", err)
	}
}
