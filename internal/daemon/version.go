// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import "runtime/debug"

// version is set by the linker, -X cloud4.internal/hub/internal/daemon.version=v1.2.3; the Makefile does.
var version string

// Version names the build: what the linker was told, else the module version of `go install`, else "devel".
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
