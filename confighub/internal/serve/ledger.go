// SPDX-License-Identifier: AGPL-3.0-or-later

package serve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
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
	maxReport = 64 << 10
	// maxReplicas bounds the instances remembered for one container name.
	maxReplicas = 1000
	// keepEvery is how often the ledger is written while it changes.
	keepEvery = time.Second
)

// Ledger is what each container said about the versions it got, and when it was last heard of. It is kept in a file; what
// was said in the second before a crash may be lost, and is said again with the next version.
type Ledger struct {
	file string
	log  zerolog.Logger

	mu sync.Mutex
	// names: bundle name → instance → what is known.
	names map[string]map[string]*Instance
	// dirty: something worth it has changed since the file was written.
	dirty bool
}

// OpenLedger takes up the ledger of dir. A damaged one is begun anew, with a warning: it decides nothing.
func OpenLedger(dir string, log zerolog.Logger) *Ledger {
	l := &Ledger{file: filepath.Join(dir, "applied.json"), log: log, names: map[string]map[string]*Instance{}}
	raw, err := os.ReadFile(l.file)
	if err == nil {
		err = json.Unmarshal(raw, &l.names)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn().Err(err).Msg("what containers reported is forgotten")
		l.names = map[string]map[string]*Instance{}
	}
	return l
}

// See notes that a container was heard of, with a certificate that ends at notAfter. Its time alone is not worth writing
// the file: every poll of every container would be.
func (l *Ledger) See(peer spiffe.ID, notAfter, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.instance(peer)
	i.Seen = now.UTC()
	if notAfter = notAfter.UTC(); !i.NotAfter.Equal(notAfter) {
		i.NotAfter, l.dirty = notAfter, true
	}
}

// Note keeps a report, bounded.
func (l *Ledger) Note(peer spiffe.ID, report bundle.Applied, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty = true
	l.instance(peer).note(report, now.UTC())
}

// instance is for holders of the lock.
func (l *Ledger) instance(peer spiffe.ID) *Instance {
	name := peer.BundleName()
	instances := l.names[name]
	if instances == nil {
		instances = map[string]*Instance{}
		l.names[name] = instances
	}
	i := instances[peer.Instance]
	if i == nil {
		if len(instances) >= maxReplicas {
			delete(instances, oldest(instances))
		}
		i = &Instance{Instance: peer.Instance}
		instances[peer.Instance] = i
	}
	return i
}

func oldest(instances map[string]*Instance) (name string) {
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
	list := make([]Instance, 0, len(l.names[name]))
	for _, i := range l.names[name] {
		list = append(list, *i)
	}
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

// applied takes a container's report about a version.
func (s *Server) applied(w http.ResponseWriter, r *http.Request, c caller) (answer, error) {
	peer := c.peer
	if peer.Role != spiffe.Container {
		return answer{}, refuse(http.StatusForbidden, "containers report what they applied, this is the certificate of %s", article(peer.Role))
	}
	if _, err := s.placed(peer); err != nil {
		return answer{}, err
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(answerTime))
	var report bundle.Applied
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReport))
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return answer{}, refuse(http.StatusRequestEntityTooLarge, "a report has at most %d bytes", large.Limit)
	}
	if err == nil {
		err = json.Unmarshal(raw, &report)
	}
	if err != nil {
		return answer{}, refuse(http.StatusBadRequest, "reading the report: %v", err)
	}
	if err := report.Check(); err != nil {
		return answer{}, refuse(http.StatusBadRequest, "reading the report: %v", err)
	}
	if report.Instance != peer.Instance {
		return answer{}, refuse(http.StatusForbidden, "the report is of instance %s, the certificate of instance %s",
			strconv.Quote(report.Instance), strconv.Quote(peer.Instance))
	}
	now := time.Now()
	s.ledger.See(peer, c.certificate.NotAfter, now)
	s.ledger.Note(peer, report, now)
	event := s.allowed(c, http.StatusNoContent).Uint64("serial", report.Version.Serial).Str("state", report.State)
	if kept := bounded(report.Errors); len(kept) > 0 {
		event = event.Strs("errors", kept)
	}
	event.Msg("config request")
	return answer{status: http.StatusNoContent}, nil
}
