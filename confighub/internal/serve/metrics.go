// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud4.internal/hub/internal/daemon"
	"cloud4.internal/hub/internal/openmetrics"
	"cloud4.internal/hub/internal/spiffe"
)

// stillThere is for how long an instance counts that was heard of: some missed polls.
const stillThere = 5 * time.Minute

// counts is what was done since the start. It is ready, for several goroutines.
type counts struct {
	mu       sync.Mutex
	requests map[verdict]uint64
	sent     uint64
}

// verdict is what a request came to.
type verdict struct {
	words  string // allowed or refused
	status string // the HTTP status; "handshake" for who got no further
}

func (c *counts) request(v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests = map[verdict]uint64{}
	}
	c.requests[v]++
}

func (c *counts) body(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent += uint64(n)
}

// metrics answers operators and the fleet's health server.
func (s *Server) metrics(_ http.ResponseWriter, _ *http.Request, c caller) (answer, error) {
	if c.peer.Role != spiffe.Operator && (c.peer.Role != spiffe.Genesis || c.peer.Name != spiffe.KindHealth) {
		return answer{}, refuse(http.StatusForbidden, "metrics are for operators and genesis/%s, this is the certificate of %s", spiffe.KindHealth, article(c.peer.Role))
	}
	s.allowed(c, http.StatusOK).Msg("config request")
	var d openmetrics.Document
	s.measureRequests(&d)
	measureFleet(&d, s.Fleet(), time.Now())
	measureProcess(&d)
	return answer{status: http.StatusOK, header: http.Header{"Content-Type": {openmetrics.ContentType}}, body: d.Bytes()}, nil
}

func (s *Server) measureRequests(d *openmetrics.Document) {
	d.Family("confighub_waiters", openmetrics.Gauge, "Requests that wait for a change.")
	d.Sample(float64(s.room.waiting()))
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	d.Family("confighub_requests", openmetrics.Counter, "Requests since the start, by what they came to.")
	verdicts := slices.SortedFunc(maps.Keys(s.counts.requests), func(a, b verdict) int {
		return cmp.Or(strings.Compare(a.words, b.words), strings.Compare(a.status, b.status))
	})
	for _, v := range verdicts {
		d.Sample(float64(s.counts.requests[v]), "verdict", v.words, "status", v.status)
	}
	d.Family("confighub_sent_bytes", openmetrics.Counter, "Bytes of answers since the start, without heads.")
	d.Sample(float64(s.counts.sent))
}

func measureFleet(d *openmetrics.Document, f Fleet, now time.Time) {
	d.Family("confighub_publications", openmetrics.Counter, "Trees since the start that changed what is published.")
	d.Sample(float64(f.Tree.published))
	d.Family("confighub_tree_problems", openmetrics.Gauge, "What is wrong with the tree on disk; 0 when it is the one that is served.")
	d.Sample(float64(len(f.Tree.Problems)))
	if !f.Tree.Read.IsZero() {
		d.Family("confighub_tree_read_timestamp_seconds", openmetrics.Gauge, "When the tree was last read.")
		d.Sample(seconds(f.Tree.Read))
	}
	states := map[string]int{}
	var soonest time.Time
	for _, c := range f.Containers {
		if len(c.Instances) == 0 {
			states[StatusUnseen]++
		}
		for _, i := range c.Instances {
			states[i.Status]++
			if !i.NotAfter.IsZero() && now.Sub(i.Seen) < stillThere && (soonest.IsZero() || i.NotAfter.Before(soonest)) {
				soonest = i.NotAfter
			}
		}
	}
	d.Family("confighub_containers", openmetrics.Gauge, "Placed containers, replicas each, by what became of the version they are to have.")
	for _, state := range Statuses() {
		d.Sample(float64(states[state]), "state", state)
	}
	if !soonest.IsZero() {
		d.Family("confighub_certificate_not_after_timestamp_seconds", openmetrics.Gauge,
			"When the first certificate ends of those that containers used in the last five minutes.")
		d.Sample(seconds(soonest))
	}
}

func measureProcess(d *openmetrics.Document) {
	d.Family("confighub_build", openmetrics.Info, "Which build this is.")
	d.Sample(1, "version", daemon.Version(), "goversion", runtime.Version())
	d.Family("go_goroutines", openmetrics.Gauge, "Goroutines of this process.")
	d.Sample(float64(runtime.NumGoroutine()))
	if pages, err := residentPages(); err == nil {
		d.Family("process_resident_memory_bytes", openmetrics.Gauge, "Memory of this process.")
		d.Sample(float64(pages) * float64(os.Getpagesize()))
	}
}

// residentPages reads the second number of statm (proc(5)).
func residentPages() (int, error) {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(raw))
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm is %q", raw)
	}
	return strconv.Atoi(fields[1])
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
