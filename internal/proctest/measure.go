// SPDX-License-Identifier: AGPL-3.0-or-later

package proctest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Build builds a program of the module as it is shipped, and returns its path.
func Build(t testing.TB, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", program, "cloud4.internal/hub/"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("building %s: %v: %s", name, err, out)
	}
	return program
}

// CPU is what a process has used so far, in seconds.
func CPU(t testing.TB, pid int) float64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	var ticks float64
	for _, field := range fields[11:13] { // utime and stime (proc_pid_stat(5)), of which a second has 100
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100
}

// Memory is a field of a process in MB: VmRSS or VmHWM (proc_pid_status(5)), Rss, Pss or Pss_Anon of all its mappings
// (proc_pid_smaps(5), which takes root for another user's process).
func Memory(t testing.TB, pid int, field string) float64 {
	t.Helper()
	file := "smaps_rollup"
	if strings.HasPrefix(field, "Vm") {
		file = "status"
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == field+":" {
			n, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			return n * 1024 / 1e6
		}
	}
	t.Fatalf("%s is not in /proc/%d/%s", field, pid, file)
	return 0
}

// Median sorts values; of an even number it is the upper of the two in the middle.
func Median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
