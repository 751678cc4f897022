// SPDX-License-Identifier: AGPL-3.0-or-later

package receive

import (
	"maps"
	"net/http"
	"slices"
	"sync"

	"cloud4.internal/hub/internal/openmetrics"
)

// maxCounted bounds the peers that have series of their own; the rest share one.
const (
	maxCounted = 1024
	otherPeers = "others"
)

// Words of refusals in metrics.
const (
	whyDenied  = "denied"
	whyInvalid = "invalid"
	whyLarge   = "too large"
	whySlow    = "too slow"
	whyQuota   = "quota"
	whyBusy    = "busy"
	whyFull    = "full"
	whyFloor   = "disk floor"
	whyFault   = "fault"
)

// peerCounts are what one peer sent since the start.
type peerCounts struct {
	requests, records, duplicates, bytes int64
}

// counts is what the receiver counts.
type counts struct {
	mu      sync.Mutex
	peers   map[string]*peerCounts
	refused map[string]int64
	evicted int64 // bytes of old files removed to make room
}

func newCounts() *counts {
	return &counts{peers: make(map[string]*peerCounts), refused: make(map[string]int64)}
}

func (c *counts) taken(peer string, records, duplicates, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[peer]
	if p == nil {
		if len(c.peers) >= maxCounted {
			peer = otherPeers
		}
		if p = c.peers[peer]; p == nil {
			p = &peerCounts{}
			c.peers[peer] = p
		}
	}
	p.requests++
	p.records += records
	p.duplicates += duplicates
	p.bytes += bytes
}

func (c *counts) refuse(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[why]++
}

func (c *counts) evict(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evicted += bytes
}

// serveMetrics answers GET /metrics.
func (rc *Receiver) serveMetrics(w http.ResponseWriter, r *http.Request) {
	d := openmetrics.Document{Plain: !openmetrics.Accepted(r.Header.Get("Accept"))}
	rc.counts.write(&d)
	free, err := rc.store.free()
	d.Family("loghub_receive_disk_free_bytes", openmetrics.Gauge, "Free space where the files are; below the floor nothing is taken.")
	if err == nil {
		d.Sample(float64(free))
	}
	d.Family("loghub_receive_files_bytes", openmetrics.Gauge, "Size of all files together.")
	d.Sample(float64(rc.store.size()))
	w.Header().Set("Content-Type", openmetrics.ContentType)
	if d.Plain {
		w.Header().Set("Content-Type", openmetrics.PlainType)
	}
	w.Header().Set("Vary", "Accept")
	_, _ = w.Write(d.Bytes())
}

func (c *counts) write(d *openmetrics.Document) {
	c.mu.Lock()
	defer c.mu.Unlock()
	peers := slices.Sorted(maps.Keys(c.peers))
	for _, f := range []struct {
		name, help string
		value      func(*peerCounts) int64
	}{
		{"loghub_receive_requests", "Requests taken, by peer.", func(p *peerCounts) int64 { return p.requests }},
		{"loghub_receive_records", "Records written, by peer.", func(p *peerCounts) int64 { return p.records }},
		{"loghub_receive_duplicates", "Records that were there already, by peer.", func(p *peerCounts) int64 { return p.duplicates }},
		{"loghub_receive_bytes", "Bytes of requests taken, unpacked, by peer.", func(p *peerCounts) int64 { return p.bytes }},
	} {
		d.Family(f.name, openmetrics.Counter, f.help)
		for _, peer := range peers {
			d.Sample(float64(f.value(c.peers[peer])), "peer", peer)
		}
	}
	d.Family("loghub_receive_refused", openmetrics.Counter, "Requests refused, by reason.")
	for _, why := range slices.Sorted(maps.Keys(c.refused)) {
		d.Sample(float64(c.refused[why]), "reason", why)
	}
	d.Family("loghub_receive_evicted_bytes", openmetrics.Counter, "Bytes of old files that were removed to make room for new records.")
	d.Sample(float64(c.evicted))
}
