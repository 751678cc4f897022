// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloud4.internal/hub/loghub/internal/spool"
)

// TestPipeBehind: a flood of what is of less worth leaves room for the rest.
func TestPipeBehind(t *testing.T) {
	b := newBench(t)
	sp, err := spool.Open(spool.Options{Quota: 4 << 20})
	do(t, err)
	b.sp, b.sh.Spool = sp, sp
	open := func(name string, behind float64) (func(text string), *Pipe) {
		r, w := newPipe(t)
		p, err := OpenPipe(b.sh, PipeOptions{Name: name, Pipe: r, Behind: behind})
		do(t, err)
		return func(text string) {
			_, err := w.WriteString(text)
			do(t, err)
			do(t, p.step(b.see(p)))
		}, p
	}
	flood, hubs := open("hubs", 0.5)
	speak, service := open("stdout", 0)
	line := "2026-11-21 08:00:01 ERROR a hub is in trouble " + strings.Repeat("x", 500) + "\n"
	for i := range 200 {
		flood(strings.Repeat(line, 60))
		speak(fmt.Sprintf("2026-11-21 08:00:01 INFO %d\n", i))
	}
	if hubs.Stat().Lost == 0 {
		t.Error("no flood: this tests nothing")
	}
	if st := service.Stat(); st.Lost > 0 || st.Records != 200 {
		t.Errorf("%+v", st)
	}
	if fill := sp.Fill(); fill > 0.6 {
		t.Errorf("the spool is filled to %.2f", fill)
	}
}

// TestFilesTurns: one file that is far behind does not keep the others from being read.
func TestFilesTurns(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.log"), strings.Repeat(strings.Repeat("x", 999)+"\n", 20_000))
	write(t, filepath.Join(dir, "b.log"), "small\n")
	write(t, filepath.Join(dir, "c.log"), strings.Repeat(strings.Repeat("y", 999)+"\n", 20_000))
	f := b.files(filepath.Join(dir, "*.log"))
	if !f.round(t.Context(), false) {
		t.Error("everything was read at once: this tests nothing")
	}
	for _, tl := range f.tails {
		tl.grown = tl.grown.Add(-2 * fileQuiet) // its last line waits for others no more
	}
	f.round(t.Context(), false)
	if !slices.Contains(b.bodies(), "small") {
		t.Error("the small file was not read")
	}
	for _, st := range f.Stats() {
		if strings.HasSuffix(st.Name, "b.log") == (st.Lag > 0) {
			t.Errorf("%+v", st)
		}
	}
	f.close()
}
