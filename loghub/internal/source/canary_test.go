// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cloud4.internal/hub/loghub/internal/canary"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/parse"
)

// A canary parts no line that is under way in pieces, nor lines that may be one event, and its place holds after a kill.
func TestPipeCanary(t *testing.T) {
	for name, killed := range map[string]bool{"goes on": false, "killed behind it": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.sh.Canaries = new(canary.Watch)
			visit := canary.NewVisit("stdout")
			b.sh.Canaries.Begin(visit)
			r, w := newPipe(t)
			p := b.pipe(r)
			text := visit.Text("stdout")
			step := func(data string) {
				t.Helper()
				if _, err := w.WriteString(data); err != nil {
					t.Fatal(err)
				}
				do(t, p.step(b.see(p)))
			}
			step("whole\npanic: no\n\ngoroutine 1 [running]:\nmain.f()\n\tbeg")
			do(t, p.Canary(text))
			if !p.takeCanary() || p.takeCanary() {
				t.Error("it is taken once")
			}
			do(t, r.SetReadDeadline(time.Time{})) // as Run does
			if n := <-visit.News(); n.Stage != canary.Read || !strings.HasSuffix(n.UID, ".2") {
				t.Errorf("%+v", n)
			}
			if killed {
				watch := b.sh.Canaries
				do(t, p.drain.close())
				b.reopen()
				b.sh.Canaries = watch
				p = b.pipe(r)
			}
			step("in.go:1 +0x1\n\nafter\n")
			p.flush(0)
			b.want("whole", text, "panic: no\n\ngoroutine 1 [running]:\nmain.f()\n\tbegin.go:1 +0x1", "after")
			b.uniqueUIDs()
		})
	}
}

// A reader that waits for the service takes a canary at once, and none when the pipe has ended.
func TestPipeCanaryWakes(t *testing.T) {
	b := newBench(t)
	b.sh.Canaries = new(canary.Watch)
	visit := canary.NewVisit("stdout")
	b.sh.Canaries.Begin(visit)
	r, w := newPipe(t)
	p := b.pipe(r)
	done := make(chan error, 1)
	go func() { done <- p.Run(context.Background()) }()
	var want []string
	for range 50 { // with the wait at each of its points
		do(t, p.Canary(visit.Text("stdout")))
		want = append(want, visit.Text("stdout"))
		select {
		case <-visit.News():
		case <-time.After(patience):
			t.Fatal("nobody took it")
		}
	}
	b.wait(want...)
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := p.Canary("x"); !errors.Is(err, ErrOver) {
		t.Error(err)
	}
	if err := (&Pipe{}).Canary("x"); !errors.Is(err, ErrOnlyCopied) {
		t.Error(err)
	}
}

// A file that is watched besides is read also where nothing else is a log, over a rotation, and forgotten with its end.
func TestFilesProbe(t *testing.T) {
	for name, alone := range map[string]bool{"besides": false, "alone": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			logs := t.TempDir()
			write(t, filepath.Join(logs, "a.log"), "theirs\n")
			dir := filepath.Join(b.dir, "doctor")
			do(t, os.Mkdir(dir, 0o700))
			path := filepath.Join(dir, "probe.log")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			done := make(chan error, 1)
			want := []string{"one", "late", "new"}
			var f *Files
			if alone {
				go func() { done <- Probing(ctx, b.sh, path) }()
			} else {
				want = append([]string{"theirs"}, want...)
				f = b.files(filepath.Join(logs, "*.log"))
				f.Probe(path)
				go func() { done <- f.Run(ctx) }()
			}
			write(t, path, "one\n")
			b.wait(want[:len(want)-2]...)
			do(t, os.Rename(path, path+".1"))
			write(t, path+".1", "late\n")
			b.wait(want[:len(want)-1]...)
			write(t, path, "new\n")
			b.wait(want...)
			if f != nil {
				if stats := f.Stats(); len(stats) != 1 || stats[0].Records != 1 {
					t.Errorf("shown is %+v", stats)
				}
				f.Probe("")
				for end := time.Now().Add(patience); f.probe.Load() != nil && time.Now().Before(end); {
					time.Sleep(5 * time.Millisecond)
				}
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			b.reopen()
			for key, st := range b.sp.Restored() {
				if strings.Contains(st.Aux, "probe.log") {
					t.Errorf("the spool remembers %s: %s", key, st.Aux)
				}
			}
			if said := b.said(); said != "" {
				t.Error(said)
			}
		})
	}
}

// What a loghub that was killed had watched is dropped by the next one.
func TestForgetProbes(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(b.dir, "probe.log")
	write(t, path, "one\n")
	f := b.files(filepath.Join(b.dir, "nothing"))
	f.Probe(path)
	f.lookNow(false)
	f.lookNow(false)
	b.want("one")
	b.reopen()
	if len(b.sp.Restored()) != 1 {
		t.Fatalf("%v", b.sp.Restored())
	}
	ForgetProbes(b.sh)
	if left := b.sp.Restored(); len(left) != 0 {
		t.Errorf("left is %v", left)
	}
}

// Whatever comes between, pieces of lines, canaries, kills: each line of the service is one event, whole, and comes once.
func TestPipeCanaryAmongKills(t *testing.T) {
	for seed := range uint64(8) {
		rnd, limited := rand.New(rand.NewPCG(seed, 7)), seed%2 == 1
		b := newBench(t)
		watch := new(canary.Watch)
		visit := canary.NewVisit("stdout")
		watch.Begin(visit)
		r, w := newPipe(t)
		open := func() *Pipe {
			b.sh.Canaries = watch
			o := PipeOptions{Name: "stdout", Pipe: r, Parse: parse.Options{Loc: time.UTC}, Apart: true}
			if limited {
				o.Limit = limit.Rate{Lines: 30, Window: time.Hour}
			}
			p, err := OpenPipe(b.sh, o)
			do(t, err)
			return p
		}
		p := open()
		var text string
		var want []string
		for i := range 60 {
			line := fmt.Sprintf("line %s of %d", strings.Repeat("x", rnd.IntN(50)), i)
			want = append(want, line)
			text += line + "\n"
		}
		sent := 0
		for len(text) > 0 {
			switch rnd.IntN(4) {
			case 0:
				do(t, p.Canary(visit.Text("stdout")))
				p.takeCanary()
				do(t, r.SetReadDeadline(time.Time{}))
				sent++
			case 1:
				do(t, p.drain.close())
				b.reopen()
				p = open()
			default:
				n := min(1+rnd.IntN(80), len(text))
				if _, err := w.WriteString(text[:n]); err != nil {
					t.Fatal(err)
				}
				text = text[n:]
				if data := b.see(p); rnd.IntN(5) > 0 {
					do(t, p.step(data))
				} else { // killed between framing and taking
					p.frame(data)
					do(t, p.drain.close())
					b.reopen()
					p = open()
				}
			}
		}
		p.finish(0)
		var got []string
		canaries := 0
		for _, body := range b.bodies() {
			switch {
			case body == visit.Text("stdout"):
				canaries++
			case strings.HasPrefix(body, "line "):
				got = append(got, body)
			}
		}
		if limited && len(got) >= 30 { // of the others an event tells, see limit_test.go
			want = slices.DeleteFunc(want, func(line string) bool { return !slices.Contains(got, line) })
		}
		if diff := cmp.Diff(want, got); diff != "" || canaries != sent {
			t.Errorf("seed %d: %d of %d canaries; lines %s", seed, canaries, sent, diff)
		}
		b.uniqueUIDs()
	}
}
