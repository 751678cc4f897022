// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud4.internal/hub/loghub/internal/limit"
	"github.com/klauspost/compress/gzip"
)

// numbered are the lines from…to.
func numbered(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&b, "line %d\n", n)
	}
	return b.String()
}

// wantNumbered wants each of the lines 1…n once, every one under the uid that a plain file gives it, and these others.
func (b *bench) wantNumbered(n int, others ...string) {
	b.t.Helper()
	var got []int
	var rest []string
	for _, r := range b.records() {
		if !strings.HasPrefix(r.Body, "line ") {
			rest = append(rest, r.Body)
			continue
		}
		i := number(r.Body)
		got = append(got, i)
		if at := fmt.Sprintf("@%d", len(numbered(1, i-1))); !strings.HasSuffix(r.UID, at) {
			b.t.Errorf("line %d has the uid %s, and stands %s", i, r.UID, at)
		}
	}
	slices.Sort(got)
	for i, have := range got {
		if have != i+1 {
			b.t.Fatalf("line %d stands where %d is to be; %d of %d lines\n%s", have, i+1, len(got), n, b.said())
		}
	}
	if len(got) != n {
		b.t.Errorf("%d of %d lines\n%s", len(got), n, b.said())
	}
	if !slices.Equal(rest, others) {
		b.t.Errorf("besides %q, wanted %q", rest, others)
	}
	b.uniqueUIDs()
}

// gzipped compresses a file as logrotate does, with the program.
func gzipped(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("gzip", path).CombinedOutput(); err != nil {
		t.Fatalf("gzip: %v: %s", err, out)
	}
}

func pack(t *testing.T, path, text string) {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(text))
	do(t, err)
	do(t, w.Close())
	do(t, os.WriteFile(path, b.Bytes(), 0o600))
}

// readLines has loghub read the first lines of a file and end.
func readLines(t *testing.T, n int) (b *bench, path string) {
	t.Helper()
	b = newBench(t)
	path = filepath.Join(t.TempDir(), "app.log")
	write(t, path, numbered(1, n))
	f := b.files(path)
	f.lookNow(false)
	f.close()
	b.reopen()
	return b, path
}

// TestLeftover: what a file held when it was compressed before it was read to its end is read from there, under the uids it would
// have had, and never twice.
func TestLeftover(t *testing.T) {
	for name, rotate := range map[string]func(t *testing.T, path string){
		"create": func(t *testing.T, path string) { do(t, os.Rename(path, path+".1")); gzipped(t, path+".1") },
		"dated": func(t *testing.T, path string) {
			do(t, os.Rename(path, path+"-20261121"))
			gzipped(t, path+"-20261121")
		},
		"in the name": func(t *testing.T, path string) {
			to := strings.TrimSuffix(path, ".log") + ".1.log"
			do(t, os.Rename(path, to))
			gzipped(t, to)
		},
		"copytruncate": func(t *testing.T, path string) {
			text, err := os.ReadFile(path)
			do(t, err)
			write(t, path+".1", string(text))
			gzipped(t, path+".1")
			do(t, os.Truncate(path, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, path := readLines(t, 500)
			write(t, path, numbered(501, 1000))
			pack(t, path+".7.gz", "line 1\nof another generation\n")
			pack(t, path+".8.gz", numbered(1, 400)+"other\n") // the same beginning
			rotate(t, path)
			write(t, path, "new\n")
			f := b.files(path + "*")
			f.lookNow(false)
			b.wantNumbered(1000, "new")
			f.lookNow(false)
			f.close()
			b.reopen()
			f = b.files(path + "*")
			f.lookNow(false)
			b.wantNumbered(1000, "new")
			if n := len(b.sp.Restored()); n > 1 {
				t.Errorf("%d sources are remembered", n)
			}
			if strings.Contains(b.said(), "gone") {
				t.Error(b.said())
			}
			f.close()
		})
	}
}

// TestLeftoverAllRead: a file that was read to its end and compressed is no loss, and nothing of it comes twice.
func TestLeftoverAllRead(t *testing.T) {
	b, path := readLines(t, 500)
	do(t, os.Rename(path, path+".1"))
	gzipped(t, path+".1")
	f := b.files(path)
	f.lookNow(false)
	b.wantNumbered(500)
	if len(f.away) > 0 || len(f.leftovers) > 0 || len(b.sp.Restored()) > 0 {
		t.Error("it is still waited for")
	}
}

// TestLeftoverKilled: it is read on wherever a kill stopped it, in a line as well, with the limit there is.
func TestLeftoverKilled(t *testing.T) {
	b, path := readLines(t, 500)
	lines := 500
	var text strings.Builder
	for text.Len() < 3*unpackTurn { // several turns
		lines++
		fmt.Fprintf(&text, "line %d\n%s\n", lines, strings.Repeat("y", 1000))
	}
	long := "begun" + strings.Repeat("x", 3<<20) + "\n" // in pieces
	write(t, path, text.String()+long+"last")
	do(t, os.Rename(path, path+".1"))
	gzipped(t, path+".1")
	turns := 0
	for done := false; !done; turns++ {
		if turns == 100 {
			t.Fatalf("it never ends\n%s", b.said())
		}
		f := b.files(path)
		f.globbed = time.Time{}
		for range 2 + 2*turns { // what was read is passed over first
			if done = !f.round(t.Context(), false); done {
				break
			}
		}
		f.close()
		b.reopen()
	}
	if turns < 2 {
		t.Error("it was never stopped")
	}
	var got, others int
	for _, r := range b.records() {
		if strings.HasPrefix(r.Body, "yyy") {
			continue
		}
		if strings.HasPrefix(r.Body, "line ") {
			if got++; number(r.Body) != got {
				t.Fatalf("%s stands where line %d is to be", r.Body, got)
			}
			continue
		}
		others++
	}
	if bodies := b.bodies(); got != lines || others < 4 || bodies[len(bodies)-1] != "last" {
		t.Errorf("%d of %d lines, %d others\n%s", got, lines, others, b.said())
	}
	b.uniqueUIDs()
}

// TestLeftoverWhileRunning: copytruncate and compression at once, between two looks.
func TestLeftoverWhileRunning(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "app.log")
	f := b.files(path)
	write(t, path, numbered(1, 500))
	f.lookNow(false)
	write(t, path, numbered(501, 1000)) // which nobody has seen
	text, err := os.ReadFile(path)
	do(t, err)
	write(t, path+".1", string(text))
	do(t, os.Truncate(path, 0))
	gzipped(t, path+".1")
	write(t, path, "new\n")
	f.lookNow(false)
	b.wantNumbered(1000, "new")
	if st := f.Stats(); len(st) != 1 || st[0].Lost+st[0].LostBytes != 0 || st[0].Records != 1001 || st[0].Position != int64(len("new\n")) {
		t.Errorf("%+v", st)
	}
}

// TestLeftoverIsNot: what no compressed file is proved to hold is left alone, and told as lost where somebody knows of it.
func TestLeftoverIsNot(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "app.log")
	f := b.files(path)
	write(t, path, numbered(1, 500))
	f.lookNow(false)
	write(t, path, numbered(501, 510))
	do(t, f.hot[0].look(time.Now()))
	pack(t, path+".1.gz", numbered(1, 499)+"else 500\nand more\n") // known by its beginning, and not at the place
	pack(t, path+".2.gz", "something else\n")
	do(t, os.WriteFile(path+".3.gz", []byte("no gzip"), 0o600))
	do(t, os.Truncate(path, 0))
	f.lookNow(false)
	b.wantNumbered(500, fmt.Sprintf("lost %d bytes of %s: gone before it was read", len(numbered(501, 510)), path))

	b, path = readLines(t, 500)
	do(t, os.Remove(path))
	pack(t, path+".1.gz", numbered(1, 499)+"else 500\nand more\n")
	f = b.files(path)
	f.lookNow(false)
	b.wantNumbered(500)
	if !strings.Contains(b.said(), "log file is gone") {
		t.Errorf("nobody said that it is gone:\n%s", b.said())
	}
}

// TestLeftoverBanner: of a few bytes nobody knows which generation of a log they began.
func TestLeftoverBanner(t *testing.T) {
	b, path := readLines(t, 3)
	pack(t, path+".2.gz", numbered(1, 3)+"of an earlier generation\n")
	do(t, os.Remove(path))
	f := b.files(path)
	f.lookNow(false)
	b.wantNumbered(3)
}

// TestLeftoverBad: a bomb, and a file that is cut, cost what is behind the place where that shows, and a loss says so, once.
func TestLeftoverBad(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(gz []byte) []byte
		more  string
		lines int
		says  string
	}{
		"bomb":     {nil, strings.Repeat("\x00", 128<<20), 1000, "holds more than a log would"},
		"cut":      {func(gz []byte) []byte { return gz[:len(gz)-4] }, "", 1000, "is damaged"},
		"checksum": {func(gz []byte) []byte { gz[len(gz)-8] ^= 1; return gz }, "", 1000, "is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			b, path := readLines(t, 500)
			do(t, os.Remove(path))
			gz := path + ".1.gz"
			pack(t, gz, numbered(1, 1000)+tt.more)
			if tt.spoil != nil {
				data, err := os.ReadFile(gz)
				do(t, err)
				do(t, os.WriteFile(gz, tt.spoil(data), 0o600))
			}
			began := time.Now()
			f := b.files(path)
			f.lookNow(false)
			f.close()
			b.reopen()
			f = b.files(path)
			f.lookNow(false)
			b.wantNumbered(tt.lines, "lost nobody knows how many bytes of "+path+": in a compressed file that "+tt.says)
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestLeftoverLimit: a limit holds there too, and what was suppressed before is told.
func TestLeftoverLimit(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "app.log")
	files := func() *Files {
		f := b.files(path)
		f.sets[0].Limit = limit.Rate{Lines: 2, Window: time.Hour}
		return f
	}
	write(t, path, numbered(1, 12))
	f := files()
	f.lookNow(false)
	f.close()
	b.reopen()
	write(t, path, numbered(13, 16))
	do(t, os.Rename(path, path+".1"))
	gzipped(t, path+".1")
	f = files()
	f.lookNow(false)
	b.want("line 1", "line 2", "line 13", "line 14", "suppressed 10 records of "+path+": more than 2 alike in 1h0m0s, before loghub was started again",
		"suppressed 2 records of "+path+": more than 2 alike in 1h0m0s, such as: line 15")
}

// TestLogrotateWhileAway: logrotate itself compresses while loghub is down.
func TestLogrotateWhileAway(t *testing.T) {
	program := logrotate(t)
	for _, how := range []string{"create\ncompress", "create\ncompress\ndateext\ndateformat -%s", "copytruncate\ncompress", "create\ncompress\nextension .log", "compress\nnocreate"} {
		t.Run(strings.ReplaceAll(how, "\n", ", "), func(t *testing.T) {
			b, path := readLines(t, 500)
			dir := filepath.Dir(path)
			do(t, os.Chmod(dir, 0o755))
			config := filepath.Join(dir, "conf")
			write(t, config, fmt.Sprintf("%q {\nrotate 5\nsize 1\n%s\n}\n", path, how))
			write(t, path, numbered(501, 900))
			turn := func() {
				t.Helper()
				if out, err := exec.Command(program, "--force", "--state", filepath.Join(dir, "state"), config).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			turn()
			if plain, _ := filepath.Glob(filepath.Join(dir, "app*")); !slices.ContainsFunc(plain, func(p string) bool { return strings.HasSuffix(p, ".gz") }) {
				t.Fatalf("logrotate left %q", plain)
			}
			write(t, path, "new\n")
			f := b.files(path)
			f.lookNow(false)
			b.wantNumbered(900, "new")
			f.close()
		})
	}
}
