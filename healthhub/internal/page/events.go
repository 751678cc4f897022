// SPDX-License-Identifier: AGPL-3.0-or-later

package page

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/healthhub/internal/record"
	"cloud4.internal/hub/internal/health"
)

const (
	heartbeat  = 15 * time.Second // a reader hears at least this often, so that either end notices that the other has gone
	writeLimit = 10 * time.Second // a reader who takes longer to take what is sent is dropped; it comes back and says where it was
	streamLife = 15 * time.Minute // then it must come anew, so that whoever may not read any more does not
	retryAfter = 2 * time.Second  // after which it does
	busyAfter  = 15 * time.Second // where there were too many

	// What is kept for readers who come back: changes, and transitions in all of them.
	maxChanges     = 256
	maxTransitions = 1024
)

// streams is how many readers of events there may be at once: a container has a few at its socket, a host people and
// dashboards, the fleet more of them.
var streams = map[string]int{health.KindContainer: 8, health.KindHost: 64, health.KindFleet: 256}

// change is what became different with a generation. Its event is encoded once, when the first reader wants it.
type change struct {
	doc   changeDoc
	once  sync.Once
	event []byte
}

type changeDoc struct {
	Generation uint64         `json:"generation"`
	At         time.Time      `json:"at"`
	State      health.State   `json:"state"`
	Score      int            `json:"score"`
	Changes    []record.Event `json:"changes"`
}

func newChange(s Snapshot, transitions []record.Event) *change {
	return &change{doc: changeDoc{Generation: s.Generation, At: s.At.UTC(), State: s.Node.State, Score: score(s.Node), Changes: transitions}}
}

func (c *change) encoded(boot string) []byte {
	c.once.Do(func() { c.event = event("change", boot, c.doc) })
	return c.event
}

// event is a message of a stream (HTML Standard, "Server-sent events"). The JSON has no line feeds but the last.
func event(name, boot string, doc changeDoc) []byte {
	return fmt.Appendf(nil, "id: %s-%d\nevent: %s\ndata: %s\n", boot, doc.Generation, name, encode(doc))
}

// events are the changes of late and those who read of them. A reader holds its place among the changes and nothing
// else, so that one who does not read costs a connection.
type events struct {
	mu       sync.Mutex // guards what follows
	changes  []*change  // oldest first
	first    uint64     // number of changes[0], counted from the first change ever
	kept     int        // transitions in changes
	dropped  uint64     // generation of the newest change that is not kept any more
	told     uint64     // generation of the newest change
	wake     chan struct{}
	readers  int
	stopping map[*http.Server]chan struct{} // closed when the server is told to stop
}

// Tell tells the readers of events that with s, which is the snapshot of now, something became different. It is called
// with generations that grow, and does not wait for anybody.
func (p *Page) Tell(s Snapshot, transitions []record.Event) {
	if len(transitions) == 0 {
		return
	}
	e := &p.events
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes = append(e.changes, newChange(s, transitions))
	e.kept += len(transitions)
	e.told = s.Generation
	for len(e.changes) > maxChanges || e.kept > maxTransitions && len(e.changes) > 1 {
		e.kept -= len(e.changes[0].doc.Changes)
		e.dropped = e.changes[0].doc.Generation
		e.changes[0] = nil
		e.changes = e.changes[1:]
		e.first++
	}
	if e.wake != nil {
		close(e.wake)
		e.wake = nil
	}
}

// next gives the change of a number; nil if there is none yet, and what closes when there is. ok false: it is not kept any
// more. A reader gets one at a time: what it has not been sent yet does not stay for its sake.
func (e *events) next(number uint64) (c *change, more <-chan struct{}, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case number < e.first:
		return nil, nil, false
	case number < e.first+uint64(len(e.changes)):
		return e.changes[number-e.first], nil, true
	}
	if e.wake == nil {
		e.wake = make(chan struct{})
	}
	return nil, e.wake, true
}

// place finds where a reader goes on who has seen that generation, and which one was told last. ok false: changes after it are
// not kept any more.
func (e *events) place(generation uint64) (from, told uint64, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	from = e.first
	for _, c := range e.changes {
		if c.doc.Generation <= generation {
			from++
		}
	}
	return from, e.told, generation >= e.dropped
}

func (e *events) enter(limit int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readers >= limit {
		return false
	}
	e.readers++
	return true
}

func (e *events) leave() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readers--
}

// stop gives what closes when the server of a request is told to stop: it would wait for a stream without end.
func (e *events) stop(ctx context.Context) <-chan struct{} {
	server, _ := ctx.Value(http.ServerContextKey).(*http.Server)
	if server == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	stop := e.stopping[server]
	if stop == nil {
		stop = make(chan struct{})
		if e.stopping == nil {
			e.stopping = map[*http.Server]chan struct{}{}
		}
		e.stopping[server] = stop
		server.RegisterOnShutdown(sync.OnceFunc(func() { close(stop) }))
	}
	return stop
}

// serveEvents is /v1/events.
func (p *Page) serveEvents(w http.ResponseWriter, r *http.Request) {
	last := r.Header.Get("Last-Event-ID")
	if r.URL.RawQuery != "" {
		after, ok := strings.CutPrefix(r.URL.RawQuery, "after=")
		if !ok {
			http.Error(w, "the only parameter here is after=<ETag of a document, without quotes>", http.StatusBadRequest)
			return
		}
		if last == "" { // a page that knows which generation it shows, and has had no event yet
			last = strings.TrimSuffix(after, "-gzip")
		}
	}
	if r.Method == http.MethodHead { // a stream without a body would have no end
		w.Header()["Content-Type"] = eventStream
		return
	}
	s := p.source()
	if !p.events.enter(streams[s.Node.Kind]) {
		w.Header().Set("Retry-After", strconv.Itoa(int(busyAfter/time.Second)))
		http.Error(w, "too many read events already; /v1/snapshot with If-None-Match is for everybody", http.StatusServiceUnavailable)
		return
	}
	defer p.events.leave()
	stop := p.events.stop(r.Context()) // before the first word: whoever has had that ends with the server
	out := stream{w, http.NewResponseController(w)}
	if err := out.open(); err != nil {
		http.Error(w, "events cannot be sent on this connection: "+err.Error(), http.StatusNotImplemented)
		return
	}
	from, told, ok := p.resume(last, s.Generation)
	hello := fmt.Appendf(nil, "retry: %d\n", retryAfter/time.Millisecond)
	switch {
	case !ok:
		reset := newChange(s, []record.Event{}).doc
		reset.Generation = max(told, s.Generation)
		hello = append(hello, event("reset", p.boot, reset)...)
	case last == "":
		hello = fmt.Appendf(hello, "id: %s-%d\n\n", p.boot, told)
	default:
		hello = append(hello, '\n') // its place moves with the events that follow
	}
	if out.send(hello) == nil {
		p.follow(r.Context(), stop, out, from)
	}
}

// resume finds where a reader goes on who had the event last; empty: none. now is the generation of now. ok false: it must
// begin anew.
func (p *Page) resume(last string, now uint64) (from, told uint64, ok bool) {
	if last == "" {
		from, told, _ = p.events.place(^uint64(0))
		return from, told, true
	}
	boot, number, _ := strings.Cut(last, "-")
	generation, err := strconv.ParseUint(number, 10, 64)
	if err == nil && boot == p.boot {
		if from, told, ok = p.events.place(generation); ok && generation <= max(now, told) {
			return from, told, true
		}
	}
	from, told, _ = p.events.place(^uint64(0))
	return from, told, false
}

// follow sends changes from a number on until the reader goes, is too slow, has had its time, or the server stops.
func (p *Page) follow(ctx context.Context, stop <-chan struct{}, out stream, from uint64) {
	ctx, cancel := context.WithTimeout(ctx, streamLife)
	defer cancel()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for next := from; ; {
		c, more, ok := p.events.next(next)
		if !ok || ctx.Err() != nil {
			return
		}
		if c != nil {
			if out.send(c.encoded(p.boot)) != nil {
				return
			}
			next++
			continue
		}
		select {
		case <-more:
		case <-beat.C:
			if out.send([]byte(":\n\n")) != nil {
				return
			}
		case <-ctx.Done():
			return
		case <-stop:
			return
		}
	}
}

// stream is the answer to a reader of events.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// open sends the head. The server's limits for a request are not those of a stream, which has its own for each write.
func (s stream) open() error {
	if err := s.rc.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if err := s.rc.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	h := s.w.Header()
	h["Content-Type"] = eventStream
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	h.Set("X-Accel-Buffering", "no") // nginx in between passes on at once
	s.w.WriteHeader(http.StatusOK)
	return nil
}

func (s stream) send(data []byte) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	if _, err := s.w.Write(data); err != nil {
		return err
	}
	if err := s.rc.Flush(); err != nil {
		return err
	}
	return s.rc.SetWriteDeadline(time.Time{}) // HTTP/2 would end a stream that waits
}
