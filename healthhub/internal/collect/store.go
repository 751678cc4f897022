// SPDX-License-Identifier: AGPL-3.0-or-later

package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cloud4.internal/hub/internal/atomicfile"
	"cloud4.internal/hub/internal/health"
)

// saveEvery spares flash storage: what is lost with a crash is when somebody was seen last, within this.
const saveEvery = 5 * time.Minute

const (
	storeFile   = "received.json"
	storeSchema = 1
	maxStore    = 16 << 20
)

// stored is the file: who reported, what it was, and how far its sequence had come.
type stored struct {
	Schema int          `json:"schema"`
	Level  string       `json:"level"`
	Peers  []storedPeer `json:"peers"`
}

type storedPeer struct {
	Name     string       `json:"name"`
	State    health.State `json:"state"`
	Seen     time.Time    `json:"seen"`
	Stopping bool         `json:"stopping,omitempty"`
	Instance string       `json:"instance"`
	Seq      uint64       `json:"seq"`
	Retired  []string     `json:"retired,omitempty"`
}

// save replaces <StateDir>/received.json.
func (c *Collector) save() error {
	if c.StateDir == "" {
		return nil
	}
	out := stored{Schema: storeSchema, Level: c.Level(), Peers: []storedPeer{}}
	c.mu.Lock()
	for name, p := range c.peers {
		out.Peers = append(out.Peers, storedPeer{
			Name: name, State: p.node.State, Seen: p.wall, Stopping: p.stopping,
			Instance: p.instance, Seq: p.seq, Retired: p.retired,
		})
	}
	c.mu.Unlock()
	data, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("keeping what is known: %w", err)
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return fmt.Errorf("keeping what is known: %w", err)
	}
	return atomicfile.Write(filepath.Join(c.StateDir, storeFile), append(data, '\n'), 0o600)
}

// load reads what save wrote. What cannot be used is said and left: it is only a memory, and the reports bring all
// of it back within half a minute.
func (c *Collector) load() error {
	if c.StateDir == "" {
		return nil
	}
	path := filepath.Join(c.StateDir, storeFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading what was known: %w", err)
	}
	var in stored
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		return fmt.Errorf("reading what was known: %w", err)
	case info.Size() > maxStore:
		err = fmt.Errorf("%d bytes are too many", info.Size())
	default:
		err = json.Unmarshal(data, &in)
	}
	if err == nil && in.Level != c.Level() {
		err = fmt.Errorf("it is of a %s, this is a %s", in.Level, c.Level())
	}
	if err != nil {
		c.log.Warn().Err(err).Str("file", path).Msg("what was known before the restart is not used")
		return nil
	}
	for _, s := range in.Peers {
		if health.CheckName(c.kind, s.Name) != nil {
			continue
		}
		c.peers[s.Name] = &peer{
			node:     health.Node{Kind: c.kind, Name: s.Name, State: s.State},
			instance: s.Instance, seq: s.Seq, retired: s.Retired, wall: s.Seen, stopping: s.Stopping,
		}
	}
	return nil
}
