// SPDX-License-Identifier: AGPL-3.0-or-later

package source

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"cloud4.internal/hub/loghub/internal/event"
	"cloud4.internal/hub/loghub/internal/parse"
)

// ProbeSet is the name under which a file is watched for loghub doctor.
const ProbeSet = "loghub doctor"

// ErrOver says that a pipe has ended, and ErrOnlyCopied that no records are made of what it brings.
var (
	ErrOver       = errors.New("the pipe has ended: nobody writes to it any more")
	ErrOnlyCopied = errors.New("its lines make no events")
)

// Canary has the goroutine that reads the pipe make a record of a line that stands in no pipe, between two lines of the
// service: under the next number, and in its order. It does not wait. That the line is shed is told by nobody.
func (p *Pipe) Canary(line string) error {
	switch {
	case p.batch == nil:
		return ErrOnlyCopied
	case p.over.Load():
		return ErrOver
	}
	p.canary.Store(&line)
	_ = p.o.Pipe.SetReadDeadline(time.Unix(1, 0)) // ends a wait; Run sets its own at each turn. One that is closed is over
	return nil
}

// Name is the pipe's.
func (p *Pipe) Name() string { return p.o.Name }

// takeCanary makes the record of a canary, if one was offered. Its place is in front of what is held, which stays.
func (p *Pipe) takeCanary() bool {
	line := p.canary.Swap(nil)
	if line == nil {
		return false
	}
	place := p.pos - uint64(len(p.carry))
	p.fill = p.sh.Spool.Fill()
	if shed(p.fill+p.o.Behind, parse.Debug) {
		p.seq++
		p.lose(event.ReasonQuota, parse.Debug, len(*line))
		if len(p.carry) == 0 {
			p.wait()
		}
		return true
	}
	if p.behind || p.limits.behind {
		p.prove(place, p.join.Mark().Pieces())
	}
	p.seq++
	p.batch.Record(place, p.seq, p.builder.Canary(*line, p.seq))
	p.n.records.Add(1)
	p.pending = append(p.pending, pendingRecord{parse.Debug, len(*line)})
	p.commit()
	return true
}

// Path is the socket's.
func (s *Syslog) Path() string { return s.o.Path }

// Here says whether what is sent to the socket's path comes here.
func (s *Syslog) Here() bool {
	s.mu.Lock()
	own := s.id
	s.mu.Unlock()
	id, ok := socketID(s.o.Path)
	return ok && id == own
}

// Probe has the file at path watched besides, as if log.files named it, wherever it is; "" ends that. It does not wait.
func (f *Files) Probe(path string) {
	if path == "" {
		f.probe.Store(nil)
		return
	}
	f.probe.Store(&FileSet{Name: ProbeSet, Pattern: path})
}

// takeProbe makes what Probe asked for so.
func (f *Files) takeProbe() {
	want := f.probe.Load()
	if want == f.probed {
		return
	}
	f.sets = slices.DeleteFunc(f.sets, func(s FileSet) bool { return s.Name == ProbeSet })
	for path, v := range f.vacant {
		if v.set == ProbeSet {
			delete(f.vacant, path)
		}
	}
	ours := func(t *tail) bool { return t.set == ProbeSet }
	f.hot, f.cold = slices.DeleteFunc(f.hot, ours), slices.DeleteFunc(f.cold, ours)
	for _, t := range f.tails {
		if !ours(t) {
			continue
		}
		for _, path := range slices.Clone(t.names) {
			f.unpoint(path)
		}
		f.forgetTail(t)
	}
	if f.probed = want; want != nil {
		f.sets = append(f.sets, *want)
	}
	f.globbed = time.Time{} // now
}

// Probing watches the file at path alone, until ctx is done: where log.files names none.
func Probing(ctx context.Context, sh *Shared, path string) error {
	f, err := OpenFiles(sh, nil)
	if err != nil {
		return err
	}
	f.began = time.Now() // nothing is known from before
	f.Probe(path)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		f.round(ctx, false)
		select {
		case <-ctx.Done():
			f.Probe("")
			f.takeProbe()
			f.close()
			return nil
		case <-tick.C:
		}
	}
}

// ForgetProbes drops from the spool what a loghub that was killed had watched for a doctor.
func ForgetProbes(sh *Shared) {
	for key, st := range sh.Spool.Restored() {
		var aux fileAux
		if !strings.HasPrefix(key, filePrefix) || json.Unmarshal([]byte(st.Aux), &aux) != nil || aux.Set != ProbeSet {
			continue
		}
		if err := sh.Spool.ForgetRestored(key); err != nil {
			sh.Log.Warn().Err(err).Msg("forgetting the file of a doctor")
		}
	}
}
