// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloud4.internal/hub/internal/otlp"
	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/spool"
)

// brim is a bench whose spool has so little room that files wait, and waits is a file that is being written meanwhile.
type brim struct {
	*bench
	dir, path string
	f         *Files
	got       map[int]int // number of a line → how often it came
	lost      event.Loss  // told
	uids      map[string]bool
	n         int // lines written
}

func newBrim(t *testing.T) *brim {
	b := &brim{bench: newBench(t), dir: t.TempDir(), got: map[int]int{}, uids: map[string]bool{}}
	b.path = filepath.Join(b.dir, "a.log")
	b.small()
	b.f = b.files(b.path)
	b.f.lookNow(false)
	return b
}

// small takes a spool of 4 MiB.
func (b *brim) small() {
	b.t.Helper()
	sp, err := spool.Open(spool.Options{Dir: filepath.Join(b.dir, "spool"), Quota: 4 << 20})
	do(b.t, err)
	b.sp, b.sh.Spool = sp, sp
}

// more appends numbered lines.
func (b *brim) more(lines int) {
	b.t.Helper()
	var text strings.Builder
	for range lines {
		b.n++
		fmt.Fprintf(&text, "line %d %s\n", b.n, strings.Repeat("x", b.n%300))
	}
	write(b.t, b.path, text.String())
}

// fill writes until files wait.
func (b *brim) fill() {
	b.t.Helper()
	for b.sp.Fill() < FilesStop {
		b.more(1000)
		b.f.lookNow(false)
	}
}

// ballast leaves room for no record.
func (b *brim) ballast() {
	b.t.Helper()
	src, err := b.sp.Register("ballast", spool.State{})
	do(b.t, err)
	batch := spool.NewBatch(src)
	for size := 64 << 10; size > 0; size /= 2 {
		for err = nil; err == nil; err = b.sp.Commit(batch) {
			batch.Reset()
			batch.Record(0, 1, &otlp.Record{Body: otlp.String(strings.Repeat("x", size))})
		}
	}
	if !errors.Is(err, spool.ErrFull) {
		b.t.Fatal(err)
	}
}

// settle takes everything that waits, until nothing comes any more.
func (b *brim) settle() {
	b.t.Helper()
	for quiet := 0; quiet < 3; quiet++ {
		for _, t := range b.f.tails {
			t.grown, t.born = t.grown.Add(-2*fileQuiet), t.born.Add(-2*copySlow)
		}
		b.f.lookNow(false)
		if all := b.all(); len(all) > 0 {
			quiet = -1
			b.take(all)
		}
		d, err := b.sp.Peek(100000, 64<<20)
		do(b.t, err)
		_, err = b.sp.Ack(d, 0, d.Len())
		do(b.t, err)
	}
}

func (b *brim) take(all []map[string]any) {
	b.t.Helper()
	for _, r := range all {
		uid, _ := r["log.record.uid"].(string)
		if b.uids[uid] {
			b.t.Errorf("uid %s stands twice", uid)
		}
		if uid == "" { // ballast
			continue
		}
		b.uids[uid] = true
		if r["hub.loss.reason"] == nil {
			b.got[number(r["body"].(string))]++
			continue
		}
		rest, _ := r["hub.loss.rest"].(int64)
		count, _ := r["hub.loss.count"].(int64)
		if count == 0 {
			rest = r["hub.loss.bytes"].(int64)
		}
		b.lost.Merge(event.Loss{Count: count, Bytes: r["hub.loss.bytes"].(int64), Rest: rest})
	}
}

// counted checks that what came and what is told as lost are all the lines there were.
func (b *brim) counted(minLost int64) {
	b.t.Helper()
	b.settle()
	delivered := 0
	for n, times := range b.got {
		if delivered++; times > 1 || n == 0 {
			b.t.Errorf("line %d came %d times", n, times)
		}
	}
	if b.lost.Rest > 0 || int64(delivered)+b.lost.Count != int64(b.n) || b.lost.Count < minLost {
		b.t.Errorf("%d lines came and %d are told as lost, with %d bytes besides; %d were written\n%s",
			delivered, b.lost.Count, b.lost.Rest, b.n, b.said())
	}
}

// TestFilesLossIsCountedToTheLine: what is truncated while files wait for room is counted by line, however often it happens.
func TestFilesLossIsCountedToTheLine(t *testing.T) {
	tests := []struct {
		name    string
		minLost int64
		do      func(b *brim)
	}{
		{"partly read", 500, func(b *brim) {
			b.fill()
			b.more(500)
			b.f.lookNow(false)
			do(b.t, os.Truncate(b.path, 0))
			b.more(10)
		}},
		{"again and again", 1500, func(b *brim) {
			b.fill()
			for range 3 {
				b.more(500)
				b.f.lookNow(false)
				do(b.t, os.Truncate(b.path, 0))
				b.f.lookNow(false)
			}
			b.more(10)
		}},
		{"longer than it was", 500, func(b *brim) {
			b.fill()
			b.more(500)
			b.f.lookNow(false)
			do(b.t, os.Truncate(b.path, 0))
			for info, err := os.Stat(b.path); info.Size() < 8<<20; info, err = os.Stat(b.path) {
				do(b.t, err)
				b.more(1000)
			}
		}},
		{"never read", 700, func(b *brim) {
			b.fill()
			path := b.path
			b.path = filepath.Join(b.dir, "b.log")
			b.f.sets[0].Pattern = filepath.Join(b.dir, "[ab].log")
			b.more(300)
			b.f.lookNow(false)
			do(b.t, os.Truncate(b.path, 0))
			b.more(400)
			b.f.lookNow(false)
			do(b.t, os.Truncate(b.path, 0))
			b.path = path
			b.more(10)
		}},
		{"the last line has no end", 501, func(b *brim) {
			b.fill()
			b.more(500)
			b.n++
			write(b.t, b.path, fmt.Sprintf("line %d", b.n))
			b.f.lookNow(false)
			do(b.t, os.Truncate(b.path, 0))
		}},
		{"and loghub starts anew before it could be told", 500, func(b *brim) {
			b.fill()
			b.ballast() // not even the loss finds room
			b.more(500)
			b.f.lookNow(false)
			do(b.t, os.Truncate(b.path, 0))
			b.f.lookNow(false)
			b.f.close()
			b.small()
			b.f = b.files(b.path)
		}},
		{"there is a copy", 0, func(b *brim) {
			b.fill()
			b.more(500)
			b.f.lookNow(false)
			copyFile(b.t, b.path, b.path+".1")
			do(b.t, os.Truncate(b.path, 0))
			b.more(10)
		}},
		{"there is a copy of what was never read", 0, func(b *brim) {
			b.fill()
			b.path = filepath.Join(b.dir, "b.log")
			b.f.sets[0].Pattern = filepath.Join(b.dir, "[ab].log")
			b.more(300)
			b.f.lookNow(false)
			copyFile(b.t, b.path, b.path+".1")
			do(b.t, os.Truncate(b.path, 0))
			b.more(10)
		}},
		{"as much as is looked at in many turns", 20_000, func(b *brim) {
			b.fill()
			for range 20 {
				b.more(1000)
			}
			b.f.ahead.piece = 10_000
			for range 400 {
				b.f.lookNow(false)
			}
			do(b.t, os.Truncate(b.path, 0))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBrim(t)
			tt.do(b)
			b.counted(tt.minLost)
			b.f.close()
		})
	}
}
