// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// maxLine bounds a line of a file; longer ones are counted as none of ours.
const maxLine = 64 << 20

// maxShown is how many missing stretches of a source are told one by one.
const maxShown = 16

// Gaps finds what is missing in the files of a receiver. The records of pipes and sockets have
// uids "<epoch>.<number>" without holes: a number that is not there was lost, and either a loss record says so (its count covers
// numbers that were shed) or nobody knows. Records of files have offsets, and what tells of the service's end has a time, of
// which nothing can be told.
type Gaps struct {
	by      map[gapKey]*track
	Files   int // read
	Foreign int // lines without such a uid, those of files among them
}

type gapKey struct{ peer, instance, source string }

// track is what is known of one source in one epoch.
type track struct {
	of         string    // stdout, stderr, hubs or a socket; "": not said
	seen       []stretch // apart, in order
	records    int64
	duplicates int64
	told       int64
}

// stretch is from number to number, both included.
type stretch struct{ from, to uint64 }

// Gap is what there is of one source of one sender, in one epoch: from one start of the service to the next.
type Gap struct {
	Peer       string   `json:"peer"`
	Instance   string   `json:"instance"`
	Source     string   `json:"source"`       // what the uids begin with
	Of         string   `json:"of,omitempty"` // stdout, stderr, hubs, or the path of a socket
	From       uint64   `json:"from"`         // first number there is; more than 1: earlier ones are in files that are gone, or lost
	To         uint64   `json:"to"`
	Records    int64    `json:"records"`
	Duplicates int64    `json:"duplicates"`
	Complete   uint64   `json:"complete"`          // from From up to this number nothing is missing
	Missing    int64    `json:"missing"`           // numbers between From and To
	Told       int64    `json:"told"`              // of them by loss records
	Stretches  []string `json:"missing_stretches"` // "7" or "7-9", the first of them
}

// Unexplained is how many numbers are missing in all of them that no record tells of.
func Unexplained(all []Gap) (n int64) {
	for _, g := range all {
		n = sum(n, g.Unexplained())
	}
	return n
}

// Unexplained is how many numbers are missing that no record tells of.
func (g Gap) Unexplained() int64 { return max(g.Missing-g.Told, 0) }

// Read adds the files of a receiver's directory, or one file, packed or not.
func (g *Gaps) Read(path string) error {
	paths := []string{path}
	if info, err := os.Stat(path); err != nil {
		return err
	} else if info.IsDir() {
		if paths, err = filepath.Glob(filepath.Join(path, "*"+suffix+"*")); err != nil {
			return err
		}
	}
	for _, p := range paths {
		if strings.HasSuffix(p, unfinished) {
			continue
		}
		if err := g.file(p); err != nil {
			return fmt.Errorf("reading %s: %w", p, err)
		}
		g.Files++
	}
	return nil
}

func (g *Gaps) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := io.Reader(f)
	if strings.HasSuffix(path, packed) {
		if in, err = gzip.NewReader(f); err != nil {
			return err
		}
	}
	return g.lines(in)
}

func (g *Gaps) lines(in io.Reader) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line) <= maxLine {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(line) > maxLine {
			g.Foreign++
		} else if len(line) > 0 {
			g.line(line)
		}
		line = line[:0]
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// line adds a record.
func (g *Gaps) line(line []byte) {
	var rec map[string]json.RawMessage // see seed
	if json.Unmarshal(line, &rec) != nil {
		g.Foreign++
		return
	}
	name, uid := unquoted(rec["event_name"]), unquoted(rec["log.record.uid"])
	uid, refused := strings.CutSuffix(uid, ".refused")
	source, digits, ok := cutLast(uid, '.')
	number, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || strings.Contains(source, "@") || name == "hub.postmortem" { // whose number is a time
		g.Foreign++
		return
	}
	t := g.track(gapKey{unquoted(rec["cloud4.peer"]), unquoted(rec["service.instance.id"]), source})
	var lost int64
	if name == "hub.loss" {
		_ = json.Unmarshal(rec["hub.loss.count"], &lost) // 0: only bytes are known
	}
	t.of = cmp.Or(t.of, unquoted(rec["log.iostream"]), unquoted(rec["hub.pipe"]), unquoted(rec["hub.socket"]))
	t.add(number, refused, lost)
}

func cutLast(s string, sep byte) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func (g *Gaps) track(k gapKey) *track {
	if g.by == nil {
		g.by = make(map[gapKey]*track)
	}
	t := g.by[k]
	if t == nil {
		t = &track{}
		g.by[k] = t
	}
	return t
}

// add notes a number and what its record says is lost. A refused one is not there itself.
func (t *track) add(number uint64, refused bool, lost int64) {
	if refused {
		t.told++
		return
	}
	t.records++
	if !t.mark(number) {
		t.duplicates++
		return
	}
	t.told = sum(t.told, max(lost, 0))
}

// sum adds two counts, neither below 0. Numbers are what a peer says they are: no sum of them may turn round.
func sum(a, b int64) int64 { return a + min(b, math.MaxInt64-a) }

// mark adds a number to what was seen, and says whether it is new.
func (t *track) mark(n uint64) bool {
	// The first stretch that n could lengthen or stand in.
	i, _ := slices.BinarySearchFunc(t.seen, n, func(s stretch, n uint64) int {
		if s.to < n-min(n, 1) {
			return -1
		}
		return 1
	})
	switch {
	case i == len(t.seen) || t.seen[i].from > n && t.seen[i].from-n > 1:
		t.seen = slices.Insert(t.seen, i, stretch{n, n})
	case t.seen[i].from <= n && n <= t.seen[i].to:
		return false
	case n < t.seen[i].from:
		t.seen[i].from = n
	default:
		t.seen[i].to = n
		if i+1 < len(t.seen) && t.seen[i+1].from == n+1 {
			t.seen[i].to = t.seen[i+1].to
			t.seen = slices.Delete(t.seen, i+1, i+2)
		}
	}
	return true
}

// All returns what was found, in the order of peer, instance and source.
func (g *Gaps) All() []Gap {
	var out []Gap
	for k, t := range g.by {
		if len(t.seen) > 0 {
			out = append(out, t.gap(k))
		}
	}
	slices.SortFunc(out, func(a, b Gap) int {
		return cmp.Or(strings.Compare(a.Peer, b.Peer), strings.Compare(a.Instance, b.Instance), strings.Compare(a.Source, b.Source))
	})
	return out
}

func (t *track) gap(k gapKey) Gap {
	last := t.seen[len(t.seen)-1]
	g := Gap{
		Peer: k.peer, Instance: k.instance, Source: k.source, Of: t.of, From: t.seen[0].from, To: last.to, Complete: t.seen[0].to,
		Records: t.records, Duplicates: t.duplicates, Told: t.told, Stretches: []string{},
	}
	for i := range len(t.seen) - 1 {
		from, to := t.seen[i].to+1, t.seen[i+1].from-1
		g.Missing = sum(g.Missing, int64(min(to-from+1, math.MaxInt64)))
		if len(g.Stretches) == maxShown {
			continue
		}
		words := strconv.FormatUint(from, 10)
		if to > from {
			words += "-" + strconv.FormatUint(to, 10)
		}
		g.Stretches = append(g.Stretches, words)
	}
	return g
}
