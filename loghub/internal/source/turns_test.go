// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTurns: while a slow receiver keeps the reader waiting, files are looked at all the same, and each has its turn.
func TestTurns(t *testing.T) {
	const files, bytes, pause = 10, 3 << 20, 150 * time.Millisecond
	b := newBench(t)
	dir := t.TempDir()
	for i := range files {
		write(t, filepath.Join(dir, fmt.Sprint(i, ".log")), strings.Repeat(strings.Repeat("x", 999)+"\n", bytes/1000))
	}
	stop := make(chan struct{})
	var receiver sync.WaitGroup
	receiver.Go(func() { // takes 1.7 MB a second
		for {
			select {
			case <-stop:
				return
			case <-time.After(pause):
			}
			d, err := b.sp.Peek(4096, 256<<10)
			if err == nil {
				_, err = b.sp.Ack(d, 0, d.Len())
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	defer receiver.Wait()
	defer close(stop)
	f := b.files(filepath.Join(dir, "*.log"))
	longest := time.Duration(0)
	begun := func() (n int) {
		for _, tl := range f.tails {
			if tl.offset > 0 {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(30 * time.Second); begun() < files; {
		if time.Now().After(end) {
			t.Fatalf("%d of %d files had a turn", begun(), files)
		}
		start := time.Now()
		f.round(t.Context(), false)
		longest = max(longest, time.Since(start))
	}
	if longest > 3*time.Second {
		t.Errorf("no file was looked at for %s", longest)
	}
	f.close()
}
