// SPDX-License-Identifier: AGPL-3.0-or-later

package lastlines

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func after(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

func text(lines [][]byte) string { return string(bytes.Join(lines, []byte("|"))) }

func TestLines(t *testing.T) {
	var r Ring
	if got := text(r.Lines(20, time.Time{}, time.Time{})); got != "" {
		t.Errorf("of nothing: %q", got)
	}
	r.Add(0, []byte("one\ntw"), after(0))
	r.Add(1, []byte("err 1\nerr"), after(1))
	r.Add(0, []byte("o\nthree\n"), after(100))
	r.Add(1, []byte(" 2\n\nno end"), after(200))
	for _, test := range []struct {
		most     int
		from, to time.Time
		want     string
	}{
		{20, time.Time{}, time.Time{}, "one|err 1|two|three|err 2||no end"},
		{2, time.Time{}, time.Time{}, "|no end"},
		{20, time.Time{}, after(100), "one|err 1|tw|err"},
		{20, after(200), time.Time{}, "|no end"},
	} {
		if got := text(r.Lines(test.most, test.from, test.to)); got != test.want {
			t.Errorf("%d from %v to %v: %q, want %q", test.most, test.from, test.to, got, test.want)
		}
	}
}

// What was overwritten takes the rest of its line along, and no other.
func TestOverwritten(t *testing.T) {
	for _, piece := range []int{1, 7, 100, 5000, ringBytes, 3 * ringBytes} {
		var r Ring
		var all bytes.Buffer
		for i := 0; all.Len() < 5*ringBytes; i++ {
			fmt.Fprintf(&all, "line %d %s\n", i, strings.Repeat("x", i%90))
		}
		lines := strings.Split(strings.TrimSuffix(all.String(), "\n"), "\n")
		for data := all.Bytes(); len(data) > 0; data = data[min(piece, len(data)):] {
			r.Add(0, data[:min(piece, len(data))], noon)
		}
		got := r.Lines(1<<20, time.Time{}, time.Time{})
		if len(got) < 100 {
			t.Fatalf("pieces of %d: %d lines", piece, len(got))
		}
		if want := strings.Join(lines[len(lines)-len(got):], "|"); text(got) != want {
			t.Errorf("pieces of %d: %.200q, want %.200q", piece, text(got), want)
		}
	}
	var r Ring
	r.Add(0, bytes.Repeat([]byte("x"), 2*ringBytes), noon)
	r.Add(1, []byte("short\n"), noon)
	if got := text(r.Lines(20, time.Time{}, time.Time{})); got != "short" {
		t.Errorf("half of a line is told: %.100q", got)
	}
}

// However the streams are cut and interleaved, the newest whole lines of each are what was written.
func TestInterleaved(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var r Ring
		var written [streams]bytes.Buffer
		for i := range 600 {
			stream := uint8(random.IntN(2))
			data := []byte(strings.Repeat("abc\n", random.IntN(3)) + fmt.Sprintf("%d.%d ", stream, i) + strings.Repeat("\n", random.IntN(2)))
			written[stream].Write(data)
			r.Add(stream, data, after(i*random.IntN(40)))
		}
		var back [streams][]string
		lines := r.Lines(1<<20, time.Time{}, time.Time{})
		for _, line := range lines {
			if i := bytes.IndexByte(line, '.'); i > 0 {
				back[line[i-1]-'0'] = append(back[line[i-1]-'0'], string(line))
			}
		}
		for stream, got := range back {
			var want []string
			for line := range strings.SplitSeq(written[stream].String(), "\n") {
				if strings.Contains(line, ".") {
					want = append(want, line)
				}
			}
			if len(want) > 0 && (len(got) < 30 || strings.Join(got, "|") != strings.Join(want[len(want)-len(got):], "|")) {
				t.Fatalf("stream %d: %d lines %.300q, want the last of %d", stream, len(got), got, len(want))
			}
		}
	}
}

// What is added costs no memory of its own.
func TestAddAllocatesNothing(t *testing.T) {
	var r Ring
	data := []byte(strings.Repeat("a line\n", 100))
	r.Add(0, data, noon)
	if n := testing.AllocsPerRun(1000, func() { r.Add(1, data, noon); r.Add(0, data, noon) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdd(b *testing.B) {
	var r Ring
	data := bytes.Repeat([]byte("192.0.2.1 - - [21/Nov/2026:15:58:58 +0000] GET / HTTP/1.1 200 457\n"), 970)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r.Add(0, data, noon)
	}
}
