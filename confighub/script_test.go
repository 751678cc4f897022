// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"cloud4.internal/hub/internal/proctest"
)

// TestScripts runs the commands for people as people do: each file of testdata/script is a session. UPDATE=1 writes
// down anew what they print.
func TestScripts(t *testing.T) {
	bin := t.TempDir()
	proctest.Link(t, bin, "confighub")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE") == "1",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PROGRAMS", bin)
			env.Setenv("PATH", bin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
			env.Setenv("HUB_CONFIG", env.WorkDir+"/hub.json")
			env.Setenv("HUB_RUN_DIR", env.WorkDir+"/run")
			env.Setenv("HUB_VAR_DIR", env.WorkDir+"/var")
			env.Setenv("TZ", "UTC")
			return nil
		},
	})
}
