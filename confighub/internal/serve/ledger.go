// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/confighub/internal/bundle"
	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/spiffe"
)

const (
	maxReport     = 64 << 10
	maxErrors     = 20
	maxErrorBytes = 2 << 10
	// maxReplicas bounds the instances remembered for one container name.
	maxReplicas = 1000
	// keepEvery is how often the ledger is written while it changes.
	keepEvery = time.Second
)

// Ledger is what each container said last about the versions it got, and when it was last heard of. It is kept in a
// file; what was said in the second before a crash may be lost, and is said again with the next version.
type Ledger struct {
	file string
	log  zerolog.Logger

	mu sync.Mutex
	// names: bundle name → instance → what is known.
	names map[string]map[string]Instance
	// dirty: a report came since the file was written.
	dirty bool
}

// Instance is one replica of a container, as the server knows it.
type Instance struct {
	// Instance is the replica's number, "" for the first.
	Instance string `json:"instance,omitempty"`
	// Version and State are of the last report; empty when there was none.
	Version bundle.Version `json:"version,omitzero"`
	State   string         `json:"state,omitempty"`
	Errors  []string       `json:"errors,omitempty"`
	// Recipient is what values are sealed for so that this replica opens them, as it said last; "" when it has no key.
	Recipient string `json:"recipient,omitempty"`
	// Reported is the time of the last report, Seen of the last request of any kind.
	Reported time.Time `json:"reported,omitzero"`
	Seen     time.Time `json:"seen"`
}

// OpenLedger takes up the ledger of dir. A damaged one is begun anew, with a warning: it decides nothing.
func OpenLedger(dir string, log zerolog.Logger) *Ledger {
	l := &Ledger{file: filepath.Join(dir, "applied.json"), log: log, names: map[string]map[string]Instance{}}
	raw, err := os.ReadFile(l.file)
	if err == nil {
		err = json.Unmarshal(raw, &l.names)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn().Err(err).Msg("what containers reported is forgotten")
		l.names = map[string]map[string]Instance{}
	}
	return l
}

// See notes that a container was heard of. That alone is not worth writing the file: every poll of every container
// would be.
func (l *Ledger) See(peer spiffe.ID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change(peer, func(i *Instance) { i.Seen = now.UTC() })
}

// Note keeps a report, bounded.
func (l *Ledger) Note(peer spiffe.ID, report bundle.Applied, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty = true
	l.change(peer, func(i *Instance) {
		i.Version, i.State, i.Errors = report.Version, report.State, bounded(report.Errors)
		i.Recipient = report.Recipient
		i.Reported, i.Seen = now.UTC(), now.UTC()
	})
}

// change is for holders of the lock.
func (l *Ledger) change(peer spiffe.ID, set func(*Instance)) {
	instances := l.names[peer.BundleName()]
	if instances == nil {
		instances = map[string]Instance{}
		l.names[peer.BundleName()] = instances
	}
	i, there := instances[peer.Instance]
	if !there && len(instances) >= maxReplicas {
		delete(instances, oldest(instances))
	}
	i.Instance = peer.Instance
	set(&i)
	instances[peer.Instance] = i
}

func oldest(instances map[string]Instance) (name string) {
	first := true
	for key, i := range instances {
		if first || i.Seen.Before(instances[name].Seen) {
			name, first = key, false
		}
	}
	return name
}

// Instances is a copy of what is known of one container's replicas, in order.
func (l *Ledger) Instances(name string) []Instance {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := slices.Collect(maps.Values(l.names[name]))
	slices.SortFunc(list, func(a, b Instance) int {
		if len(a.Instance) != len(b.Instance) { // decimal numbers without leading zeros
			return len(a.Instance) - len(b.Instance)
		}
		return strings.Compare(a.Instance, b.Instance)
	})
	return list
}

// Run writes the ledger while it changes, and once more at the end.
func (l *Ledger) Run(ctx context.Context) error {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if err := l.keep(); err != nil {
			l.log.Warn().Err(err).Msg("keeping what containers reported")
		}
	}
	return nil
}

func (l *Ledger) keep() error {
	l.mu.Lock()
	if !l.dirty {
		l.mu.Unlock()
		return nil
	}
	raw, err := json.Marshal(l.names)
	l.dirty = false
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return atomicfile.WriteVolatile(l.file, raw, 0o600)
}

// bounded cuts what a container wrote to what we are ready to keep and to print.
func bounded(lines []string) (kept []string) {
	for i, line := range lines {
		if i == maxErrors {
			return append(kept, fmt.Sprintf("and %d more", len(lines)-maxErrors))
		}
		if len(line) > maxErrorBytes {
			line = line[:maxErrorBytes] + "…"
		}
		kept = append(kept, strings.ToValidUTF8(strings.Map(printable, line), "\uFFFD"))
	}
	return kept
}

// printable keeps a container from writing control sequences to an operator's terminal.
func printable(r rune) rune {
	if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
		return '\uFFFD'
	}
	return r
}

// applied takes a container's report about a version.
func (s *Server) applied(w http.ResponseWriter, r *http.Request, peer spiffe.ID) error {
	if peer.Role != spiffe.Container {
		return refuse(http.StatusForbidden, "containers report what they applied, this is the certificate of %s", article(peer.Role))
	}
	if _, err := s.placed(peer); err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(answerTime))
	var report bundle.Applied
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReport)).Decode(&report); err != nil {
		if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return refuse(http.StatusRequestEntityTooLarge, "a report has at most %d bytes", large.Limit)
		}
		return refuse(http.StatusBadRequest, "reading the report: %v", err)
	}
	if err := report.Check(); err != nil {
		return refuse(http.StatusBadRequest, "reading the report: %v", err)
	}
	if report.Instance != peer.Instance {
		return refuse(http.StatusForbidden, "the report is of instance %s, the certificate of instance %s",
			strconv.Quote(report.Instance), strconv.Quote(peer.Instance))
	}
	s.ledger.Note(peer, report, time.Now())
	event := s.allowed(r, peer, http.StatusNoContent).Uint64("serial", report.Version.Serial).Str("state", report.State)
	if kept := bounded(report.Errors); len(kept) > 0 {
		event = event.Strs("errors", kept)
	}
	event.Msg("config request")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
