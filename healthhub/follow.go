// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"time"
)

const (
	lookAgain  = 5 * time.Second // between two looks without an event: texts, and servers without events
	comeAgain  = time.Second     // after a stream of events ended
	silentFor  = 40 * time.Second
	maxSSELine = 4 << 20
)

// follow calls look at once, whenever the server tells of a change, and every few seconds, until it says that it is done or ctx is, which is
// no error. A look asks anew for what it shows, so that nothing hangs on a stream of events but how soon it is called.
func (s *server) follow(ctx context.Context, look func() (done bool, err error)) error {
	ctx, stop := context.WithCancel(ctx)
	events, ended := make(chan struct{}, 1), make(chan struct{})
	defer func() { stop(); <-ended }()
	go func() {
		defer close(ended)
		s.listen(ctx, events)
	}()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		done, err := look()
		if ctx.Err() != nil {
			return nil
		}
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-events:
		case <-tick.C:
		}
	}
}

// listen pokes events for each one that the server sends, and comes again when the stream ends.
func (s *server) listen(ctx context.Context, events chan<- struct{}) {
	for ctx.Err() == nil {
		s.stream(ctx, events)
		select {
		case <-ctx.Done():
		case <-time.After(comeAgain):
		}
	}
}

// stream reads one stream of events to its end. A server that is silent for longer than its heartbeats is given up.
func (s *server) stream(ctx context.Context, events chan<- struct{}) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	silence := time.AfterFunc(silentFor, stop)
	defer silence.Stop()
	resp, err := s.open(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxSSELine)
	poke(events) // what happened since the last one
	for lines.Scan() {
		silence.Reset(silentFor)
		if strings.HasPrefix(lines.Text(), "data:") {
			poke(events)
		}
	}
}
