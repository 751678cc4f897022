// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGapsCommand: what is missing stands in the table and in the exit code, unless a record tells of it.
func TestGapsCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(uids ...string) {
		var text strings.Builder
		for _, uid := range uids {
			more := ""
			if uid == "e.5" {
				more = `,"event_name":"hub.loss","hub.loss.count":2`
			}
			fmt.Fprintf(&text, `{"message":"x","log.iostream":"stdout","cloud4.peer":"spiffe://cloud4.internal/host/vm1","service.instance.id":"0","log.record.uid":%q%s}`+"\n", uid, more)
		}
		if err := os.WriteFile(filepath.Join(dir, "host.vm1.jsonl"), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("e.1", "e.2", "e.5", "e.6")
	if out, log, code := command(t, "", nil, "gaps", dir); code != 0 || !strings.Contains(out, "cloud4.internal/host/vm1") || !strings.Contains(out, "3-4") || !strings.Contains(out, "  e       stdout  1 ") {
		t.Errorf("told: exit %d\n%s%s", code, out, log)
	}
	write("e.1", "e.2", "e.6")
	if out, log, code := command(t, "", nil, "gaps", "--json", dir); code != 1 || !strings.Contains(out, `"missing_stretches":["3-5"]`) || !strings.Contains(log, "3 records are missing") {
		t.Errorf("not told: exit %d\n%s%s", code, out, log)
	}
	for _, args := range [][]string{{"gaps"}, {"gaps", dir + "/none"}, {"gaps", t.TempDir()}} {
		if _, log, code := command(t, "", nil, args...); code == 0 || log == "" {
			t.Errorf("%q: exit %d, %s", args, code, log)
		}
	}
}
