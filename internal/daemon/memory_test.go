// SPDX-License-Identifier: AGPL-3.0-or-later

package daemon

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestProgramMappings: what may be released is the program's, and read-only; not what follows in the same file
// writable, nor a library, nor a line that was cut off.
func TestProgramMappings(t *testing.T) {
	t.Parallel()
	const maps = `00400000-00e2c000 r-xp 00000000 fe:00 1234                       /usr/local/bin/hub
00e2c000-019a9000 r--p 00a2c000 fe:00 1234                       /usr/local/bin/hub
019a9000-01a3a000 rw-p 015a9000 fe:00 1234                       /usr/local/bin/hub
01a3a000-03a8a000 r--p 015a9000 fe:00 99                         /lib/other
`
	ours := []mapping{{0x400000, 0xe2c000}, {0xe2c000, 0x19a9000}}
	for name, text := range map[string]string{
		"all":        maps,
		"then none":  maps + "03a8a000-03a8b000 r--p 00000000 00:00 0 \n00e2c000-019a9000 r--p 00a2c000 fe:00 1234 /usr/local/bin/hub\n",
		"cut off":    maps + "03a8a000-03a8b000 r--p 00000000 fe:00 1234 /usr/local/bin/hub",
		"not parsed": maps + "x-03a8b000 r--p 00000000 fe:00 1234 /usr/local/bin/hub\n",
	} {
		if diff := cmp.Diff(ours, programMappings([]byte(text)), cmp.AllowUnexported(mapping{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := programMappings([]byte("00400000-00e2c000 r--p 00000000 00:00 0 \n" + maps)); got != nil {
		t.Errorf("memory of no file was taken for the program's: %v", got)
	}
}

// TestReleaseProgram: the program takes less memory after it, and runs on.
func TestReleaseProgram(t *testing.T) {
	before := residentProgram(t)
	releaseProgram()
	if after := residentProgram(t); after >= before {
		t.Errorf("%d kB of the program in memory before, %d kB after", before, after)
	}
}

// TestSmallGivesBack: what became free after the start goes back to the machine within a minute.
func TestSmallGivesBack(t *testing.T) {
	held := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapSys - m.HeapReleased
	}
	synctest.Test(t, func(t *testing.T) {
		defer Small(runtime.GOMAXPROCS(0), 100)()
		time.Sleep(started + time.Second)
		before := held()
		waste := make([]byte, 64<<20)
		runtime.KeepAlive(&waste)
		if held() < before+32<<20 {
			t.Fatal("nothing was taken")
		}
		time.Sleep(releaseEvery)
		synctest.Wait()
		if after := held(); after > before+32<<20 {
			t.Errorf("%d MB before, %d MB after", before>>20, after>>20)
		}
	})
}

// residentProgram is how much of the program's read-only mappings is in memory, in kB (proc_pid_smaps(5)).
func residentProgram(t *testing.T) (sum int) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ours, kB := false, 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if strings.Contains(fields[0], "-") {
			ours = len(fields) > 5 && fields[5] == program && strings.HasPrefix(fields[1], "r-")
		} else if n, _ := fmt.Sscanf(lines.Text(), "Rss: %d kB", &kB); n == 1 && ours {
			sum += kB
		}
	}
	if lines.Err() != nil || sum == 0 {
		t.Fatalf("%d kB of %s: %v", sum, program, lines.Err())
	}
	return sum
}
