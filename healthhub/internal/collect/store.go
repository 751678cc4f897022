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

// keep saves, and says when it cannot: the reports are worth more than the memory of them.
func (c *Collector) keep() {
	if err := c.save(); err != nil {
		c.log.Warn().Err(err).Msg("who reported is not remembered over a restart")
	}
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
func (c *Collector) load() {
	if c.StateDir == "" {
		return
	}
	path := filepath.Join(c.StateDir, storeFile)
	in, err := readStore(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil && in.Level != c.Level() {
		err = fmt.Errorf("it is of a %s, this is a %s", in.Level, c.Level())
	}
	if err != nil {
		c.log.Warn().Err(err).Str("file", path).Msg("what was known before the restart is not used")
		return
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
}

func readStore(path string) (in stored, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return in, err
	}
	if info.Size() > maxStore {
		return in, fmt.Errorf("%d bytes are too many", info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return in, err
	}
	return in, json.Unmarshal(data, &in)
}
