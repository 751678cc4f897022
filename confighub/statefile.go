// SPDX-License-Identifier: AGPL-3.0-or-later

package main

import (
	"encoding/json"
	"time"

	"github.com/rs/zerolog"

	"cloud4.internal/hub/internal/health"
)

// stateValid is how long config.json is believed; it is written anew at a third of that.
const stateValid = 90 * time.Second

// stateFile writes <run>/config.json, and remembers since when each node has its state.
type stateFile struct {
	runDir string
	log    zerolog.Logger
	// since holds by kind and name the node that had its state first.
	since     map[string]health.Node
	written   string
	writtenAt time.Time
}

func newStateFile(runDir string, log zerolog.Logger) *stateFile {
	return &stateFile{runDir: runDir, log: log, since: map[string]health.Node{}}
}

// write does nothing when the file says the same already and is to stay valid for a while.
func (f *stateFile) write(node health.Node, s section) {
	f.stamp(&node)
	for i := range node.Children {
		f.stamp(&node.Children[i])
	}
	raw, err := json.Marshal([]any{node, s})
	if err != nil {
		f.log.Error().Err(err).Msg("encoding the state file")
		return
	}
	if string(raw) == f.written && time.Since(f.writtenAt) < stateValid/3 {
		return
	}
	now := time.Now().UTC()
	node.ObservedAt = now
	if err := health.WriteFile(f.runDir, health.ConfigFile, node, s, stateValid); err != nil && f.writtenAt.IsZero() {
		f.log.Warn().Err(err).Msg("writing the state file")
	}
	f.written, f.writtenAt = string(raw), now
}

// stamp sets since when a node has its state, and makes its texts one line each.
func (f *stateFile) stamp(n *health.Node) {
	n.Text, n.Action = health.CleanText(n.Text), health.CleanText(n.Action)
	key := n.Kind + "/" + n.Name
	if old, ok := f.since[key]; !ok || old.State != n.State {
		n.Since = time.Now().UTC()
		f.since[key] = *n
	}
	n.Since = f.since[key].Since
}

// keepFresh renews config.json as it stands while something takes long, a settling of minutes perhaps, until stop is
// called. Its writer must be at rest meanwhile.
func keepFresh(runDir string, valid time.Duration, log zerolog.Logger) (stop func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(valid / 2)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			file, err := health.ReadFile(runDir, health.ConfigFile)
			if err == nil {
				file.Health.ObservedAt = time.Now().UTC()
				err = health.WriteFile(runDir, health.ConfigFile, file.Health, file.Section, valid)
			}
			if err != nil {
				log.Debug().Err(err).Msg("renewing the state file")
			}
		}
	}()
	return func() {
		close(ended)
		<-done
	}
}
