// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/frame"
	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/mask"
	"cloud4.internal/hub/loghub/internal/spool"
)

// Secrets are short, and their names are long: masking makes seven bytes of one.
const (
	secret, secretName = "s3cr3t%8", "THE_PASSWORD_OF_THE_DATABASE_OF_THE_SHOP_OF_VM1_"
	other, otherName   = "0therS%9", "THE_PASSWORD_OF_THE_DATABASE_OF_THE_SHOP_OF_VM2_"
)

// secrets is text of so many bytes.
func secrets(bytes int) string { return strings.Repeat(secret+other, bytes/len(secret+other)) }

// giants are lines that are larger than what the spool takes once the secret is hidden in them, and what is not.
var giants = []string{
	secrets(frame.MaxLine),
	`{"level":"error","msg":"short","blob":"` + secrets(frame.MaxLine-80) + `"}`,
	`{"level":"error","` + secrets(frame.MaxLine-80) + `":"a key"}`,
	"panic: " + secrets(frame.MaxLine-160) + "\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1",
}

// tellsGiants checks that each of the giants came, cut, and what followed it.
func (b *bench) tellsGiants(cut bool) {
	b.t.Helper()
	var after, lost int
	for _, r := range b.all() {
		if text := r["body"].(string); strings.HasPrefix(text, "after ") {
			after++
		} else if n, _ := r[event.AttrCut].(int64); n > 1<<20 {
			lost++
		} else if cut {
			b.t.Errorf("%d bytes are missing of %d of %.50q", n, len(text), text)
		}
		for k, v := range r {
			if text, _ := v.(string); strings.Contains(text, secret) {
				b.t.Errorf("the secret stands in %s", k)
			}
		}
	}
	if after != len(giants) || cut && lost != len(giants) {
		b.t.Errorf("%d of %d lines, and %d of %d giants that were cut\n%s", after, len(giants), lost, len(giants), b.said())
	}
}

func newGiantBench(t *testing.T) *bench {
	b := newBench(t)
	b.sh.Masker = mask.Open(mask.Sources{Environ: []string{secretName + "=" + secret, otherName + "=" + other}})
	return b
}

func TestGiantsInAFile(t *testing.T) {
	b := newGiantBench(t)
	path := filepath.Join(t.TempDir(), "a.log")
	f := b.files(path)
	for _, g := range giants {
		write(t, path, g+"\nafter it\n")
		for range 2 {
			f.lookNow(false)
			for _, tl := range f.tails {
				tl.grown = tl.grown.Add(-2 * fileQuiet)
			}
		}
	}
	f.lookNow(true)
	b.tellsGiants(true)
	f.close()
}

func TestGiantsInAPipe(t *testing.T) {
	b := newGiantBench(t)
	r, w := newPipe(t)
	p := b.pipe(r)
	for _, g := range giants {
		for text := g + "\nafter it\n"; len(text) > 0; {
			n, err := w.WriteString(text[:min(len(text), 4096)])
			do(t, err)
			text = text[n:]
			do(t, p.step(b.see(p)))
		}
		p.flush(join.Over)
	}
	b.tellsGiants(true)
	if st := p.Stat(); st.Lost > 0 {
		t.Errorf("%+v", st)
	}
}

// TestGiantsBySyslog: a datagram is not so large that it would have to be cut again.
func TestGiantsBySyslog(t *testing.T) {
	b := newGiantBench(t)
	path := filepath.Join(t.TempDir(), "log")
	s, stop := b.syslog(path)
	c := dial(t, path)
	do(t, c.SetWriteBuffer(1<<20))
	for _, g := range giants {
		for _, text := range []string{g[:200<<10], "after it"} {
			_, err := c.Write([]byte("<11>" + text))
			do(t, err)
		}
	}
	stop()
	b.tellsGiants(false)
	if st := s.Stat(); st.Lost > 0 {
		t.Errorf("%+v", st)
	}
}

// TestLineAsLargeAsTheSpool: where little may wait, a line that takes most of that is read all the same, once nothing else waits.
func TestLineAsLargeAsTheSpool(t *testing.T) {
	b := newBench(t)
	sp, err := spool.Open(spool.Options{Quota: 2 << 20})
	do(t, err)
	b.sp, b.sh.Spool = sp, sp
	path := filepath.Join(t.TempDir(), "a.log")
	f := b.files(path)
	f.lookNow(false)
	want := 0
	end := time.Now().Add(patience)
	for got := 0; got < 20; {
		if want < 20 {
			write(t, path, strings.Repeat("x", 999_999)+"\n")
			want++
		}
		for _, tl := range f.tails {
			tl.grown = tl.grown.Add(-2 * fileQuiet)
		}
		f.lookNow(false)
		d, err := sp.Peek(1, 1)
		do(t, err)
		_, err = sp.Ack(d, 0, d.Len())
		do(t, err)
		if got += d.Len(); time.Now().After(end) {
			t.Fatalf("%d of 20 lines, the spool is filled to %.2f", got, sp.Fill())
		}
	}
	f.close()
}
