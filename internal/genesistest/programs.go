// SPDX-License-Identifier: AGPL-3.0-or-later

package genesistest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// buildTags leave out of the authority's module what nobody here uses; they are the Makefile's.
const buildTags = "nopgx,nomysql,nobadger,nobbolt,grpcnotrace,urfave_cli_no_docs"

// binVariable names the directory of programs that are built already; Main sets it.
const binVariable = "HUB_BIN"

// Main is the body of TestMain: it builds the four programs into a directory of their own, unless HUB_BIN names one, and
// runs the tests. All tests of the package share the programs.
//
//	func TestMain(m *testing.M) { os.Exit(genesistest.Main(m)) }
func Main(m *testing.M) int {
	if os.Getenv(binVariable) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "hub-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(dir)
	}
	if err == nil {
		err = os.Setenv(binVariable, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building the programs for the tests:", err)
		return 1
	}
	return m.Run()
}

func build(dir string) error {
	gomod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("asking for the module: %w", err)
	}
	cmd := exec.Command("go", "build", "-tags", buildTags, "-o", dir+"/", "./confighub", "./healthhub", "./loghub", "./baseimage/hubinit")
	cmd.Dir = filepath.Dir(strings.TrimSpace(string(gomod)))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	return nil
}

// Program is the path of a program that Main built: hubinit, confighub, healthhub or loghub.
func Program(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(binVariable)
	if dir == "" {
		t.Fatal("no programs: TestMain must call genesistest.Main")
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
