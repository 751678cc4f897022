// SPDX-License-Identifier: AGPL-3.0-or-later

package probe

import "testing"

// The readers of the kernel's files take anything: names of processes and of mount points are other people's.
func FuzzKernelFiles(f *testing.F) {
	f.Add("9 (a ) b) S 1 9 9 0 -1 4194560 1 0 0 0 5 5 0 0 20 0 7 0 1\n")
	f.Add(hostMounts)
	f.Add("some avg10=1.00 avg60=50.50 avg300=3.00 total=1\n")
	f.Add("5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n")
	f.Add("MemTotal:        8000000 kB\noom_kill 5\n")
	f.Fuzz(func(t *testing.T, text string) {
		statFields(text)
		if m, ok := parseMount(text); ok && (m.device == "" || m.fstype == "" || m.point == "") {
			t.Errorf("%q is no mount: %+v", text, m)
		}
		if part, ok := stalled(text, "some", "avg60="); ok && part != part {
			t.Errorf("%q: %v", text, part)
		}
		field(text, "MemTotal")
		path, _ := ownGroup(text, "memory")
		if c, err := mounted(text, path, func(mount) bool { return true }); err == nil && c.top == "" {
			t.Errorf("%q: %+v", text, c)
		}
	})
}
