// SPDX-License-Identifier: AGPL-3.0-or-later

package mask

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cloud4.internal/hub/internal/initctl"
)

// lookEvery is how often the files of secrets are looked at while something is read, openWait how long Open waits for the
// first look. Looking is done beside the reading: where a file's server is away it takes for ever.
const (
	lookEvery = time.Second
	openWait  = 2 * time.Second
)

// maxPast is how many values that are secrets no more stay hidden.
const maxPast = 256

// Sources says where values come from.
type Sources struct {
	Environ []string         // of the container, KEY=VALUE
	Dir     string           // of secrets' files
	Host    string           // its name
	Handed  *initctl.Secrets // by confighub; nil: none
	Shapes  Shapes           // what is hidden besides
	// Tell is called with what is not hidden, when that was not told before, by whichever goroutine finds out.
	Tell func([]Left)
}

// Live is the Matcher of this moment. Sources share it; it may be changed while they use it. nil hides nothing.
type Live struct {
	matcher atomic.Pointer[Matcher]
	found   atomic.Pointer[Found]
	from    *Sources // nil: nothing changes
	shapes  Shapes

	generation atomic.Uint64 // of what was handed over, as the matcher has it
	nextLook   atomic.Int64  // at the files, since started in ns
	started    time.Time

	named map[string]string // files by the variables that name them; of the goroutine that looks
	stamp string            // of the files, as they were read last; likewise

	mu    sync.Mutex
	paths map[string]string // as named, for all
	files []file            // as they were read
	again bool              // what was handed over could not be read
	past  []Value           // that left, the oldest first
	had   []Value           // in the matcher, without past
	told  []Left
}

// NewLive hides the given values, under no name.
func NewLive(texts []string) *Live {
	l := new(Live)
	var values []Value
	for _, text := range texts {
		values = append(values, Value{Text: text})
	}
	l.matcher.Store(New(values))
	l.found.Store(&Found{})
	return l
}

// Open hides what there is now and, by Refresh, what comes.
func Open(from Sources) *Live {
	l := &Live{from: &from, shapes: from.Shapes, started: time.Now()}
	l.nextLook.Store(looking)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		l.look()
	}()
	select {
	case <-looked:
	case <-time.After(openWait):
		l.mu.Lock()
		defer l.mu.Unlock()
		l.rebuild()
	}
	return l
}

// OpenShapes hides shapes and no values.
func OpenShapes(shapes Shapes) *Live {
	l := &Live{shapes: shapes}
	m, _ := build(nil, shapes)
	l.matcher.Store(m)
	l.found.Store(&Found{Patterns: shapes.Names()})
	return l
}

// Mask is Matcher.Mask with what is to be hidden now.
func (l *Live) Mask(line []byte, s *Scratch) []byte {
	if l == nil {
		return line
	}
	return l.matcher.Load().Mask(line, s)
}

// MaskPiece is Matcher.MaskPiece with what is to be hidden now.
func (l *Live) MaskPiece(piece []byte, s *Scratch, number int, open bool) []byte {
	if l == nil {
		return piece
	}
	return l.matcher.Load().MaskPiece(piece, s, number, open)
}

// Found says what is hidden now.
func (l *Live) Found() Found {
	if l == nil {
		return Found{}
	}
	return *l.found.Load()
}

// Refresh looks whether there is more to hide: one small system call. Sources call it once for each piece they read,
// before its first line: confighub hands over before the service can know, so a piece cannot hold what Refresh misses.
func (l *Live) Refresh() {
	if l == nil || l.from == nil {
		return
	}
	if l.from.Handed.Generation() != l.generation.Load() {
		l.mu.Lock()
		if l.from.Handed.Generation() != l.generation.Load() {
			l.rebuild()
		}
		l.mu.Unlock()
	}
	now, next := int64(time.Since(l.started)), l.nextLook.Load()
	if now >= next && l.nextLook.CompareAndSwap(next, looking) {
		go l.look()
	}
}

// looking stands in nextLook while somebody looks.
const looking = math.MaxInt64

// look reads the files if they changed. One goroutine is at it at a time.
func (l *Live) look() {
	defer func() { l.nextLook.Store(int64(time.Since(l.started) + lookEvery)) }()
	first := l.named == nil
	if first {
		l.named = namedFiles(l.from.Environ)
	}
	files := listFiles(l.from.Dir, l.named)
	now := stamp(files)
	changed := first || now != l.stamp
	if changed {
		read(files)
		l.stamp = now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if changed {
		l.files, l.paths = files, l.named
	}
	if changed || l.again {
		l.rebuild()
	}
}

// rebuild collects all values and puts a new matcher in place.
func (l *Live) rebuild() {
	c := newCollection(l.from.Environ, l.from.Host)
	c.environment(l.from.Environ, l.paths)
	for _, f := range l.files {
		c.file(f)
	}
	handed, generation, err := l.from.Handed.Read()
	if err != nil { // what was known of it stays hidden, as past
		generation = l.from.Handed.Generation()
	}
	for _, v := range handed {
		c.take(v.Name, v.Value)
	}
	l.forget(c)
	m, room := build(slices.Concat(c.values, l.past), l.shapes)
	for _, v := range c.values[min(room, len(c.values)):] {
		c.leave(v.Name, whyRoom)
	}
	l.matcher.Store(m)
	found := c.found(min(room, len(c.values)))
	found.Patterns = l.shapes.Names()
	l.found.Store(found)
	l.had, l.again = c.values, err != nil
	l.generation.Store(generation)
	l.tell(c.left)
}

// forget keeps what left, as far as there is room.
func (l *Live) forget(c *collection) {
	now := map[string]bool{}
	for _, v := range c.values {
		now[v.Text] = true
	}
	for _, v := range l.had {
		if !now[v.Text] {
			l.past = append(l.past, v)
		}
	}
	l.past = slices.DeleteFunc(l.past, func(v Value) bool { return now[v.Text] })
	if n := len(l.past) - maxPast; n > 0 {
		l.past = slices.Delete(l.past, 0, n)
	}
}

// tell tells what was not told yet.
func (l *Live) tell(left []Left) {
	var news []Left
	for _, x := range left {
		if !slices.Contains(l.told, x) {
			news = append(news, x)
		}
	}
	l.told = append(l.told, news...)
	if len(news) > 0 && l.from.Tell != nil {
		l.from.Tell(news)
	}
}

// found names what the first values of the collection are of, and what is left out.
func (c *collection) found(hidden int) *Found {
	f := &Found{Hidden: []string{}, LeftOut: c.left}
	for _, v := range c.values[:hidden] {
		if !slices.Contains(f.Hidden, v.Name) {
			f.Hidden = append(f.Hidden, v.Name)
		}
	}
	return f
}
