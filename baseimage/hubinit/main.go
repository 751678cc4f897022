// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"cloud4.internal/hub/internal/initctl"
)

// Exit codes of hubinit's own (the others are the service's).
const (
	exitUsage    = 2
	exitFault    = 70 // EX_SOFTWARE of sysexits.h
	exitSettings = 78 // EX_CONFIG of sysexits.h
	exitNotExec  = 126
	exitNotFound = 127
	exitSignal   = 128 // plus the signal's number
)

const usage = `usage: hubinit [--] PROGRAM [ARG...]   run PROGRAM as the container's service, under the hubs
       hubinit probe                   say whether this container is healthy (HEALTHCHECK)
       hubinit --version
In a Dockerfile: ENTRYPOINT ["hubinit"] and the service as CMD. An ENTRYPOINT of your own clears an inherited CMD.
`

// version is set by the linker: -X main.version=v1.2.3.
var version string

func main() {
	os.Exit(run(os.Args[1:]))
}

// run chooses what to do by the arguments and returns the exit code.
func run(args []string) int {
	if len(args) > 0 && args[0] == "probe" { // no PID 1, and is to cost next to nothing
		return probe(initctl.RunDir(), os.Stdout)
	}
	// First of all: until this, a TERM would end PID 1 with the runtime's code 2.
	caught := catchSignals()
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, "hubinit: no program given: the service is the image's CMD, or the command after the image's name\n"+usage)
		return exitUsage
	}
	switch first := args[0]; {
	case first == "--version":
		fmt.Println("hubinit", buildVersion())
		return 0
	case first == "--help" || first == "-h":
		fmt.Print(usage)
		return 0
	case first == "--" && len(args) > 1:
		return supervise(args[1:], caught)
	case strings.HasPrefix(first, "-"):
		fmt.Fprintf(os.Stderr, "hubinit: unknown option %q\n%s", first, usage)
		return exitUsage
	}
	return supervise(args, caught)
}

// buildVersion names the build: what the linker was told, else the module version.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
