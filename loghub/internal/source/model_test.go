// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// world is a service that writes numbered lines to a log file while things happen to it, and what must become of them.
type world struct {
	b       *bench
	rnd     *rand.Rand
	dir     string
	path    string
	pattern string
	f       *Files

	w       *os.File // the service's own, opened with or without O_APPEND
	appends bool
	n       int          // lines written
	hidden  bool         // and renamed then
	cut     bool         // the file was truncated since the last look
	unsure  map[int]bool // lines that may be lost, by the documented exceptions
	history []string
}

func (w *world) did(format string, args ...any) {
	w.history = append(w.history, fmt.Sprintf(format, args...))
}

// reopen is what a service does after a rotation.
func (w *world) reopen() {
	if w.w != nil {
		do(w.b.t, w.w.Close())
	}
	flags := os.O_WRONLY | os.O_CREATE
	if w.appends = w.rnd.IntN(2) == 0; w.appends {
		flags |= os.O_APPEND
	}
	f, err := os.OpenFile(w.path, flags, 0o600)
	do(w.b.t, err)
	if !w.appends {
		_, err = f.Seek(0, 2)
		do(w.b.t, err)
	}
	w.w = f
	w.did("open append=%v", w.appends)
}

// line writes lines, some in two steps.
func (w *world) line() {
	for range 1 + w.rnd.IntN(30) {
		w.n++
		text := fmt.Sprintf("line %d %s\n", w.n, strings.Repeat("x", w.rnd.IntN(100)))
		if w.rnd.IntN(40) == 0 {
			text = fmt.Sprintf("line %d %s\n", w.n, strings.Repeat("y", 200_000))
		}
		_, err := w.w.WriteString(text)
		do(w.b.t, err)
	}
	w.did("write to %d", w.n)
}

// unread are the lines of a file that nobody looked at yet.
func (w *world) unread(path string) (lines []int) {
	text, err := os.ReadFile(path)
	do(w.b.t, err)
	seen := w.seen()
	for _, l := range bytes.Split(text, []byte("\n")) {
		if n := number(string(l)); n > 0 && !seen[n] {
			lines = append(lines, n)
		}
	}
	return lines
}

func (w *world) seen() map[int]bool {
	out := make(map[int]bool)
	for _, r := range w.b.records() {
		out[number(r.Body)] = true
	}
	return out
}

// number is that of a line; 0: it is none of ours.
func number(body string) int {
	rest, ok := strings.CutPrefix(strings.TrimLeft(body, "\x00"), "line ")
	if !ok {
		return 0
	}
	digits, _, _ := strings.Cut(rest, " ")
	n, _ := strconv.Atoi(digits)
	return n
}

// shift renames the rotated files further, as logrotate does; the oldest is deleted.
func (w *world) shift() {
	for i := 4; i >= 1; i-- {
		from, to := w.path+"."+strconv.Itoa(i), w.path+"."+strconv.Itoa(i+1)
		if i == 4 {
			if _, err := os.Lstat(from); err == nil {
				w.mayLose(from)
			}
			_ = os.Remove(from)
			continue
		}
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.b.t.Fatal(err)
		}
	}
}

// mayLose notes what a deletion takes away, if nobody holds the file open.
func (w *world) mayLose(path string) {
	if id, ok := idAt(path); ok && w.f.tails[id] != nil {
		return // it is read to its end all the same
	}
	w.lose(path)
}

func (w *world) lose(path string) {
	for _, n := range w.unread(path) {
		w.unsure[n] = true
	}
}

var steps = []struct {
	weight int
	name   string
	do     func(w *world)
}{
	{40, "write", (*world).line},
	{30, "look", func(w *world) { w.look(false) }},
	{5, "rename and create", func(w *world) {
		w.shift()
		followed := w.followed()
		if !followed && !w.matches() { // never seen under its name
			w.mayLose(w.path)
		}
		do(w.b.t, os.Rename(w.path, w.path+".1"))
		w.hidden = w.hidden || w.cut
		w.late(followed || w.matches())
		w.reopen()
	}},
	{5, "copytruncate", func(w *world) {
		w.shift()
		if t := w.tail(); !w.matches() && (t == nil || t.offset == 0 || w.cut) { // nothing by which a copy could be known
			w.lose(w.path)
		}
		copyFile(w.b.t, w.path, w.path+".1")
		if w.rnd.IntN(2) == 0 {
			w.look(false) // between the copy and the truncation
		}
		w.cut = true
		do(w.b.t, os.Truncate(w.path, 0))
	}},
	{2, "truncate", func(w *world) {
		w.lose(w.path)
		w.cut = true
		do(w.b.t, os.Truncate(w.path, 0))
	}},
	{2, "delete and create", func(w *world) {
		followed := w.followed()
		w.mayLose(w.path)
		do(w.b.t, os.Remove(w.path))
		w.late(followed)
		w.reopen()
	}},
	{3, "restart", func(w *world) {
		for _, t := range w.f.tails { // what is deleted cannot be found again
			var st unix.Stat_t
			if do(w.b.t, unix.Fstat(int(t.f.Fd()), &st)); st.Nlink == 0 {
				w.lose(fmt.Sprintf("/proc/self/fd/%d", t.f.Fd()))
			}
		}
		if w.hidden && !w.matches() { // nothing tells that it was the known one
			rotated, err := filepath.Glob(w.path + ".*")
			do(w.b.t, err)
			for _, path := range rotated {
				w.lose(path)
			}
		}
		w.f.close()
		w.b.reopen()
		w.f = w.b.files(w.pattern)
		w.look(false)
	}},
	{2, "time", func(w *world) {
		for _, t := range w.f.tails {
			t.grown = t.grown.Add(-2 * renamedQuiet)
			t.born = t.born.Add(-2 * copySlow)
			t.left = t.left.Add(-2 * renamedQuiet)
		}
		w.look(false)
	}},
	{2, "another file", func(w *world) {
		write(w.b.t, filepath.Join(w.dir, "other.txt"), strings.Repeat("nothing of ours\n", 100))
	}},
}

// late writes to the old file after its rename, as a service does until it opens the new one.
func (w *world) late(followed bool) {
	if w.rnd.IntN(2) == 0 {
		if w.rnd.IntN(2) == 0 {
			w.look(false)
		}
		from := w.n
		w.line()
		for n := from + 1; n <= w.n && !followed; n++ {
			w.unsure[n] = true
		}
	}
}

// tail is what follows the log file; nil: nobody does.
func (w *world) tail() *tail {
	id, _ := idAt(w.path)
	return w.f.tails[id]
}

func (w *world) followed() bool { return w.tail() != nil }

// matches says whether the pattern asks for rotated files too.
func (w *world) matches() bool { return w.pattern != w.path }

func (w *world) look(last bool) {
	w.did("look")
	w.cut, w.hidden = false, false
	w.f.lookNow(last)
}

// settle gives everything its time and checks what arrived.
func (w *world) settle() {
	for range 4 {
		for _, t := range w.f.tails {
			t.born = t.born.Add(-2 * copySlow)
			t.grown = t.grown.Add(-2 * fileQuiet)
		}
		w.look(false)
	}
	t := w.b.t
	where := map[int]string{}
	place := map[string]uint64{} // file and generation → offset of the last line
	for _, r := range w.b.records() {
		n := number(r.Body)
		if n == 0 {
			if !strings.HasPrefix(r.Body, "lost ") {
				t.Errorf("a record that nobody wrote: %.60q", r.Body)
			}
			continue
		}
		if was, twice := where[n]; twice && was != r.UID {
			t.Fatalf("line %d is %s and %s", n, was, r.UID)
		}
		where[n] = r.UID
		file, offset, _ := strings.Cut(r.UID, "@")
		at, err := strconv.ParseUint(offset, 10, 64)
		do(t, err)
		if before, ok := place[file]; ok && at <= before {
			t.Errorf("line %d: %s comes after offset %d", n, r.UID, before)
		}
		place[file] = at
	}
	missing := 0
	for n := 1; n <= w.n; n++ {
		if where[n] == "" && !w.unsure[n] {
			t.Errorf("line %d is missing", n)
			if missing++; missing > 5 {
				break
			}
		}
	}
	if len(w.unsure) > w.n/2 {
		t.Logf("%d of %d lines may be lost: this tests little", len(w.unsure), w.n)
	}
}

// TestFilesModel does things at random to a log file. Lines are missing only where a truncation or a deletion took them
// before anybody looked and no copy has them; none comes twice under two names, and the order within a file holds.
func TestFilesModel(t *testing.T) {
	rounds, seed := 60, uint64(time.Now().UnixNano())
	if os.Getenv("HUB_SOAK") != "" {
		rounds = 3000
	}
	if s := os.Getenv("MODEL_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		do(t, err)
		rounds, seed = 1, n
	}
	total := 0
	for _, st := range steps {
		total += st.weight
	}
	for i := range rounds {
		seed := seed + uint64(i)
		ok := t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			w := &world{b: newBench(t), rnd: rnd, dir: t.TempDir(), unsure: map[int]bool{}}
			w.path = filepath.Join(w.dir, "a.log")
			w.pattern = w.path + []string{"", "*"}[rnd.IntN(2)]
			w.f = w.b.files(w.pattern)
			defer func() {
				w.f.close()
				do(t, w.w.Close())
				if t.Failed() {
					t.Logf("MODEL_SEED=%d, pattern %s:\n%s\n%s", seed, w.pattern, strings.Join(w.history, "\n"), w.b.said())
				}
			}()
			w.reopen()
			w.line()
			w.look(false)
			for range 40 {
				k := rnd.IntN(total)
				i := slices.IndexFunc(steps, func(s struct {
					weight int
					name   string
					do     func(w *world)
				}) bool {
					k -= s.weight
					return k < 0
				})
				w.did("== %s", steps[i].name)
				steps[i].do(w)
			}
			w.settle()
		})
		if !ok {
			break
		}
	}
}
