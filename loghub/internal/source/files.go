// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloud4.internal/hub/loghub/internal/join"
	"cloud4.internal/hub/loghub/internal/limit"
	"cloud4.internal/hub/loghub/internal/parse"
	"github.com/bmatcuk/doublestar/v4"
)

// Timings and bounds of files.
const (
	pollEvery    = 250 * time.Millisecond
	fileQuiet    = time.Second            // after which a line without an end is taken as it stands
	coldAfter    = time.Minute            // without a change a file is looked at in turns
	coldTurns    = 8                      // rounds in which every cold file is looked at once
	fewCold      = 256                    // so many are looked at in every round all the same
	deletedQuiet = 5 * time.Second        // after which a deleted file is let go
	renamedQuiet = 60 * time.Second       // after which a renamed file is let go
	awayWait     = 60 * time.Second       // for a known file to come back after the start, such as by a late mount
	stopFiles    = 300 * time.Millisecond // for reading on when it is to stop
	maxFiles     = 10_000
	maxVacant    = 1024
	turnBytes    = 1 << 20   // of one file before the next has its turn
	readBytes    = 128 << 10 // at once; more for longer lines, up to a record and a line of the longest
)

// FileSet is one entry of the setting log.files.
type FileSet struct {
	Name    string // the entry's key
	Pattern string // absolute path with doublestar's wildcards
	Exclude []string
	Parse   parse.Options
	Apart   bool       // each line is a record: traces are not joined
	Limit   limit.Rate // lines alike that are kept of a file; the zero Rate: all
}

// Files follows the files of all sets. Run is its only goroutine.
type Files struct {
	sh    *Shared
	sets  []FileSet
	tails map[fileID]*tail
	hot   []*tail           // looked at in every round
	cold  []*tail           // unchanged for long, looked at in turns
	turn  int               // where the next turn begins
	paths map[string]fileID // path → what stands there, of matching paths
	known map[string]bool   // what was said already
	buf   []byte
	join  join.Joiner
	watch *watch // tells of changes of cold files sooner; nil: it is not needed, or cannot be had
	open  int    // descriptors
	limit int    // of descriptors

	ahead  scouts
	losses losses
	asked  time.Time                                    // when release last looked
	space  func(*os.File) (free, size int64, err error) // see space

	vacant map[string]vacancy // paths from which a file went, and no other came so far

	globbed   time.Time     // last look for files that match
	globbing  time.Duration // how long it took
	dirs      dirs
	checked   time.Time     // last look at the directories
	checking  time.Duration // how long that took
	partial   bool          // not every file that matches was opened
	began     time.Time     // first look
	first     bool          // it is under way
	stop      time.Time     // until when files are read on at the end
	turned    int           // of hot had their turn in the round before, which was too long for the others
	leftovers []*leftover   // of files that were compressed
	away      []*known      // files that an earlier life read and nobody found yet

	probe  atomic.Pointer[FileSet] // what is to be watched besides
	probed *FileSet                // what is, or nil

	mu      sync.Mutex // of what follows
	figures figures
	skipped skips
}

// vacancy is a path between a rename and the next file of that name.
type vacancy struct {
	set   string
	since time.Time
}

// fileID is what a file is, whatever its name.
type fileID struct{ dev, ino uint64 }

func (id fileID) String() string { return fmt.Sprintf("%x-%x", id.dev, id.ino) }

// OpenFiles checks the patterns.
func OpenFiles(sh *Shared, sets []FileSet) (*Files, error) {
	for _, s := range sets {
		for _, p := range append([]string{s.Pattern}, s.Exclude...) {
			if !doublestar.ValidatePathPattern(p) {
				return nil, fmt.Errorf("log.files.%s: %q is no pattern", s.Name, p)
			}
		}
	}
	return &Files{
		sh: sh, sets: sets, tails: make(map[fileID]*tail), paths: make(map[string]fileID), dirs: make(dirs),
		known: make(map[string]bool), vacant: make(map[string]vacancy), buf: make([]byte, readBytes),
		limit: descriptors(), ahead: scouts{piece: scoutBytes}, losses: losses{sh: sh}, space: space,
	}, nil
}

// parse says how the lines of a set are read. Of a set that is no more, a file is still read to its end.
func (f *Files) parse(set string) parse.Options {
	for _, s := range f.sets {
		if s.Name == set {
			return s.Parse
		}
	}
	return parse.Options{}
}

// apart says whether the lines of a set stay apart.
func (f *Files) apart(set string) bool {
	return slices.ContainsFunc(f.sets, func(s FileSet) bool { return s.Name == set && s.Apart })
}

// Run follows the files until ctx is done, then reads them to their ends once more.
func (f *Files) Run(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		for f.round(ctx, false) && ctx.Err() == nil {
		}
		select {
		case <-ctx.Done():
			if f.globbed = time.Now(); f.globbing < stopFiles {
				f.globbed = time.Time{} // once more: what came last has last words in it
			}
			for f.stop = time.Now().Add(stopFiles); f.round(ctx, true) && time.Now().Before(f.stop); { // the rest stays where it is
			}
			for _, t := range f.orphans() {
				f.abandon(t)
			}
			f.close()
			return nil
		case <-tick.C:
		}
	}
}

func (f *Files) close() {
	for _, t := range f.tails {
		t.close()
	}
	for _, l := range f.leftovers {
		if l.from != nil {
			l.from.close()
		}
	}
	f.watch.close()
}

// round looks at what is due. It says whether some file has more to read.
func (f *Files) round(ctx context.Context, last bool) (more bool) {
	now := time.Now()
	f.takeProbe()
	f.rouse(now, last)
	if f.due(now) {
		f.expand()
	}
	f.rotations()
	full := f.sh.Spool != nil && f.sh.Spool.Fill() >= FilesStop
	for _, t := range slices.Clone(f.hot) { // all of them before the first is read: one may be the copy of another
		f.trouble(t, t.look(now))
	}
	f.losses.tell()
	more = f.turns(ctx, now, full, last)
	if !full {
		more = f.readLeft() || more
	}
	if full || !more || now.Sub(f.ahead.at) >= pollEvery {
		f.scoutAhead(now)
	}
	f.release(now)
	f.cool(now)
	if full {
		f.say("full", func() {
			f.sh.Log.Warn().Msg("log files are not read further: the spool is nearly full; they go on when it is sent")
		})
	} else {
		delete(f.known, "full")
	}
	return more && !full
}

// trouble says once what is wrong with a file.
func (f *Files) trouble(t *tail, err error) {
	if err != nil {
		f.say(t.path+err.Error(), func() { f.sh.Log.Warn().Err(err).Str("path", t.path).Msg("reading a log file") })
	}
}

// rouse finds the cold files that changed. Where there are few of them each is looked at, else those that the kernel
// names and some in turn.
func (f *Files) rouse(now time.Time, last bool) {
	n := len(f.cold)
	if n > fewCold && !last {
		n = (n + coldTurns - 1) / coldTurns
		for _, path := range f.watch.changed() {
			if t := f.tails[f.paths[path]]; t != nil && t.cold {
				f.warm(t)
			}
		}
	}
	var warm []*tail
	for range n {
		if f.turn >= len(f.cold) {
			f.turn = 0
		}
		if t := f.cold[f.turn]; t.changed(now) {
			warm = append(warm, t)
		}
		f.turn++
	}
	for _, t := range warm {
		f.warm(t)
	}
}

// warm has a cold file looked at in every round.
func (f *Files) warm(t *tail) {
	i := slices.Index(f.cold, t)
	if i < 0 {
		return
	}
	f.cold = slices.Delete(f.cold, i, i+1)
	t.cold = false
	f.hot = append(f.hot, t)
}

// cool takes the files that nothing is expected of from the list of those that are looked at in every round.
func (f *Files) cool(now time.Time) {
	f.hot = slices.DeleteFunc(f.hot, func(t *tail) bool {
		if f.tails[t.id] != t {
			return true
		}
		if now.Sub(t.grown) < coldAfter || !t.settled() {
			return false
		}
		t.cold = true
		t.rest()
		f.cold = append(f.cold, t)
		if len(f.cold) > fewCold {
			f.watch = f.watch.add(f, t)
		}
		return true
	})
}

// point notes that path leads to the file id, which is followed.
func (f *Files) point(path string, t *tail) {
	f.unpoint(path)
	f.paths[path] = t.id
	t.names = append(t.names, path)
}

// unpoint notes that path leads to no file that is followed.
func (f *Files) unpoint(path string) {
	id, ok := f.paths[path]
	if !ok {
		return
	}
	delete(f.paths, path)
	if t := f.tails[id]; t != nil {
		t.names = slices.DeleteFunc(t.names, func(n string) bool { return n == path })
		t.left = time.Now()
		f.warm(t) // it was renamed or deleted
	}
}

// follow adds a file to those that are followed.
func (f *Files) follow(t *tail) {
	f.tails[t.id] = t
	f.hot = append(f.hot, t)
	if t.set == ProbeSet {
		return
	}
	f.mu.Lock()
	f.figures.add(t)
	f.mu.Unlock()
}

func (f *Files) forgetTail(t *tail) {
	t.forget()
	delete(f.tails, t.id)
	f.mu.Lock()
	f.figures.remove(t)
	f.mu.Unlock()
}

// say runs log once per key.
func (f *Files) say(key string, log func()) {
	if f.known[key] {
		return
	}
	if len(f.known) > 2*maxFiles {
		clear(f.known)
	}
	f.known[key] = true
	log()
}

// rotations looks at the known paths for new files under an old name. Where none came so far it goes on looking: by
// the time that globs are expanded again, a file may have come there and been renamed too.
func (f *Files) rotations() {
	for _, t := range slices.Clone(f.hot) {
		for _, path := range slices.Clone(t.names) {
			if now, ok := idAt(path); ok && now == t.id {
				continue
			}
			f.unpoint(path)
			if len(f.vacant) < maxVacant {
				f.vacant[path] = vacancy{t.set, time.Now()}
			}
		}
	}
	for path, v := range f.vacant {
		if _, ok := idAt(path); !ok {
			if time.Since(v.since) >= renamedQuiet {
				delete(f.vacant, path)
			}
			continue
		}
		delete(f.vacant, path)
		if len(f.tails) >= maxFiles && f.tooMany(path) {
			continue
		}
		if f.crowded(0) {
			f.makeRoom()
		}
		if c := f.look(path, v.set); c != nil {
			f.take([]*candidate{c})
		}
	}
}
